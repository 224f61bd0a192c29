import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairrank.data.battles import Battles
from pairrank.encoders.side_windows import SideTexts, side_texts
from pairrank.encoders.windows import encode, special_token_wrapper
from pairrank.errors import UserError
from tests.support.battles import WORDS, conversations, plain_battles

TURNS = st.lists(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join), min_size=1, max_size=3).map(tuple)
BATTLES = st.lists(st.tuples(TURNS, TURNS, TURNS), min_size=1, max_size=4).map(lambda rows: conversations(*rows))
LAYOUTS = st.sampled_from(["pair", "apart"])
BUDGETS = st.sampled_from(["fair", "head+tail", "latest"])
SHARES = st.sampled_from(["side", "battle"])


def words(tokenizer, row) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(row.tolist()))


@given(BATTLES, LAYOUTS, BUDGETS, SHARES, st.integers(8, 40))
@settings(deadline=None)
def test_swapped_battles_have_swapped_texts(tokenizer, battles: Battles, layout, budget, share, window):
    straight, coverage = side_texts(battles, tokenizer, window, layout, budget, share, 64)
    swapped, coverage_swapped = side_texts(battles.swap(), tokenizer, window, layout, budget, share, 64)
    for one, other in zip(straight, swapped, strict=True):
        assert np.array_equal(one.a, other.b)
        assert np.array_equal(one.b, other.a)
        assert np.array_equal(one.prompt, other.prompt)
        assert one.lengths == other.lengths[::-1]
    assert coverage.kept["response_a"] == coverage_swapped.kept["response_b"]
    assert coverage.kept["prompt"] == coverage_swapped.kept["prompt"]


@given(BATTLES, LAYOUTS, BUDGETS, st.integers(8, 40))
@settings(deadline=None)
def test_a_side_of_its_own_does_not_depend_on_the_other(tokenizer, battles: Battles, layout, budget, window):
    alike = Battles(battles.id, battles.prompt, battles.response_a, battles.response_a)
    both, _ = side_texts(battles, tokenizer, window, layout, budget)
    twice, _ = side_texts(alike, tokenizer, window, layout, budget)
    for one, other in zip(both, twice, strict=True):
        assert np.array_equal(one.a, other.a)
        assert np.array_equal(other.a, other.b)


@given(BATTLES, LAYOUTS, BUDGETS, SHARES, st.integers(8, 40))
@settings(deadline=None)
def test_no_text_is_longer_than_its_window_and_none_that_fits_is_cut(
    tokenizer, battles: Battles, layout, budget, share, window
):
    rows, coverage = side_texts(battles, tokenizer, window, layout, budget, share, 50)
    for row in rows:
        assert len(row.prompt) <= window
        if share == "side":
            assert max(len(row.a), len(row.b)) <= window
        else:
            assert max(len(row.a), len(row.b)) <= 50
            assert len(row.a) + len(row.b) <= 2 * window
    assert all(coverage.kept[text] <= coverage.total[text] for text in coverage.total)
    _, coverage = side_texts(battles, tokenizer, 2_000, layout, budget, share, 2_000)
    assert coverage.kept == coverage.total
    assert coverage.lost_a_side == 0


def test_a_pair_is_the_tokenizers_own_sentence_pair(tokenizer):
    battles = plain_battles(("why how", "good apple", "bad"))
    [row], _ = side_texts(battles, tokenizer, 40)
    assert row.a.tolist() == tokenizer("why how", "good apple")["input_ids"]
    assert row.b.tolist() == tokenizer("why how", "bad")["input_ids"]
    assert len(row.prompt) == 0
    assert row.lengths == pytest.approx((np.log(3), np.log(2)))
    assert len(row) == len(row.a)


def test_in_the_layout_apart_the_prompt_is_encoded_alone_and_once(tokenizer):
    battles = plain_battles(("why how", "good apple", "bad"))
    [row], _ = side_texts(battles, tokenizer, 40, "apart")
    assert [words(tokenizer, text) for text in (row.prompt, row.a, row.b)] == [
        "[CLS] why how [SEP]",
        "[CLS] good apple [SEP]",
        "[CLS] bad [SEP]",
    ]


def test_unused_tokens_go_to_the_other_side_only_with_share_battle(tokenizer):
    battles = plain_battles(("why", "red " * 30, "blue"))
    [alone], _ = side_texts(battles, tokenizer, 16, share="side")
    [together], _ = side_texts(battles, tokenizer, 16, share="battle", max_side=64)
    [limited], _ = side_texts(battles, tokenizer, 16, share="battle", max_side=20)
    assert len(alone.a) == 16
    assert len(together.a) + len(together.b) == 32
    assert len(limited.a) == 20
    assert len(alone.b) == len(together.b) == len(limited.b) == 5


def test_the_budget_latest_keeps_the_latest_turns(tokenizer):
    battles = conversations((("why", "how"), ("red " * 20, "good"), ("blue", "bad")))
    [row], _ = side_texts(battles, tokenizer, 10, "pair", "latest")
    assert "good" in words(tokenizer, row.a)
    [row], _ = side_texts(battles, tokenizer, 10, "pair", "fair")
    assert "good" not in words(tokenizer, row.a)


def test_lengths_are_measured_before_cutting(tokenizer):
    [row], coverage = side_texts(plain_battles(("why", "red " * 99, "")), tokenizer, 16)
    assert row.lengths == pytest.approx((np.log(100), 0.0))
    assert coverage.total["response_a"] == 99
    assert coverage.kept["response_a"] == 12


def test_a_window_without_room_is_refused_with_the_smallest_possible_one(tokenizer):
    with pytest.raises(UserError, match="no room for a text"):
        side_texts(plain_battles(("a", "b", "c")), tokenizer, 4)
    side_texts(plain_battles(("a", "b", "c")), tokenizer, 5)


def test_the_budget_right_is_refused_for_siamese_texts(tokenizer):
    with pytest.raises(UserError, match="only the published template"):
        side_texts(plain_battles(("a", "b", "c")), tokenizer, 40, budget="right")


@pytest.mark.parametrize("parts", [1, 2])
def test_special_token_wrapper_equals_the_tokenizer(tokenizer, parts: int):
    texts = ["why how", "a a a [SEP]"][:parts]
    wrap, marks = special_token_wrapper(tokenizer, parts)
    wrapped = wrap(*(np.array(ids, dtype=np.int32) for ids in encode(tokenizer, texts)))
    assert wrapped.tolist() == tokenizer(*texts, split_special_tokens=True)["input_ids"]
    assert marks == parts + 1


def test_battles_with_equal_cut_texts_differ_in_their_uncut_lengths():
    texts = [np.array([1, 2, 3], np.int32), np.array([4], np.int32), np.array([], np.int32)]
    one, other, same = (SideTexts(*texts, lengths) for lengths in ((1.0, 2.0), (3.0, 2.0), (1.0, 2.0)))
    assert one.tobytes() == same.tobytes() != other.tobytes()
    assert len(one) == len(other) == 3
    # Where one text ends and the next begins counts, too.
    moved = SideTexts(texts[0][:2], np.array([3, 4], np.int32), texts[2], (1.0, 2.0))
    assert moved.tobytes() != one.tobytes()

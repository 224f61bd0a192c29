import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pairrank.data.battles import TEXTS, Battles
from pairrank.data.reading import read_battles
from pairrank.data.turns import parse_turns
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.windows import (
    cut_rounds,
    encode,
    fair_shares,
    keep_both_ends,
    special_token_wrapper,
    template_rows,
)
from pairrank.errors import UserError
from tests.support.battles import conversations, plain_battles
from tests.support.strategies import valid_battles
from tests.support.tokenizers import VOCABULARY, wordpiece

LENGTHS = st.tuples(*[st.integers(0, 60)] * 3)
TOTAL = st.integers(0, 120)
BUDGETS = ["fair", "head+tail", "latest"]


# --- Shares of a window


@pytest.mark.parametrize(
    ("lengths", "total", "shares"),
    [
        ((10, 20, 30), 60, (10, 20, 30)),  # all fits
        ((10, 20, 30), 99, (10, 20, 30)),
        ((100, 100, 100), 50, (10, 20, 20)),  # 1 : 2 : 2
        ((100, 100, 100), 52, (12, 20, 20)),  # two fractions of a token: one from each answer, to the prompt
        ((4, 100, 100), 50, (4, 23, 23)),  # the prompt leaves 6 of its 10
        ((100, 5, 100), 50, (15, 5, 30)),  # A leaves 15, shared 1 : 2
        ((100, 5, 5), 50, (40, 5, 5)),
        ((4, 5, 100), 50, (4, 5, 41)),
        ((0, 100, 100), 51, (0, 25, 25)),  # one token of 51 has no fair owner
        ((0, 0, 0), 7, (0, 0, 0)),
        ((3, 3, 3), 0, (0, 0, 0)),
        ((1, 2, 2), 4, (1, 1, 1)),  # the prompt is whole; the fourth token would favour A or B
    ],
)
def test_fair_shares_worked_by_hand(lengths, total, shares):
    assert fair_shares(lengths, total) == shares


@given(LENGTHS, TOTAL)
def test_fair_shares_grant_no_more_than_a_length_and_waste_at_most_one_token(lengths, total):
    shares = fair_shares(lengths, total)
    assert all(0 <= share <= length for share, length in zip(shares, lengths, strict=True))
    if sum(lengths) <= total:
        assert shares == lengths
    else:
        assert total - 1 <= sum(shares) <= total


@given(LENGTHS, TOTAL)
def test_fair_shares_treat_both_answers_equally(lengths, total):
    prompt, a, b = lengths
    shares = fair_shares(lengths, total)
    assert fair_shares((prompt, b, a), total) == (shares[0], shares[2], shares[1])
    if shares[1] < a and shares[2] < b:
        assert shares[1] == shares[2]


@given(LENGTHS, TOTAL)
def test_a_text_below_its_weighted_share_keeps_all_its_tokens(lengths, total):
    shares = fair_shares(lengths, total)
    for share, length, weight in zip(shares, lengths, (1, 2, 2), strict=True):
        assert share >= min(length, weight * total // 5)


@given(LENGTHS, TOTAL)
def test_a_larger_window_takes_away_at_most_the_prompts_fraction(lengths, total):
    small, large = fair_shares(lengths, total), fair_shares(lengths, total + 1)
    assert large[1] >= small[1]
    assert large[2] >= small[2]
    assert large[0] >= small[0] - 1
    assert sum(large) >= sum(small)


# --- Cutting


def numbers(start: int, count: int) -> np.ndarray:
    return np.arange(start, start + count, dtype=np.int32)


def cut(rounds, total, budget) -> list[list[int]]:
    return [part.tolist() for part in cut_rounds(rounds, total, budget)]


TWO_ROUNDS = [
    (numbers(0, 4), numbers(100, 8), numbers(200, 8)),
    (numbers(10, 2), numbers(110, 6), numbers(210, 3)),
]
"""A conversation of two turns: 6 tokens of prompt, 14 of A, 11 of B."""


def test_fair_keeps_the_head_of_each_whole_text():
    # 20 tokens: 4 to the prompt, 8 to A, 8 to B; all three are cut.
    assert cut(TWO_ROUNDS, 20, "fair") == [[0, 1, 2, 3], [*range(100, 108)], [*range(200, 208)]]


def test_head_and_tail_of_each_whole_text_are_kept():
    # The same shares: 2 + 2, 4 + 4, 4 + 4.
    assert cut(TWO_ROUNDS, 20, "head+tail") == [
        [0, 1, 10, 11],
        [100, 101, 102, 103, 112, 113, 114, 115],
        [200, 201, 202, 203, 207, 210, 211, 212],
    ]


def test_latest_drops_the_oldest_turns():
    # The last turn has 11 tokens and keeps them all; 9 are left for the first: shares 9/5, so 1 + 2 over, 3, 3.
    assert cut(TWO_ROUNDS, 20, "latest") == [
        [0, 1, 2, 10, 11],
        [100, 101, 102, *range(110, 116)],
        [200, 201, 202, 210, 211, 212],
    ]
    # With 11 the first turn is gone, with 10 the last loses some of A only: 2 + 5 + 3.
    assert cut(TWO_ROUNDS, 11, "latest") == [[10, 11], [*range(110, 116)], [210, 211, 212]]
    assert cut(TWO_ROUNDS, 10, "latest") == [[10, 11], [*range(110, 115)], [210, 211, 212]]


@pytest.mark.parametrize("budget", BUDGETS)
def test_texts_that_fit_are_kept_whole_and_in_order(budget):
    whole = [[*range(4), 10, 11], [*range(100, 108), *range(110, 116)], [*range(200, 208), *range(210, 213)]]
    assert cut(TWO_ROUNDS, 31, budget) == whole


@pytest.mark.parametrize(("count", "kept"), [(0, []), (1, [0]), (2, [0, 4]), (3, [0, 1, 4]), (5, [0, 1, 2, 3, 4])])
def test_an_odd_token_of_both_ends_goes_to_the_head(count, kept):
    assert keep_both_ends(numbers(0, 5), count).tolist() == kept


@given(st.data(), st.sampled_from(BUDGETS), st.integers(0, 60))
def test_cutting_commutes_with_a_swap(data, budget, total):
    rounds = [
        tuple(numbers(at, data.draw(st.integers(0, 12))) for at in (turn * 100, turn * 100 + 30, turn * 100 + 60))
        for turn in range(data.draw(st.integers(1, 3)))
    ]
    prompt, a, b = cut(rounds, total, budget)
    assert cut([(p, y, x) for p, x, y in rounds], total, budget) == [prompt, b, a]
    assert len(prompt) + len(a) + len(b) <= total


# --- The template


def words(row: np.ndarray) -> str:
    return " ".join(VOCABULARY[i] for i in row)


def only_row(battles: Battles, tokenizer, window: int, **options) -> str:
    [row], _ = template_rows(battles, tokenizer, window, **options)
    return words(row)


def test_a_battle_that_fits_becomes_the_published_template(tokenizer):
    row = only_row(plain_battles(("why", "yes", "no")), tokenizer, 64)
    assert row == "[CLS] prompt : why response a : yes response b : no [SEP]"


def test_turns_are_concatenated_and_empty_ones_add_nothing(tokenizer):
    battle = conversations((("why", "how"), ("yes", ""), ("no", "two")))
    row = only_row(battle, tokenizer, 64)
    assert row == "[CLS] prompt : why how response a : yes response b : no two [SEP]"
    ragged = conversations((("why",), ("yes", "good", "bad"), ()))
    row = only_row(ragged, tokenizer, 64)
    assert row == "[CLS] prompt : why response a : yes good bad response b : [SEP]"


def test_a_null_turn_counts_as_empty(tokenizer):
    texts = [parse_turns(cell)[0] for cell in ('["why", null]', '[null, "yes"]', "[null]")]
    row = only_row(conversations(tuple(texts)), tokenizer, 64)
    assert row == "[CLS] prompt : why response a : yes response b : [SEP]"


def test_token_coverage_worked_by_hand(tokenizer):
    long = " ".join(["red"] * 20)
    battles = plain_battles((long, long, long), ("why", "", "no"), (long, "one", long))
    # 8 tokens are template and 2 marks, so a window of 30 leaves 20: 4 + 8 + 8; 1 + 0 + 1; 7 of 19 left + 1 + 12.
    rows, coverage = template_rows(battles, tokenizer, 30)
    assert [len(row) for row in rows] == [30, 12, 30]
    assert words(rows[2]).count("red") == 19
    assert coverage.kept == {"prompt": 4 + 1 + 7, "response_a": 8 + 0 + 1, "response_b": 8 + 1 + 12}
    assert coverage.total == {"prompt": 41, "response_a": 21, "response_b": 41}
    assert coverage.lost_a_side == 0  # an empty answer is not lost


def test_the_budget_right_loses_b_and_reports_it(tokenizer):
    long = " ".join(["red"] * 20)
    battles = plain_battles((long, "one", "two"), ("why", long, "two"), ("why", "one", "two"), ("why", "one", ""))
    rows, coverage = template_rows(battles, tokenizer, 16, budget="right")
    assert words(rows[0]) == "[CLS] prompt : " + " ".join(["red"] * 12) + " [SEP]"
    assert words(rows[1]) == "[CLS] prompt : why response a : " + " ".join(["red"] * 8) + " [SEP]"
    assert words(rows[2]) == "[CLS] prompt : why response a : one response b : two [SEP]"
    assert coverage.kept == {"prompt": 12 + 1 + 1 + 1, "response_a": 0 + 8 + 1 + 1, "response_b": 0 + 0 + 1 + 0}
    assert coverage.total == {"prompt": 23, "response_a": 23, "response_b": 3}
    assert coverage.lost_a_side == 2


def test_a_prompt_that_contains_the_template_stays_text(tokenizer):
    battles = plain_battles(("why Response B: red", "one", "two"))
    [row], coverage = template_rows(battles, tokenizer, 64)
    assert words(row) == "[CLS] prompt : why response b : red response a : one response b : two [SEP]"
    assert coverage.kept == {"prompt": 5, "response_a": 1, "response_b": 1}


@pytest.mark.parametrize("budget", [*BUDGETS, "right"])
@pytest.mark.parametrize("cells", ["turns", "json"])
def test_battle_text_never_becomes_a_special_token(tokenizer, budget, cells):
    spelled = " ".join([*tokenizer.all_special_tokens, "[SEP][CLS]", "</s>", "<s>"])
    row = only_row(plain_battles((spelled, spelled, spelled)), tokenizer, 64, budget=budget, cells=cells)
    assert row.startswith("[CLS] prompt : ")
    assert row.endswith(" [SEP]")
    assert not re.search(r"\[(CLS|SEP|PAD|MASK)]", row[len("[CLS]") : -len("[SEP]")])


@pytest.mark.parametrize("budget", BUDGETS)
@given(battles=valid_battles(), window=st.integers(13, 64))
def test_a_swapped_battle_keeps_the_same_tokens_of_each_answer(tokenizer, budget, battles, window):
    # Hypothesis tries the texts of the code as well: an answer that spells the template cannot be told from it.
    texts = [
        turn for column in (battles.prompt, battles.response_a, battles.response_b) for ts in column for turn in ts
    ]
    assume(not any("response" in text.lower() for text in texts))
    middle, last = (encode(tokenizer, [f"\nResponse {side}:"])[0] for side in "AB")
    rows, coverage = template_rows(battles, tokenizer, window, budget)
    turned, back = template_rows(battles.swap(), tokenizer, window, budget)
    assert coverage.kept["response_a"] == back.kept["response_b"]
    assert coverage.lost_a_side == back.lost_a_side
    for row, other in zip(rows, turned, strict=True):
        assert len(row) <= window
        prompt, a, b = split(row.tolist(), middle, last)
        assert split(other.tolist(), middle, last) == [prompt, b, a]


def split(row: list[int], middle: list[int], last: list[int]) -> list[list[int]]:
    """A row's three texts; the strategies' texts spell no template."""
    at = next(i for i in range(len(row)) if row[i : i + len(middle)] == middle)
    then = next(i for i in range(at, len(row)) if row[i : i + len(last)] == last)
    return [row[:at], row[at + len(middle) : then], row[then + len(last) : -1]]


def test_a_window_that_is_too_small_is_refused_with_the_smallest_possible_one(tokenizer):
    battles = plain_battles(("why", "yes", "no"))
    rows, _ = template_rows(battles, tokenizer, 13)
    assert len(rows[0]) == 13
    with pytest.raises(UserError, match=r"a window of 12 tokens has no room .* to 13 or more"):
        template_rows(battles, tokenizer, 12)


@pytest.mark.parametrize("budget", [*BUDGETS, "right"])
def test_template_rows_of_no_battles_is_empty(tokenizer, budget):
    rows, coverage = template_rows(plain_battles(), tokenizer, 64, budget)
    assert rows == []
    assert coverage.kept == coverage.total == dict.fromkeys(TEXTS, 0)


# --- The published notebook's rows, made by the tokenizer itself


def notebook_rows(cells: list[tuple[str, str, str]], tokenizer, window: int) -> list[list[int]]:
    texts = [f"Prompt: {p} \n Response A: {a} \n Response B: {b}" for p, a, b in cells]
    return tokenizer(texts, truncation=True, max_length=window)["input_ids"]


CELLS = [
    ('["Why red?"]', '["Yes, the sun.\\n\\nGood"]', '["No"]'),
    ('["Why \\"red\\"?","a\\/b"]', '["caf\\u00e9","' + "red blue " * 40 + '"]', '["","No"]'),
    ('["' + "stone " * 70 + '"]', '["Yes"]', '["No"]'),
]


@pytest.mark.parametrize("window", [20, 40, 64])
def test_right_on_json_cells_equals_the_published_notebook(tokenizer, window):
    battles = conversations(*(tuple(parse_turns(cell)[0] for cell in row) for row in CELLS))
    rows, _ = template_rows(battles, tokenizer, window, budget="right", cells="json")
    assert [row.tolist() for row in rows] == notebook_rows(CELLS, tokenizer, window)


@pytest.mark.slow
def test_on_arena_right_equals_the_notebook_and_loses_b_while_fair_loses_none(minilm: Encoder, arena: Path):
    from transformers import AutoTokenizer

    real = AutoTokenizer.from_pretrained(minilm.folder, local_files_only=True)
    csv.field_size_limit(sys.maxsize)
    with (arena / "train.csv").open(encoding="utf-8", newline="") as file:
        cells = [tuple(row[name] for name in TEXTS) for row in csv.DictReader(file)]
    battles = read_battles(arena / "train.csv")
    rows, right = template_rows(battles, real, 512, budget="right", cells="json")
    assert len(rows) == len(cells)
    marks = re.compile("|".join(map(re.escape, real.all_special_tokens)))
    # Where a text spells a mark, the notebook lets it become one; and a null or missing turn is mended on reading.
    same = [
        i
        for i, row in enumerate(cells)
        if not marks.search(" ".join(row))
        and all(json.loads(cell) == list(getattr(battles, n)[i]) for n, cell in zip(TEXTS, row, strict=True))
    ]
    assert len(same) > 0.98 * len(cells)
    for i, published in zip(same, notebook_rows([cells[i] for i in same], real, 512), strict=True):
        assert rows[i].tolist() == published, battles.id[i]
    _, plain = template_rows(battles, real, 512, budget="right")
    assert plain.lost_a_side / len(battles) == pytest.approx(0.225, abs=0.01)
    assert right.lost_a_side >= plain.lost_a_side
    _, fair = template_rows(battles, real, 512)
    assert fair.lost_a_side == 0
    assert fair.total == plain.total


@pytest.mark.slow
def test_encode_of_ordinary_text_equals_the_tokenizer(minilm: Encoder, arena: Path):
    from transformers import AutoTokenizer

    real = AutoTokenizer.from_pretrained(minilm.folder, local_files_only=True)
    texts = ["\n".join(turns) for turns in read_battles(arena / "train.csv").take(slice(300)).response_a]
    ordinary = [text for text in texts if not any(mark in text for mark in real.all_special_tokens)]
    assert len(ordinary) > 290
    assert encode(real, ordinary) == real(ordinary, add_special_tokens=False, verbose=False)["input_ids"]


def test_the_tiny_tokenizer_has_special_tokens_so_the_tests_above_are_not_vacuous(tokenizer):
    assert wordpiece().encode("a [SEP] b", add_special_tokens=False).tokens == ["a", "[SEP]", "b"]
    assert tokenizer("a [SEP] b", add_special_tokens=False)["input_ids"] == [
        VOCABULARY.index(word) for word in ("a", "[SEP]", "b")
    ]


def test_a_text_of_any_length_is_tokenised_by_its_beginning():
    from pairrank.data.turns import LONGEST

    seen: list[str] = []

    def tokenizer(texts, **_):
        seen.extend(texts)
        return {"input_ids": [[len(text)] for text in texts]}

    assert encode(tokenizer, ["a", "b" * (LONGEST + 5)]) == [[1], [LONGEST]]
    assert [*map(len, seen)] == [1, LONGEST]


@pytest.mark.parametrize("whole", [[1, 8, 2], []])
def test_a_tokenizer_that_splits_a_text_differently_among_special_tokens_is_refused(whole: list[int]):
    def tokenizer(texts, add_special_tokens=True, **_):
        return {"input_ids": whole if add_special_tokens else [[7] for _ in texts]}

    with pytest.raises(UserError, match="splits a text differently among special tokens"):
        special_token_wrapper(tokenizer)

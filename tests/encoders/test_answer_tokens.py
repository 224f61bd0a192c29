"""The vector of an answer is the mean over its own tokens, wherever its prompt, a cut or padding puts them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairrank.data.battles import Battles
from pairrank.encoders.answer_tokens import AnswerPooling, MarkedTokens, TextRow, mark_answer, pad_marks
from pairrank.encoders.chat import USE_PLAIN, Conversations
from pairrank.encoders.pair_texts import ChatLayout, PlainLayout, iterate_rows, paired_sides
from pairrank.encoders.side_windows import SideTexts, side_texts
from pairrank.encoders.transformer import TextEncoder
from pairrank.encoders.windows import encode, special_token_wrapper
from tests.support.architectures import WINDOW, reference, write_checkpoint
from tests.support.battles import conversations, plain_battles
from tests.support.reward_models import CHAT, KINDS, reward_tokenizer

READERS = ["bert", "llama", "chat"]
"""An encoder that reads plain pairs, a causal one that does so, and one that reads chats."""
BATTLES = plain_battles(("why how", "good", "bad apple"), ("red", "bad bad", ""), ("", "good", "bad"))
ANSWERED = ["good", "bad apple", "bad bad", "", "good", "bad"]
"""The answers of `BATTLES`."""


def open_reader(folder: Path, reader: str, pooling: str = "answer") -> TextEncoder:
    kind = KINDS["llama" if reader == "chat" else reader]
    folder = write_checkpoint(folder / reader, kind, chat=CHAT if reader == "chat" else "")
    return TextEncoder(folder, pooling).eval()


def rows_of(encoder: TextEncoder, reader: str, battles: Battles, window: int = WINDOW) -> list[TextRow]:
    if reader == "chat":
        sides, _ = paired_sides(battles, encoder, window, "fair", "chat")
    else:
        sides, _ = side_texts(battles, encoder.tokenizer, window, marked=encoder.pools_answer)
    return [row for side in sides for row in (side.a, side.b)]


def last_place(whole: list[int], part: list[int]) -> int:
    return max(i for i in range(len(whole)) if whole[i : i + len(part)] == part)


# --- What is pooled


@pytest.mark.parametrize("reader", READERS)
def test_the_vector_is_the_mean_of_the_answers_tokens_as_transformers_gives_them(tmp_path: Path, reader: str):
    """Their place is found by looking for the answer's tokens in the row; an empty answer has the mean of all."""
    encoder = open_reader(tmp_path, reader)
    rows = rows_of(encoder, reader, BATTLES)
    with torch.no_grad():
        found = encoder(**encoder.collate(rows))
        for row, vector, answer in zip(rows, found, ANSWERED, strict=True):
            assert isinstance(row, MarkedTokens)
            hidden = reference(tmp_path / reader)(input_ids=torch.from_numpy(row.ids)[None].long())[0][0]
            [tokens] = encode(encoder.tokenizer, [answer])
            start = last_place(row.ids.tolist(), tokens) if tokens else 0
            expected = hidden[start : start + len(tokens) if tokens else None].mean(dim=0)
            assert torch.allclose(vector, expected, atol=1e-5), answer


@pytest.mark.parametrize("reader", READERS)
def test_an_answer_is_read_after_its_prompt_and_has_another_vector_than_all_tokens(tmp_path: Path, reader: str):
    encoder, mean = (open_reader(tmp_path / name, reader, name) for name in ("answer", "mean"))
    battles = plain_battles(("why how", "good", "bad"), ("red one", "good", "bad"))
    with torch.no_grad():
        one, _, other, _ = encoder(**encoder.collate(rows_of(encoder, reader, battles)))
        of_all, *_ = mean(**mean.collate(rows_of(mean, reader, battles)))
    assert (one - other).abs().max() > 1e-3
    assert (one - of_all).abs().max() > 1e-3


@pytest.mark.parametrize("reader", READERS)
def test_a_row_has_the_same_vector_alone_and_in_a_batch(tmp_path: Path, reader: str):
    encoder = open_reader(tmp_path, reader)
    rows = rows_of(encoder, reader, plain_battles(*(("why " * i, "good " * (4 - i), "red " * i) for i in range(4))))
    assert len(rows) == 8
    with torch.no_grad():
        together = encoder(**encoder.collate(rows))
        alone = torch.cat([encoder(**encoder.collate([row])) for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("reader", ["llama", "chat"])
def test_padding_on_the_left_changes_nothing_where_positions_are_relative(tmp_path: Path, reader: str):
    encoder = open_reader(tmp_path, reader)
    right = encoder.collate(rows_of(encoder, reader, BATTLES))
    unused = (right["attention_mask"] == 0).sum(dim=1).tolist()
    left = {
        name: torch.stack([row.roll(count) for row, count in zip(value, unused, strict=True)])
        for name, value in right.items()
    }
    assert max(unused) > 0
    with torch.no_grad():
        assert torch.allclose(encoder(**left), encoder(**right), atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_pooling_ignores_padding_on_either_side_whatever_it_holds(side: str):
    """A prompt token of 1, answers of 2 and 4 (mean 3) and of none: the mean of all, 7."""
    tokens = torch.full((2, 5, 1), torch.nan)
    attention, answer = torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 5, dtype=torch.long)
    at = 2 if side == "left" else 0
    tokens[:, at : at + 3, 0] = torch.tensor([[1.0, 2.0, 4.0], [6.0, 7.0, 8.0]])
    attention[:, at : at + 3], answer[0, at + 1 : at + 3] = 1, 1
    features = {"token_embeddings": tokens, "attention_mask": attention, "answer_mask": answer}
    assert AnswerPooling()(features)["sentence_embedding"].tolist() == [[3.0], [7.0]]


# --- What is marked

PROMPTS, ANSWERS = (
    st.lists(st.text(alphabet=letters, max_size=30), min_size=1, max_size=3).map(tuple)
    for letters in ("bcd", "xyz")
)


@given(PROMPTS, ANSWERS, st.booleans(), st.integers(48, 90), st.sampled_from(["fair", "head+tail", "latest"]))
@settings(deadline=None, max_examples=60)
def test_exactly_the_tokens_of_the_answer_that_survive_a_cut_are_marked(prompt, answer, chat, window, budget):
    """A token of the tokenizer is a letter, and neither prompts nor the template have x, y or z."""
    made = reward_tokenizer(CHAT)
    layout = ChatLayout(Conversations(made, USE_PLAIN)) if chat else PlainLayout(*special_token_wrapper(made, 2))
    [(row, kept, _)] = iterate_rows([(prompt, answer)], made, layout, window, budget, marked=True)
    [(plain, *_)] = iterate_rows([(prompt, answer)], made, layout, window, budget)
    assert isinstance(row, MarkedTokens)
    assert isinstance(plain, np.ndarray)
    assert row.ids.tolist() == plain.tolist()
    assert row.answer.sum() == kept[1]
    marked, others = made.decode(row.ids[row.answer].tolist()), made.decode(row.ids[~row.answer].tolist())
    assert not {*marked} - {*"xyz\n "}
    assert not {*others} & {*"xyz"}


@given(PROMPTS, ANSWERS, ANSWERS, st.sampled_from(["side", "battle"]), st.integers(8, 40))
@settings(deadline=None, max_examples=40)
def test_sides_are_marked_after_they_are_cut_and_swap_with_their_battle(prompt, a, b, share, window):
    made, battles = reward_tokenizer(""), conversations((prompt, a, b))
    [side], coverage = side_texts(battles, made, window, share=share, marked=True)
    [swapped], _ = side_texts(battles.swap(), made, window, share=share, marked=True)
    [plain], _ = side_texts(battles, made, window, share=share)
    for row, other, bare, name in ((side.a, swapped.b, plain.a, "a"), (side.b, swapped.a, plain.b, "b")):
        assert isinstance(row, MarkedTokens)
        assert row.tobytes() == other.tobytes()
        assert row.ids.tolist() == bare.tolist()
        assert row.answer.sum() == coverage.kept[f"response_{name}"]
        assert not {*made.decode(row.ids[~row.answer].tolist())} & {*"xyz"}


def test_equal_tokens_with_another_answer_are_another_row():
    ids = np.array([5, 6, 7], dtype=np.int32)
    one, other = (MarkedTokens(ids, np.array(marks)) for marks in ([False, True, True], [False, False, True]))
    assert one.tobytes() != other.tobytes()
    assert len(one) == len(ids)
    a, b = (SideTexts(row, row, ids[:0], (1.0, 1.0)) for row in (one, other))
    assert a.tobytes() != b.tobytes()


def test_marks_are_padded_like_tokens_and_a_plain_row_has_none():
    rows = [MarkedTokens(np.array([5, 6], dtype=np.int32), np.array([False, True])), np.array([7, 8, 9], np.int32)]
    assert pad_marks(rows).tolist() == [[0, 1, 0], [0, 0, 0]]


def test_mark_answer_finds_what_a_layout_keeps_of_several_turns():
    """The layout keeps the last token of each text and puts a 0 before each turn."""
    turns = [tuple(np.array(ids, dtype=np.int32) for ids in pair) for pair in (([1, 2], [3, 4]), ([5], [6]))]
    row = mark_answer(
        lambda rounds: np.concatenate([part for p, a in rounds for part in ([0], p[-1:], a[-1:])]), turns
    )
    assert row.ids.tolist() == [0, 2, 4, 0, 5, 6]
    assert row.answer.tolist() == [False, False, True, False, False, True]

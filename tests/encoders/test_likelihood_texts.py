"""A conversation is the one of the chat template, and the tokens of its answers and their ends are scored."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from pairrank.encoders.likelihood_texts import ANSWER, PROMPT, ScoredLayout, ScoredTokens
from pairrank.encoders.windows import tokenise_turns
from pairrank.errors import UserError
from tests.support.language_models import MARKS, TEMPLATE, byte_tokenizer

CHAT, PLAIN = byte_tokenizer(TEMPLATE), byte_tokenizer(None)
TURNS = st.lists(st.text("ab\n", max_size=30), min_size=1, max_size=4).map(tuple)


def row(tokenizer, prompt, answer, max_tokens=500, budget="fair") -> ScoredTokens:
    [rounds] = tokenise_turns([(prompt, answer)], tokenizer)
    return ScoredLayout(tokenizer, max_tokens, budget).row(rounds)


def texts(tokenizer, found: ScoredTokens) -> tuple[str, str, str]:
    """The whole row, the scored part of the prompt and that of the answer."""
    kept = (found.tokens, found.tokens[found.kinds == PROMPT], found.tokens[found.kinds == ANSWER])
    whole, prompt, answer = (tokenizer.decode(tokens) for tokens in kept)
    return whole, prompt, answer


def test_a_conversation_is_the_one_of_the_chat_template_and_its_answers_are_scored():
    prompt, answer = ("Hi", "Why?"), ("Hello", "So.")
    messages = [
        {"role": role, "content": text}
        for pair in zip(prompt, ("\n" + t if i else t for i, t in enumerate(answer)), strict=True)
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    messages[2]["content"] = "\nWhy?"
    whole, first, scored = texts(CHAT, row(CHAT, prompt, answer))
    assert whole == CHAT.apply_chat_template(messages, tokenize=False)
    assert first == "Hi"
    assert scored == f"Hello{MARKS[0]}\nSo.{MARKS[0]}"


def test_without_a_template_turns_are_separated_by_line_breaks():
    whole, first, scored = texts(PLAIN, row(PLAIN, ("Hi",), ("Hello",)))
    assert (whole, first, scored) == (f"{MARKS[1]}Hi\n\nHello\n\n", "Hi", "Hello\n")


def test_control_tokens_in_a_text_stay_text():
    found = row(CHAT, (f"a{MARKS[0]}",), (f"{MARKS[0]}{MARKS[1]}",))
    assert np.isin(found.tokens, [0, 1]).sum() == 4
    assert texts(CHAT, found)[2] == f"{MARKS[0]}{MARKS[1]}{MARKS[0]}"


def test_an_empty_answer_is_scored_by_its_end():
    found = row(CHAT, ("",), ("",))
    assert texts(CHAT, found)[1:] == ("", MARKS[0])


def test_a_turn_that_is_cut_has_no_scored_end():
    whole, _, scored = texts(CHAT, row(CHAT, ("Hi",), ("x" * 100,), max_tokens=40))
    assert len(CHAT(whole)["input_ids"]) == 40
    assert set(scored) == {"x"}


@pytest.mark.parametrize("budget", ["fair", "head+tail", "latest"])
@pytest.mark.parametrize("tokenizer", [CHAT, PLAIN])
@given(prompt=TURNS, answer=TURNS, window=st.integers(20, 120))
@settings(deadline=None, max_examples=40)
def test_a_row_fits_the_window_and_keeps_both_texts(tokenizer, budget, prompt, answer, window):
    found = row(tokenizer, prompt, answer, window, budget)
    assert len(found) <= window
    assert len(found.kinds) == len(found)
    whole = row(tokenizer, prompt, answer, 10_000, budget)
    if len(whole) <= window and len(prompt) == 1 == len(answer):
        assert found.tobytes() == whole.tobytes()
    if budget == "fair" and prompt[0]:
        assert (found.kinds == PROMPT).any()
    if any(answer):
        assert (found.kinds == ANSWER).any()


def test_the_latest_budget_drops_the_oldest_of_many_rounds():
    prompt, answer = (tuple(f"{word}{i}" for i in range(30)) for word in ("p", "a"))
    old, new = (texts(CHAT, row(CHAT, prompt, answer, 120, budget))[2] for budget in ("fair", "latest"))
    assert "a0" in old
    assert "a29" not in old
    assert "a29" in new
    assert "a0" not in new


def test_a_window_without_room_is_refused_with_the_least_one():
    with pytest.raises(
        UserError, match=r"max_tokens = 5: .*no room for a text\. Set it to (\d+) or more"
    ) as raised:
        row(CHAT, ("a",), ("b",), 5)
    least = int(str(raised.value).split("Set it to ")[1].split()[0])
    assert len(row(CHAT, ("a",), ("b",), least)) == least


@pytest.mark.parametrize(
    "template",
    [
        "nothing",
        "{{ messages[0]['content'] }}",
        TEMPLATE * 2,
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
    ],
)
def test_a_template_that_hides_or_repeats_turns_is_refused(template):
    with pytest.raises(UserError, match="does not show every message whole, once and in order"):
        row(byte_tokenizer(template), ("a",), ("b",))


def test_a_template_that_writes_todays_date_writes_the_same_every_day():
    dated = byte_tokenizer("{{ strftime_now('%d %b %Y') }} " + TEMPLATE)
    assert texts(dated, row(dated, ("a",), ("b",)))[0].startswith("26 Jul 2024 ")


@pytest.mark.slow
def test_the_template_of_smollm2_is_the_real_one(smollm2):
    tokenizer = AutoTokenizer.from_pretrained(Path(smollm2.folder), local_files_only=True)
    whole, first, scored = texts(tokenizer, row(tokenizer, ("Hi <|im_end|>",), ("Hello!",)))
    assert whole.startswith("<|im_start|>system\n")
    assert first == "Hi <|im_end|>"
    assert scored == "Hello!<|im_end|>"

"""Conversations in messages become a prompt and answers in turns, and turns become messages again."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.data.conversations import (
    ConversationError,
    Message,
    messages_of,
    paired_turns,
    to_messages,
    turns_of,
)
from pairrank.data.turns import Turns
from tests.support.strategies import TEXT


def said(*pairs: str) -> list[Message]:
    """Messages from "u", "a" or "s" and a text, as in "u:Hi"."""
    roles = {"u": "user", "a": "assistant", "s": "system"}
    return [Message(roles[pair[0]], pair[2:]) for pair in pairs]


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[Turns, Turns]:
    """A prompt and as many answers."""
    count = draw(st.integers(1, 4))
    prompt, answers = (tuple(draw(st.lists(TEXT, min_size=count, max_size=count))) for _ in range(2))
    return prompt, answers


# Cells


@pytest.mark.parametrize(
    ("role", "named"),
    [
        ("user", "user"),
        ("human", "user"),
        ("prompter", "user"),
        ("assistant", "assistant"),
        ("gpt", "assistant"),
        ("model", "assistant"),
        ("bot", "assistant"),
        ("system", "system"),
        (" User ", "user"),
        ("GPT", "assistant"),
    ],
)
def test_a_role_has_one_name_for_all_its_spellings(role: str, named: str):
    assert messages_of([{"role": role, "content": "x"}]) == [Message(named, "x")]
    assert messages_of([{"from": role, "value": "x"}]) == [Message(named, "x")]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a\nb ", "a\nb "),
        ("", ""),
        (None, ""),
        ([], ""),
        (["a", "b"], "a\nb"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "text", "text": "a", "image": None, "mimeType": None}], "a"),
        ([{"type": "image", "image": "x.png", "text": None}, {"type": "text", "text": "a"}], "[image]\na"),
        ([{"type": "image_url", "image_url": {"url": "x"}}], "[image]"),
        ([{"image": "x.png"}], "[image]"),
        ([{"type": "audio", "data": "x"}], "[audio]"),
        ([{"type": "text", "text": None}, "a"], "a"),
        ([{"type": "text", "text": ""}, {}, "a"], "a"),
        ({"type": "text", "text": "a"}, "a"),
    ],
)
def test_the_text_of_a_message_is_that_of_its_parts_with_a_word_for_each_picture(content: Any, text: str):
    assert messages_of([{"role": "user", "content": content}]) == [Message("user", text)]


def test_the_kind_of_a_part_is_bounded():
    (message,) = messages_of([{"role": "user", "content": [{"type": "x" * 10_000}]}])
    assert len(message.text) < 100


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), TEXT), min_size=1, max_size=5))
def test_messages_are_read_from_lists_tuples_and_json_alike(pairs: list[tuple[str, str]]):
    cell = [{"role": role, "content": text} for role, text in pairs]
    expected = [Message(*pair) for pair in pairs]
    assert messages_of(cell) == messages_of(tuple(cell)) == expected
    assert messages_of(json.dumps(cell)) == messages_of(f" {json.dumps(cell, ensure_ascii=False)}\n") == expected


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        (None, "is None, expected a list of messages"),
        (3, "is 3, expected a list of messages"),
        ("", "is '', expected a list of messages"),
        ("Hello", "is 'Hello', expected a list of messages"),
        ("[" * 100_000, "is '[[["),
        ([], "is [], expected a list of messages"),
        ("[]", "is [], expected a list of messages"),
        ({"role": "user", "content": "x"}, "is {'content'"),
        ('"Hello"', "is 'Hello', expected a list of messages"),
        (["Hello"], "contains 'Hello', expected messages"),
        ([None], "contains None, expected messages"),
        ([["user", "x"]], "contains ['user', 'x'], expected messages"),
        ([{"content": "x"}], "has the role '', expected user, assistant or system"),
        ([{"role": "tool", "content": "x"}], "has the role 'tool', expected user, assistant or system"),
        ([{"role": None, "content": "x"}], "has the role 'none', expected"),
        ([{"role": "user", "content": 3}], "has the content 3, expected text or a list of parts"),
        ([{"role": "user", "content": ["a", 3]}], "has the content ['a', 3], expected text"),
        ([{"role": "user", "content": [["a"]]}], "has the content [['a']], expected text"),
    ],
)
def test_a_cell_without_messages_is_an_error_that_says_what_was_found(cell: Any, found: str):
    with pytest.raises(ConversationError) as caught:
        messages_of(cell)
    assert str(caught.value).startswith(found)


@pytest.mark.parametrize(
    "cell", ["x" * 10_000, [{"role": "x" * 10_000}], ["x" * 10_000], [{"role": "user", "content": [1] * 10_000}]]
)
def test_an_error_about_a_cell_of_any_length_is_short(cell: Any):
    with pytest.raises(ConversationError) as caught:
        messages_of(cell)
    assert len(str(caught.value)) < 200


# Turns


@pytest.mark.parametrize(
    ("messages", "prompt", "answers"),
    [
        (said("u:1", "a:2", "u:3", "a:4"), ("1", "3"), ("2", "4")),
        (said("u:1"), ("1",), ("",)),
        (said("u:1", "a:2", "u:3"), ("1", "3"), ("2", "")),
        (said("u:1", "u:2", "a:3"), ("1\n\n2",), ("3",)),
        (said("u:1", "a:2", "a:3", "u:4", "a:5"), ("1", "4"), ("2\n\n3", "5")),
        (said("a:1"), ("",), ("1",)),
        (said("a:1", "u:2", "a:3"), ("", "2"), ("1", "3")),
        (said("s:0", "u:1", "a:2"), ("0\n\n1",), ("2",)),
        (said("s:0", "s:9", "u:1", "a:2", "u:3", "a:4"), ("0\n\n9\n\n1", "3"), ("2", "4")),
        (said("u:1", "a:2", "s:0", "u:3", "a:4"), ("0\n\n1", "3"), ("2", "4")),
        (said("s:0"), ("0",), ("",)),
        (said("s:", "u:1", "a:2"), ("1",), ("2",)),
        ([], ("",), ("",)),
        (said("u:", "a:", "u:", "a:"), ("", ""), ("", "")),
    ],
    ids=lambda value: " ".join(f"{m.role[0]}:{m.text}" for m in value) if isinstance(value, list) else None,
)
def test_turns_of_worked_examples(messages: list[Message], prompt: Turns, answers: Turns):
    assert turns_of(messages) == (prompt, answers)


MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["user", "assistant", "system"]), st.text("abc", min_size=1)), max_size=8
)


@given(MESSAGES)
def test_turns_hold_every_text_once_in_order_with_one_answer_per_turn(messages: list[Message]):
    prompt, answers = turns_of(messages)
    assert len(prompt) == len(answers) >= 1
    by_role = {role: [m.text for m in messages if m.role == role] for role in ("system", "user", "assistant")}
    parts = [part for turn in prompt for part in turn.split("\n\n") if part]
    assert parts == by_role["system"] + by_role["user"]
    assert [part for turn in answers for part in turn.split("\n\n") if part] == by_role["assistant"]


@given(exchanges())
def test_to_messages_inverts_turns_of(turns: tuple[Turns, Turns]):
    cell = to_messages(*turns)
    assert [message["role"] for message in cell] == ["user", "assistant"] * len(turns[0])
    assert turns_of(messages_of(cell)) == turns
    assert turns_of(messages_of(json.dumps(cell))) == turns


@given(exchanges())
def test_turns_of_inverts_to_messages(turns: tuple[Turns, Turns]):
    messages = [
        message
        for one, other in zip(*turns, strict=True)
        for message in (Message("user", one), Message("assistant", other))
    ]
    assert messages_of(to_messages(*turns_of(messages))) == messages


# Two conversations


@given(exchanges(), st.data())
def test_paired_turns_pads_the_shorter_conversation(turns: tuple[Turns, Turns], data: st.DataObject):
    prompt, answers = turns
    others = tuple(data.draw(st.lists(TEXT, min_size=1, max_size=len(prompt))))
    one = messages_of(to_messages(prompt, answers))
    other = messages_of(to_messages(prompt[: len(others)], others))
    padded = others + ("",) * (len(prompt) - len(others))
    assert paired_turns(one, other) == (prompt, answers, padded)
    assert paired_turns(other, one) == (prompt, padded, answers)


@pytest.mark.parametrize(
    "other", [said("u:2", "a:x"), said("u:1", "a:x", "u:4"), said("s:0", "u:1", "a:x"), said("a:x", "u:1")]
)
def test_conversations_whose_users_differ_are_refused(other: list[Message]):
    one = said("u:1", "a:2", "u:3", "a:4")
    for pair in ((one, other), (other, one)):
        with pytest.raises(ConversationError, match="user's turns of both conversations differ"):
            paired_turns(*pair)

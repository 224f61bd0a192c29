"""Questions whose answers differ in what they say, which can be judged only with the question.

An answer states one or two facts of `simulated_facts.toml`. Its first statement is right, wrong, about another
attribute of the subject, or about another topic. A second one is right, wrong or contradicts the first. The number
of statements and their form are drawn without regard to any of this.

The same statement is right for one subject and wrong for another. A wrong value is the right value of another
subject, chosen so that wrong values are distributed as right ones. Without the question, a statement therefore does
not tell whether it is right.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pairrank.data.simulated_text import Speaker, choose, pick, words
from pairrank.data.turns import Turns


@dataclass(frozen=True)
class Merit:
    """Contributions of an answer's properties to its quality, in units of log strength."""

    wrong: float = -6.0
    """A wrong value of the attribute that was asked for."""
    contradiction: float = -5.0
    """Two values of the attribute that was asked for, whether one of them is right or not."""
    aside: float = -4.5
    """A statement about another attribute of the subject, instead of the one that was asked for."""
    stray: float = -6.5
    """A statement about another topic."""
    second: float = 0.4
    """A second, right statement, about another attribute of the subject."""
    second_wrong: float = -2.5
    """A second, wrong statement, about another attribute of the subject."""
    refusal: float = -7.0
    """A refusal."""
    padding: float = -0.3
    """A sentence without content."""


MERIT = Merit()


class Attribute(NamedTuple):
    """What can be asked about the subjects of a topic."""

    asks: tuple[str, ...]
    """Questions, in which {it} stands for the subject."""
    wordings: tuple[str, ...]
    """Sentences that state it, in which {value} stands for the value."""
    values: tuple[str, ...]
    """The value of each subject, in the order of the topic's subjects."""


class Topic(NamedTuple):
    """Subjects of one kind, and their attributes."""

    subjects: tuple[str, ...]
    attributes: tuple[Attribute, ...]


class Question(NamedTuple):
    """A question: the numbers of its topic, subject and attribute, and the turns of the prompt."""

    topic: int
    subject: int
    attribute: int
    turns: Turns


class Statement(NamedTuple):
    """A statement: the numbers of its topic and attribute, and of a subject that has the stated value.

    It is right if the subject in question has the same value.
    """

    topic: int
    attribute: int
    source: int

    @property
    def value(self) -> str:
        """Return the stated value."""
        return topics()[self.topic].attributes[self.attribute].values[self.source]


@cache
def topics() -> tuple[Topic, ...]:
    """Return the topics of `simulated_facts.toml`, which is read once per process."""
    return tuple(
        Topic(
            tuple(topic["subjects"]), tuple(_attribute(entry, topic["subjects"]) for entry in topic["attributes"])
        )
        for topic in _stock()["topics"]
    )


@cache
def _stock() -> dict[str, Any]:
    """Return the content of `simulated_facts.toml` as read."""
    return tomllib.loads(Path(__file__).with_name("simulated_facts.toml").read_text(encoding="utf-8"))


def _attribute(entry: dict[str, Any], subjects: list[str]) -> Attribute:
    """Return an attribute from its table in the file, which names the subjects of each value."""
    value_of = {subject: value for value, owners in entry["values"].items() for subject in owners}
    return Attribute(
        tuple(entry["asks"]), tuple(entry["wordings"]), tuple(value_of[subject] for subject in subjects)
    )


def question(u: Iterator[float]) -> Question:
    """Return a question from seven random numbers."""
    phrases = words().stock["asks"]
    topic, subject, attribute, how, frame, before, after = (next(u) for _ in range(7))
    number = int(topic * len(topics()))
    asked = topics()[number]
    who, what = int(subject * len(asked.subjects)), int(attribute * len(asked.attributes))
    ask = pick(asked.attributes[what].asks, how).replace("{it}", asked.subjects[who])
    text = pick(_stock()["frames"], frame).replace("{ask}", ask)
    if before < 0.3:
        text = f"{pick(phrases['before'], before / 0.3)} {text}"
    if after < 0.3:
        text = f"{text} {pick(phrases['after'], after / 0.3)}"
    return Question(number, who, what, (text,))


def answer(asked: Question, speaker: Speaker, u: Iterator[float]) -> tuple[str, float]:
    """Return the text and the quality of one answer, neither of which depends on the side."""
    refuse, choice, shape = next(u), next(u), next(u)
    if refuse < 0.1 * speaker.refuses:
        return pick(words().stock["answers"]["refusal"], choice), MERIT.refusal
    first = _first_statement(asked, 1 - speaker.skill, u)
    statements = [first]
    if shape < 0.5:
        statements.append(_second_statement(asked, first, 1 - speaker.skill, u))
    text, padded = _text(statements, speaker, u)
    return text, quality(asked, statements) + MERIT.padding * padded


def quality(asked: Question, statements: list[Statement]) -> float:
    """Return the quality of the statements of an answer to a question, in units of log strength."""
    first, *more = statements
    attributes = topics()[asked.topic].attributes
    if first.topic != asked.topic:
        return MERIT.stray
    if any(second.attribute == first.attribute and second.value != first.value for second in more):
        return MERIT.contradiction
    right = [said.value == attributes[said.attribute].values[asked.subject] for said in statements]
    worth = MERIT.aside if first.attribute != asked.attribute else 0.0 if right[0] else MERIT.wrong
    return worth + sum(MERIT.second if correct else MERIT.second_wrong for correct in right[1:])


def _first_statement(asked: Question, lack: float, u: Iterator[float]) -> Statement:
    """Return the first statement, which is the less likely to be right, the more skill the speaker lacks."""
    shares = {"wrong": 0.10 + 0.5 * lack, "aside": 0.03 + 0.20 * lack, "stray": 0.03 + 0.15 * lack}
    behaviour, which, other = choose(shares, next(u)), next(u), next(u)
    said = Statement(asked.topic, asked.attribute, asked.subject)
    if behaviour == "wrong":
        return _contrary(said, which)
    if behaviour == "aside":
        return said._replace(attribute=_other(said.attribute, len(topics()[said.topic].attributes), which))
    if behaviour == "stray":
        return _statement(_other(said.topic, len(topics()), which), other)
    return said


def _second_statement(asked: Question, first: Statement, lack: float, u: Iterator[float]) -> Statement:
    """Return a second statement: a contradiction of the first, or a right or wrong one about another attribute."""
    shares = {"contrary": 0.05 + 0.25 * lack, "wrong": 0.05 + 0.35 * lack}
    behaviour, which, other = choose(shares, next(u)), next(u), next(u)
    answered = (asked.topic, asked.attribute)
    if behaviour == "contrary" and (first.topic, first.attribute) == answered:
        return _contrary(first, which)
    count = len(topics()[first.topic].attributes)
    rest = [i for i in range(count) if i != first.attribute and (first.topic, i) != answered]
    source = asked.subject if first.topic == asked.topic else first.source
    second = Statement(first.topic, pick(rest, which), source)
    return _contrary(second, other) if behaviour == "wrong" else second


def _statement(topic: int, u: float) -> Statement:
    """Return one of the statements about a topic."""
    count = len(topics()[topic].attributes)
    source, attribute = divmod(int(u * len(topics()[topic].subjects) * count), count)
    return Statement(topic, attribute, source)


def _contrary(said: Statement, u: float) -> Statement:
    """Return a statement with another value of the same attribute.

    The subjects, ordered by value, are shifted in a circle: by at least as many places as the most frequent value
    has subjects, in either direction. Each shift is a permutation, and all are equally likely. Each value therefore
    replaces others as often as it is replaced, and value v replaces w as often as w replaces v.
    """
    values = topics()[said.topic].attributes[said.attribute].values
    order = sorted(range(len(values)), key=values.__getitem__)
    most = max(Counter(values).values())
    shift = pick(range(most, len(values) - most + 1), u)
    return said._replace(source=order[(order.index(said.source) + shift) % len(order)])


def _other(number: int, count: int, u: float) -> int:
    """Return one of `count` numbers that is not the given one."""
    return (number + 1 + int(u * (count - 1))) % count


def _text(statements: list[Statement], speaker: Speaker, u: Iterator[float]) -> tuple[str, bool]:
    """Return the sentences in the format of this speaker, and whether padding follows them."""
    stock = words().stock["answers"]
    opener, shape, ramble = next(u), next(u), next(u)
    sentences = [_sentence(said, next(u)) for said in statements]
    listed = len(sentences) > 1 and shape < 0.4 * speaker.lists
    text = "\n".join(f"- {sentence}" for sentence in sentences) if listed else " ".join(sentences)
    if opener < 0.5:
        text = pick(stock["opener"], opener / 0.5) + ("\n" if listed else " ") + text
    if padded := ramble < (often := 0.6 * speaker.rambles):
        text = f"{text} {pick(stock['padding'], ramble / often)}"
    return text, padded


def _sentence(said: Statement, u: float) -> str:
    """Return one of the wordings of a statement."""
    attribute = topics()[said.topic].attributes[said.attribute]
    return pick(attribute.wordings, u).replace("{value}", said.value)

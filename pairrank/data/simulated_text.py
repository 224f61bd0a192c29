"""Requests and answers are composed from random numbers, and the quality of an answer follows from its text."""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pairrank.data.turns import Turns

KINDS = {"chat": 0.22, "delicate": 0.06, "list": 0.18, "short": 0.10, "explain": 0.44}
"""Kinds of request and their shares. Requests of the first two are complete texts; the others have a subject."""

MAX_TURNS = 3
"""Largest number of turns of a conversation."""
DRAWS = 16
"""Random numbers that are reserved for the prompt and for each turn of each side. Not all of them are used."""

Row = list[float]
"""Random numbers in [0, 1)."""
T = TypeVar("T")


@dataclass(frozen=True)
class Worth:
    """Contributions of an answer's properties to its quality, in units of log strength."""

    refusal: float = -7.0
    """A refusal of a harmless request."""
    right_refusal: float = -0.5
    """A refusal of a request that many would refuse."""
    shrug: float = -7.0
    """A rude answer without help."""
    empty: float = -8.0
    """An empty answer."""
    stray: float = -5.0
    """Statements about another subject."""
    error: float = -2.5
    """A false statement; it counts once for each."""
    repeat: float = -2.5
    """The same sentence several times."""
    second: float = 0.6
    """A second statement, except in an answer that should be short."""
    too_long: float = -0.8
    """More than the one sentence that was requested."""
    list_given: float = 1.0
    """A list that was requested."""
    list_missing: float = -0.5
    """The absence of a list that was requested."""
    padding: float = -0.7
    """A sentence without content."""
    chat: float = 0.4
    """Factor of all contributions in small talk."""


WORTH = Worth()


class Speaker(NamedTuple):
    """An invented model: its name, its skill from 0 to 1, and the probabilities of its habits."""

    name: str
    skill: float
    refuses: float
    lists: float
    rambles: float


class Task(NamedTuple):
    """A request: its kind, the number of its subject, and the turns of the prompt."""

    kind: str
    subject: int
    turns: Turns


class Words(NamedTuple):
    """The content of `simulated_words.toml`, prepared for composing answers."""

    speakers: tuple[Speaker, ...]
    subjects: tuple[tuple[str, ...], ...]
    """Names of each subject in a prompt."""
    facts: tuple[tuple[tuple[str, str], ...], ...]
    """Statements about each subject, each with its true and its false wording."""
    stock: dict[str, Any]
    """The content of the whole file as read."""


@cache
def words() -> Words:
    """Return the content of `simulated_words.toml`, which is read once per process."""
    stock = tomllib.loads(Path(__file__).with_name("simulated_words.toml").read_text(encoding="utf-8"))
    return Words(
        speakers=tuple(Speaker(**model) for model in stock["models"]),
        subjects=tuple(tuple(subject["asked"]) for subject in stock["subjects"]),
        facts=tuple(tuple(map(wordings, subject["facts"])) for subject in stock["subjects"]),
        stock=stock,
    )


def wordings(fact: str) -> tuple[str, str]:
    """Return the true and the false sentence of a fact such as `They walk on [eight|six] legs.`."""
    head, rest = fact.split("[")
    choice, tail = rest.split("]")
    true, false = choice.split("|")
    return head + true + tail, head + false + tail


def request(u: Iterator[float]) -> Task:
    """Return a request from random numbers, sometimes with polite phrases and follow-up questions."""
    stock, kind = words().stock, choose(KINDS, next(u))
    which, how, name, before, after, more = (next(u) for _ in range(6))
    if kind in stock:
        subject = int(which * len(stock[kind]["asked"]))
        text = stock[kind]["asked"][subject]
    else:
        subject = int(which * len(words().subjects))
        text = pick(stock["asks"][kind], how).replace("{it}", pick(words().subjects[subject], name))
    if before < 0.3:
        text = f"{pick(stock['asks']['before'], before / 0.3)} {text}"
    if after < 0.3:
        text = f"{text} {pick(stock['asks']['after'], after / 0.3)}"
    follow_ups = 0 if kind in stock else (more < 0.17) + (more < 0.02)
    return Task(kind, subject, (text, *(pick(stock["asks"]["more"], next(u)) for _ in range(follow_ups))))


def conversation(task: Task, speaker: Speaker, draws: list[Row]) -> tuple[Turns, float]:
    """Return one side's answers to all turns, and their mean quality.

    The last two numbers of the first turn apply to all turns, so that a model that refuses once always refuses.
    """
    order, manner = draws[0][-2:]
    own = [iter(row) for row in draws[: len(task.turns)]]
    answers = [_answer(task, turn, speaker, order, manner, u) for turn, u in enumerate(own)]
    return tuple(text for text, _ in answers), sum(quality for _, quality in answers) / len(answers)


def _answer(
    task: Task, turn: int, speaker: Speaker, order: float, manner: float, u: Iterator[float]
) -> tuple[str, float]:
    """Return the text and the quality of one answer, neither of which depends on the side."""
    stock, lack = words().stock["answers"], 1 - speaker.skill
    choice, tail, lost = next(u), next(u), next(u)
    stake = WORTH.chat if task.kind == "chat" else 1.0
    delicate = task.kind == "delicate"
    shares = {
        "empty": 0.004,
        "refusal": 0.4 + speaker.refuses if delicate else speaker.refuses,
        "shrug": 0.5 * lack,
        "stray": 0.3 * lack,
    }
    behaviour = choose(shares, manner)
    if behaviour == "empty" or (turn and lost < 0.03):
        return "", stake * WORTH.empty
    if behaviour in ("refusal", "shrug"):
        worth = WORTH.right_refusal if behaviour == "refusal" and delicate else getattr(WORTH, behaviour)
        ending = f" {pick(stock['tails'], tail / 0.6)}" if tail < 0.6 else ""
        return pick(stock[behaviour], choice) + ending, stake * worth
    if behaviour != "stray" and task.kind in words().stock:
        return pick(words().stock[task.kind]["replies"], choice), 0.0
    subject, worth = task.subject, 0.0
    if behaviour == "stray":
        others = len(words().facts) - 1
        subject, worth = (subject + 1 + int(choice * others)) % (others + 1), WORTH.stray
    text, more = _statements(task.kind, turn, subject, speaker, order, u)
    return text, stake * (worth + more)


def _statements(
    kind: str, turn: int, subject: int, speaker: Speaker, order: float, u: Iterator[float]
) -> tuple[str, float]:
    """Return sentences about a subject, some of them false, in the format of this speaker, and their quality."""
    stock, lack, worth = words().stock["answers"], 1 - speaker.skill, 0.0
    opener, shape, more, again, ramble = (next(u) for _ in range(5))
    two = turn == 0 and more < (0.1 + 0.6 * lack if kind == "short" else 0.75 - 0.4 * lack)
    sentences = []
    # Each conversation has its own order of the four facts, so that a later turn adds new ones.
    first, step = int(order * 4), 1 if order * 4 % 1 < 0.5 else 3
    for i in (0, 1) if two else (turn + 1 if turn else 0,):
        false = next(u) < 0.45 * lack
        sentences.append(words().facts[subject][(first + step * i) % 4][false])
        worth += WORTH.error * false
    if two:
        worth += WORTH.too_long if kind == "short" else WORTH.second
    if again < 0.2 * lack:
        sentences += [sentences[-1]] * 2
        worth += WORTH.repeat
    wanted = kind == "list" and turn == 0
    listed = len(sentences) > 1 and shape < (0.4 + 0.6 * speaker.lists if wanted else 0.5 * speaker.lists)
    if wanted:
        worth += WORTH.list_given if listed else WORTH.list_missing
    text = "\n".join(f"- {sentence}" for sentence in sentences) if listed else " ".join(sentences)
    if opener < 0.5:
        text = pick(stock["opener"], opener / 0.5) + ("\n" if listed else " ") + text
    if ramble < (often := 0.6 * speaker.rambles):
        text = f"{text} {pick(stock['padding'], ramble / often)}"
        worth += WORTH.padding
    return text, worth


def choose(shares: dict[str, float], u: float) -> str:
    """Return the name whose part of [0, 1) contains u, or "" if u is beyond the last part."""
    for name, share in shares.items():
        if u < share:
            return name
        u -= share
    return ""


def pick(options: Sequence[T], u: float) -> T:
    """Return the option whose equal part of [0, 1) contains u."""
    return options[int(u * len(options))]

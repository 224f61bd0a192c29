"""What can be said of battles without keeping their text: a million of them fit where ten thousand texts do."""

import hashlib
import heapq
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import TEXTS, Battles, Objects, concatenate, object_array
from pairrank.data.folds import prompt_keys
from pairrank.data.reading import stream_battles
from pairrank.data.turns import Turns
from pairrank.features.contexts import prompt_kind
from pairrank.features.languages import languages_of
from pairrank.features.parsed_text import ParsedText

UNKNOWN = -1
"""The winner of a battle that has none, as in a test file."""

SHOWN = 2_000
"""Battles whose text a survey keeps: those with the smallest hash of their id, so the same ones in any order."""

Count = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Survey:
    """n battles in numbers and short words."""

    id: Objects
    """(n,) battle ids."""
    key: npt.NDArray[np.uint64]
    """(n,) equal for battles of one prompt, by the key that decides the fold."""
    content: npt.NDArray[np.uint64]
    """(n,) equal for battles whose prompt and answers are the same, in the same places."""
    chars: npt.NDArray[np.int32]
    """(n, 3) characters of prompt, A and B, all turns together."""
    turns: npt.NDArray[np.int32]
    """(n,) turns of the conversation."""
    empty: npt.NDArray[np.bool_]
    """(n,) whether an answer holds nothing but white space."""
    gap: npt.NDArray[np.bool_]
    """(n,) whether some turn of a conversation is empty, or null in the file."""
    mangled: npt.NDArray[np.bool_]
    """(n,) whether a text holds U+FFFD: half an emoji or a damaged letter, replaced on reading or long before."""
    equal: npt.NDArray[np.bool_]
    """(n,) whether both answers are the same."""
    code: npt.NDArray[np.bool_]
    """(n,) whether the prompt asks for code, or an answer has a fenced block of it."""
    language: Objects
    """(n,) codes of `languages.LANGUAGES`; "" where nobody asked."""
    winner: npt.NDArray[np.int64]
    """(n,) `Winner` values, or `UNKNOWN`."""
    model_a: Objects
    """(n,) names, "" where unknown."""
    model_b: Objects
    """(n,) names, "" where unknown."""

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: npt.NDArray[Any] | slice) -> Self:
        """The battles at `rows`: indices, a mask or a slice."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def textless(self) -> Battles:
        """The battles with winners, names and ids, and no text: what ratings are fitted on."""
        known = self.take(self.winner != UNKNOWN)
        blank = object_array([("",)] * len(known))
        return Battles(known.id, blank, blank, blank, known.model_a, known.model_b, known.winner)


@dataclass(frozen=True, eq=False)
class FileSurvey:
    """What one pass over a file of battles found."""

    path: Path
    survey: Survey
    """Every battle of the file."""
    shown: Battles
    """Some of them with their text, at most `SHOWN`."""
    complaints: tuple[str, ...]
    """What is wrong with the file, one line each; battles without a clear winner are left out."""


def survey_of(battles: Battles, guess_language: bool = True) -> Survey:
    """What can be said of each of these battles; guessing the language is most of the work."""
    sides = [names if names is not None else [""] * len(battles) for names in (battles.model_a, battles.model_b)]
    texts = list(zip(*(getattr(battles, name) for name in TEXTS), strict=True))
    answers = [("\n".join(a).strip(), "\n".join(b).strip()) for _, a, b in texts]
    return Survey(
        id=battles.id,
        key=np.array([_number(key) for key in prompt_keys(battles)], dtype=np.uint64),
        content=np.array([_number(json.dumps(battle)) for battle in texts], dtype=np.uint64),
        chars=np.array([[_length(turns) for turns in battle] for battle in texts], dtype=np.int32).reshape(-1, 3),
        turns=np.array([len(prompt) for prompt, _, _ in texts], dtype=np.int32),
        empty=np.array([not (a and b) for a, b in answers], dtype=np.bool_),
        gap=np.array([len(battle[0]) > 1 and not all(map(all, battle)) for battle in texts], dtype=np.bool_),
        mangled=np.array([any("\ufffd" in t for turns in b for t in turns) for b in texts], dtype=np.bool_),
        equal=np.array([a == b for a, b in answers], dtype=np.bool_),
        code=np.array([_has_code(*battle) for battle in texts], dtype=np.bool_),
        language=object_array(languages_of(battles) if guess_language else [""] * len(battles)),
        winner=np.full(len(battles), UNKNOWN) if battles.winner is None else battles.winner,
        # Of a name that a million battles repeat, one copy is kept.
        model_a=object_array([sys.intern(name) for name in sides[0]]),
        model_b=object_array([sys.intern(name) for name in sides[1]]),
    )


def join(parts: Iterable[Survey]) -> Survey:
    """Several surveys as one; raises ValueError for none."""
    tables = list(parts)
    return Survey(**{f.name: np.concatenate([getattr(part, f.name) for part in tables]) for f in fields(Survey)})


def survey_file(path: str | Path, shown: int = SHOWN, count: Count = lambda _: None) -> FileSurvey:
    """Survey a file of any size; of its texts only those of `shown` battles are ever held at once.

    Damaged battles are repaired and complained of, as for a test file: looking at a file must not need a sound one.
    `count` hears how many battles have been read. Raises UserError where the file cannot be read at all.
    """
    parts: list[Survey] = []
    complaints: list[str] = []
    kept = Kept(shown)
    read = 0
    for battles in stream_battles(path, damage="drop"):
        parts.append(survey_of(battles))
        complaints += battles.repairs
        kept.offer(battles)
        read += len(battles)
        count(read)
    return FileSurvey(Path(path), join(parts), kept.battles(), tuple(complaints))


class Kept:
    """At most `size` of all battles that are offered: those with the smallest hashes of their ids."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._none: list[Battles] = []
        self._heap: list[tuple[int, int, Battles]] = []  # the largest hash is on top, as its negative
        self._offered = 0

    def offer(self, battles: Battles) -> None:
        """Take those of these battles that belong to the smallest so far."""
        for row, name in enumerate(battles.id.tolist()):
            ranked = -_number(name)
            if len(self._heap) < self.size or ranked > self._heap[0][0]:
                heapq.heappush(self._heap, (ranked, self._offered + row, battles.take(np.array([row]))))
            if len(self._heap) > self.size:
                heapq.heappop(self._heap)
        self._offered += len(battles)
        self._none = [battles.take(slice(0))]

    def battles(self) -> Battles:
        """What was taken, in the order in which it was offered."""
        taken = [battle for _, _, battle in sorted(self._heap, key=lambda entry: entry[1])]
        return concatenate(taken or self._none)


def _number(text: str) -> int:
    """64 bits of a hash; two of a million texts share one with a chance of 1 in 37 million."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _length(turns: Turns) -> int:
    return sum(map(len, turns))


def _has_code(prompt: Turns, response_a: Turns, response_b: Turns) -> bool:
    fenced = any("```" in turn for turns in (response_a, response_b) for turn in turns)
    return fenced or bool(prompt_kind(ParsedText(prompt or ("",)))["code"])

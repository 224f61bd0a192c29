"""A summary of battles that does not keep their text: a million rows need the memory of ten thousand texts."""

import hashlib
import heapq
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import TEXTS, Battles, Objects, concatenate, object_array
from pairrank.data.folds import connected_keys, prompt_keys
from pairrank.data.months import month_of
from pairrank.data.reading import MOST_COMPLAINTS, stream_battles
from pairrank.data.turns import Turns
from pairrank.features.contexts import mentions_code
from pairrank.features.languages import languages_of
from pairrank.features.parsed_text import ParsedText
from pairrank.features.phrases import REFUSALS

UNKNOWN = -1
"""The winner of a battle without a result, as in a test file."""

SAMPLE_SIZE = 2_000
"""Number of battles whose text is kept. They have the smallest hashes of ids, so their order does not matter."""

REFUSAL_CHARS = 200
"""Characters at the beginning of an answer that are searched for a refusal. Later ones mention it only."""


@dataclass(frozen=True, eq=False)
class Survey:
    """Numbers, flags and short strings about n battles, one array per column."""

    id: Objects
    """(n,) battle ids."""
    prompt_hash: npt.NDArray[np.uint64]
    """(n,) hashes, equal for battles with the same prompt key, which decides the fold."""
    group_hash: npt.NDArray[np.uint64]
    """(n,) hashes of the groups, such as sessions; 0 where unknown."""
    content_hash: npt.NDArray[np.uint64]
    """(n,) hashes, equal for battles with the same prompt, answer A and answer B."""
    chars: npt.NDArray[np.int32]
    """(n, 3) characters of prompt, A and B, summed over turns."""
    turns: npt.NDArray[np.int32]
    """(n,) number of turns of the conversation."""
    empty_answer: npt.NDArray[np.bool_]
    """(n,) whether an answer has only white space."""
    empty_turn: npt.NDArray[np.bool_]
    """(n,) whether a conversation of several turns has a turn that is empty, or null in the file."""
    damaged: npt.NDArray[np.bool_]
    """(n,) whether a text contains U+FFFD, which replaces half an emoji or an invalid byte."""
    equal_answers: npt.NDArray[np.bool_]
    """(n,) whether both answers are the same."""
    code: npt.NDArray[np.bool_]
    """(n,) whether the prompt asks for code, or an answer has a fenced code block."""
    refuses: npt.NDArray[np.bool_]
    """(n, 2) whether answer A, and answer B, begins its last turn with a refusal."""
    language: Objects
    """(n,) the file's language, or else an estimated code of `languages.LANGUAGES`; "" if neither is known."""
    category: Objects
    """(n,) kinds of the prompts as the file gives them, "" if unknown."""
    judge: Objects
    """(n,) who has voted, "" if unknown."""
    month: Objects
    """(n,) when the votes were given, such as "2025-06", "" if unknown."""
    both_bad: npt.NDArray[np.bool_]
    """(n,) whether the voter called both answers bad."""
    winner: npt.NDArray[np.int64]
    """(n,) `Winner` values, or `UNKNOWN`."""
    model_a: Objects
    """(n,) names, "" if unknown."""
    model_b: Objects
    """(n,) names, "" if unknown."""

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: npt.NDArray[Any] | slice) -> Self:
        """Return the battles at `rows`: indices, a mask or a slice."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def split_keys(self) -> list[int]:
        """Return n keys, equal for battles that are in one fold because of their prompts and groups."""
        return connected_keys(self.prompt_hash.tolist(), self.group_hash.tolist())

    def without_text(self) -> Battles:
        """Return the battles that have a winner, with ids and model names but empty texts, to fit ratings on."""
        known = self.take(self.winner != UNKNOWN)
        blank = object_array([("",)] * len(known))
        return Battles(known.id, blank, blank, blank, known.model_a, known.model_b, known.winner)


@dataclass(frozen=True, eq=False)
class FileSurvey:
    """The result of one pass over a file of battles."""

    path: Path
    survey: Survey
    """All battles of the file."""
    sample: Battles
    """Some of them with their text; see `HashSample`."""
    complaints: tuple[str, ...]
    """The first complaints, one line each. Battles without a clear winner are left out of `survey`."""
    complaint_count: int = 0
    """Number of all complaints."""


def survey_of(battles: Battles, guess_language: bool = True) -> Survey:
    """Return the survey of these battles.

    Languages are estimated, which takes most of the time, if none of the battles has a language of its own.
    """
    texts = list(zip(*(getattr(battles, name) for name in TEXTS), strict=True))
    groups = [""] * len(battles) if battles.group is None else battles.group.tolist()
    answers = [("\n".join(a).strip(), "\n".join(b).strip()) for _, a, b in texts]
    return Survey(
        id=battles.id,
        prompt_hash=np.array([_hash64(key) for key in prompt_keys(battles)], dtype=np.uint64),
        group_hash=np.array([_hash64(group) if group else 0 for group in groups], dtype=np.uint64),
        content_hash=np.array([_hash64(*chain.from_iterable(battle)) for battle in texts], dtype=np.uint64),
        chars=np.array([[_length(turns) for turns in battle] for battle in texts], dtype=np.int32).reshape(-1, 3),
        turns=np.array([len(prompt) for prompt, _, _ in texts], dtype=np.int32),
        empty_answer=np.array([not (a and b) for a, b in answers], dtype=np.bool_),
        empty_turn=np.array([len(battle[0]) > 1 and not all(map(all, battle)) for battle in texts], dtype=np.bool_),
        damaged=np.array([any("\ufffd" in t for turns in b for t in turns) for b in texts], dtype=np.bool_),
        equal_answers=np.array([a == b for a, b in answers], dtype=np.bool_),
        code=np.array([_has_code(*battle) for battle in texts], dtype=np.bool_),
        refuses=np.array([[_refuses(a), _refuses(b)] for _, a, b in texts], dtype=np.bool_).reshape(-1, 2),
        language=_languages(battles, guess_language and not gives_languages(battles)),
        category=_interned(battles.category, len(battles)),
        judge=_interned(battles.judge, len(battles)),
        month=_months(battles),
        both_bad=np.zeros(len(battles), dtype=bool) if battles.both_bad is None else battles.both_bad,
        winner=np.full(len(battles), UNKNOWN) if battles.winner is None else battles.winner,
        model_a=_interned(battles.model_a, len(battles)),
        model_b=_interned(battles.model_b, len(battles)),
    )


def gives_languages(battles: Battles) -> bool:
    """Return whether any of the battles has a language of its own, so that no language is estimated."""
    return battles.language is not None and any(battles.language)


def _languages(battles: Battles, guess: bool) -> Objects:
    return object_array(languages_of(battles)) if guess else _interned(battles.language, len(battles))


def _months(battles: Battles) -> Objects:
    months = None if battles.time is None else object_array([*map(month_of, battles.time)])
    return _interned(months, len(battles))


def _interned(names: Objects | None, n: int) -> Objects:
    """Return n names, "" if there are none; a name that a million battles repeat is stored once."""
    return object_array([""] * n if names is None else [sys.intern(name) for name in names])


def join(parts: Iterable[Survey]) -> Survey:
    """Return several surveys as one; raises ValueError if there are none."""
    tables = list(parts)
    return Survey(**{f.name: np.concatenate([getattr(part, f.name) for part in tables]) for f in fields(Survey)})


def survey_file(
    path: str | Path,
    sample_size: int = SAMPLE_SIZE,
    progress: Callable[[int], None] = lambda _: None,
    schema: str = "",
) -> FileSurvey:
    """Survey a file of any size; at most one block of texts and `sample_size` battles are in memory at once.

    Damaged battles are repaired and reported in `complaints`, so that a damaged file can be explored as well.
    `progress` is called with the number of battles read so far. Raises UserError if the file cannot be read.
    """
    parts: list[Survey] = []
    complaints: list[str] = []
    sample = HashSample(sample_size)
    read = count = 0
    is_given = False
    for battles in stream_battles(path, damage="drop", schema=schema):
        if not is_given and gives_languages(battles):
            # One language in the whole file is enough, so that the estimates for earlier rows are of no use.
            is_given = True
            parts = [replace(part, language=object_array([""] * len(part))) for part in parts]
        parts.append(survey_of(battles, guess_language=not is_given))
        count += len(battles.repairs)
        complaints += battles.repairs[: MOST_COMPLAINTS - len(complaints)]
        sample.add(battles)
        read += len(battles)
        progress(read)
    return FileSurvey(Path(path), join(parts), sample.battles(), tuple(complaints), count)


class HashSample:
    """The `size` battles, of all that are added, whose ids have the smallest hashes: a reproducible sample."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._none: list[Battles] = []
        self._heap: list[tuple[int, int, Battles]] = []  # negative hashes, so that the largest hash is on top
        self._added = 0

    def add(self, battles: Battles) -> None:
        """Add battles; keep those among the smallest hashes so far."""
        for row, name in enumerate(battles.id.tolist()):
            ranked = -_hash64(name)
            if len(self._heap) < self.size or ranked > self._heap[0][0]:
                heapq.heappush(self._heap, (ranked, self._added + row, battles.take(np.array([row]))))
            if len(self._heap) > self.size:
                heapq.heappop(self._heap)
        self._added += len(battles)
        self._none = [battles.take(slice(0))]

    def battles(self) -> Battles:
        """Return the sample, in the order in which its battles were added."""
        sample = [battle for _, _, battle in sorted(self._heap, key=lambda entry: entry[1])]
        return concatenate(sample or self._none)


def _hash64(*texts: str) -> int:
    """Return 64 bits of a hash of texts; among a million a collision has a chance of 1 in 37 million."""
    digest = hashlib.blake2b(digest_size=8)
    for i, text in enumerate(texts):
        digest.update(b"\xff" * bool(i) + text.encode("utf-8", "replace"))  # no text contains the byte 255
    return int.from_bytes(digest.digest(), "big")


def _length(turns: Turns) -> int:
    return sum(map(len, turns))


def _refuses(answer: Turns) -> bool:
    """Return whether the beginning of the last turn has a phrase of a refusal, as the feature `at_once` does."""
    beginning = next(reversed(answer), "")[:REFUSAL_CHARS].lower().replace("’", "'")
    return any(phrase in beginning for phrase in REFUSALS)


def _has_code(prompt: Turns, response_a: Turns, response_b: Turns) -> bool:
    fenced = any("```" in turn for turns in (response_a, response_b) for turn in turns)
    return fenced or mentions_code(ParsedText(prompt or ("",)))

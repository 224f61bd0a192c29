"""Experiment files say what takes how long on two cores, with the texts of arena; a probe measures it here."""

import time
from dataclasses import dataclass
from typing import Literal

from pairrank.data.battles import Battles, evenly_spaced
from pairrank.features.counting import count_features
from pairrank.features.groups import DEFAULT_GROUPS

Family = Literal["counted", "frozen", "fine-tuned"]
"""What an experiment spends its time on: counted features, a frozen encoder, or fine-tuning one."""

PROBED = 60
"""Largest number of battles whose features are counted."""
PRODUCTS, SIZE = 20, 512
"""Number and size of the matrices that are multiplied."""

COUNTED = 0.0028
"""Seconds to count the features of a battle of arena on one core of the reference machine (AMD EPYC, AVX2)."""
MULTIPLIED = 0.17
"""Seconds to multiply the matrices on its two cores."""
CHARACTERS = 3_000.0
"""Mean number of characters of prompt and answers in arena."""
SHORTEST, LONGEST = 0.2, 2.0
"""Bounds of the effect of the texts' length on encoders, whose windows cut long texts."""
LEAST = 0.3
"""Lower bound of the multiple for counted features: fitting takes as long for short texts as for long ones."""
GPU = {"frozen": 0.2, "fine-tuned": 0.05}
"""Share of the time of two cores that a GPU needs. Assumed, and replaced by what the first fold takes."""


@dataclass(frozen=True)
class Speed:
    """How long work takes here, as a multiple of the `seconds` of experiment files for as many battles."""

    counted: float
    frozen: float
    fine_tuned: float

    def of(self, family: Family) -> float:
        """Return the multiple for a family of experiments."""
        return {"counted": self.counted, "frozen": self.frozen, "fine-tuned": self.fine_tuned}[family]


def measure_speed(battles: Battles, with_encoders: bool) -> Speed:
    """Measure this machine on some of the battles, in a second or two; encoders need torch to be loaded."""
    counted = max(LEAST, _counting_seconds(battles) / COUNTED)
    if not with_encoders:
        return Speed(counted, counted, counted)
    encoding = _multiplying_seconds() / MULTIPLIED * _length(battles)
    if _has_gpu():
        return Speed(counted, encoding * GPU["frozen"], encoding * GPU["fine-tuned"])
    return Speed(counted, encoding, encoding)


def _counting_seconds(battles: Battles) -> float:
    """Return the seconds per battle of counting features, from battles spread over the whole table."""
    some = evenly_spaced(battles, PROBED)
    count_features(some.take(slice(1)), DEFAULT_GROUPS)  # the first battle also loads word lists
    begun = time.perf_counter()
    count_features(some.take(slice(1, None)) if len(some) > 1 else some, DEFAULT_GROUPS)
    return (time.perf_counter() - begun) / max(1, len(some) - 1)


def _multiplying_seconds() -> float:
    import torch

    matrix = torch.full((SIZE, SIZE), 0.5)
    matrix @ matrix  # starts the threads
    begun = time.perf_counter()
    for _ in range(PRODUCTS):
        matrix @ matrix
    return time.perf_counter() - begun


def _length(battles: Battles) -> float:
    """Return the effect of the length of the texts on the time of an encoder; 1 for those of arena."""
    texts = (battles.prompt, battles.response_a, battles.response_b)
    characters = sum(len(turn) for column in texts for turns in column for turn in turns)
    return min(LONGEST, max(SHORTEST, characters / len(battles) / CHARACTERS))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()

"""What fits the time is planned in a fixed order, and again after each fold, with what the folds have taken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from pairrank.api.automation.speed import Family

Preset = Literal["quick", "good", "best"]
"""quick: counted features; good: stacks and frozen encoders as well; best: fine-tuned encoders as well."""
Status = Literal["planned", "finished", "left out", "unavailable"]

ORDER: dict[str, tuple[Family, Preset]] = {
    "prior": ("counted", "quick"),
    "lengths": ("counted", "quick"),
    "structure": ("counted", "quick"),
    "kernel": ("counted", "quick"),
    "stack": ("counted", "good"),
    "frozen-static": ("frozen", "good"),
    "frozen": ("frozen", "good"),
    "siamese-distilled": ("fine-tuned", "best"),
    "siamese": ("fine-tuned", "best"),
}
"""The experiments in the order in which they are planned, each with its family and the first preset that has it."""

FIRST_SHARE: dict[Family, float] = {"counted": 0.35, "frozen": 0.85, "fine-tuned": 0.2}
"""Share of the first of five folds in the time of all: it counts features, or encodes texts, for the others too."""
FIXED: dict[Family, float] = {"counted": 0.3, "frozen": 1.5, "fine-tuned": 5.0}
"""Seconds of a fold that do not depend on the number of battles, at the speed of the reference machine."""
INERTIA = 5.0
"""Seconds that are taken to be as expected before any fold is measured, so that one short fold changes little."""
SURE = 1.15
"""Expected seconds are multiplied by this before they are compared with the time that is left."""


def names_of(preset: Preset) -> list[str]:
    """Return the experiments of a preset in their order."""
    presets = get_args(Preset)
    return [name for name, (_, first) in ORDER.items() if presets.index(first) <= presets.index(preset)]


@dataclass(frozen=True)
class Candidate:
    """An experiment that may be run."""

    name: str
    family: Family
    seconds: float
    """Expected seconds of all folds on this machine."""
    folds: int = 5
    done: int = 0
    """Number of folds that are finished."""
    unavailable: str = ""
    """Why it cannot be run; "" if it can."""

    @property
    def missing(self) -> int:
        """Number of folds that are not finished."""
        return self.folds - self.done


@dataclass(frozen=True)
class Decision:
    """Whether an experiment is run, and why."""

    candidate: Candidate
    status: Status
    seconds: float
    """Expected seconds of the missing folds."""
    why: str

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.candidate.name


@dataclass
class Costs:
    """Expected seconds of folds, corrected by those that were measured."""

    expected: dict[Family, float] = field(default_factory=dict)
    """Sum of the seconds that were expected of the measured folds, by family."""
    measured: dict[Family, float] = field(default_factory=dict)
    """Sum of the seconds that they took."""
    later: dict[str, list[float]] = field(default_factory=dict)
    """Measured seconds of each fold after the first, by experiment."""

    def remaining(self, candidate: Candidate) -> float:
        """Return the expected seconds of the missing folds."""
        return sum(self.of_fold(candidate, position) for position in range(candidate.done, candidate.folds))

    def of_fold(self, candidate: Candidate, position: int) -> float:
        """Return the expected seconds of one fold; `position` counts the folds of this experiment from 0."""
        if position and (known := self.later.get(candidate.name)):
            return sum(known) / len(known)
        family = candidate.family
        ratio = (self.measured.get(family, 0.0) + INERTIA) / (self.expected.get(family, 0.0) + INERTIA)
        return ratio * _expected(candidate, position)

    def observe(self, candidate: Candidate, position: int, seconds: float) -> None:
        """Take account of the seconds that a fold has taken."""
        family = candidate.family
        self.expected[family] = self.expected.get(family, 0.0) + _expected(candidate, position)
        self.measured[family] = self.measured.get(family, 0.0) + seconds
        if position:
            self.later.setdefault(candidate.name, []).append(seconds)


def _expected(candidate: Candidate, position: int) -> float:
    """Return the seconds of a fold by the estimate alone."""
    first = FIRST_SHARE[candidate.family]
    return candidate.seconds * (first if not position else (1 - first) / max(1, candidate.folds - 1))


def decide(candidates: Sequence[Candidate], costs: Costs, available: float) -> tuple[Decision, ...]:
    """Return a decision about each candidate, in their order.

    A candidate is planned if it fits what the planned ones before it leave of the `available` seconds. One that
    does not fit is left out, and those after it may still fit. Finished ones cost nothing.
    """
    decisions = []
    left = available
    for candidate in candidates:
        seconds = costs.remaining(candidate)
        if candidate.unavailable:
            decisions.append(Decision(candidate, "unavailable", seconds, candidate.unavailable))
        elif not candidate.missing:
            decisions.append(Decision(candidate, "finished", 0.0, "finished earlier, used again"))
        elif SURE * seconds > left:
            decisions.append(Decision(candidate, "left out", seconds, f"only {max(0.0, left):.0f} s are left"))
        else:
            left -= SURE * seconds
            decisions.append(Decision(candidate, "planned", seconds, _why_in(candidate)))
    return tuple(decisions)


def _why_in(candidate: Candidate) -> str:
    return f"fits; {candidate.done} of {candidate.folds} folds are finished" if candidate.done else "fits"

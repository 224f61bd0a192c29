"""The number of training battles at which one experiment overtakes another, measured or extrapolated."""

from dataclasses import dataclass, replace

import numpy as np

from pairrank.data.probabilities import FloatArray
from pairrank.evaluation.power_law import PowerLaws, fit_power_laws

FEWEST_SIZES = 4
"""Sizes below which a law of three parameters is not fitted."""

LARGEST_MISS = 0.5
"""Largest error of a law at the largest size, as a share of the fall that it expects from the next doubling."""
NEGLIGIBLE = 0.002
"""Error of a law in nats that is never too large."""

STEPS = 400
"""Sizes beyond the largest measured one at which two laws are compared, equally spaced in their logarithm."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """A curve and its bootstrap samples: d of them, at m sizes."""

    requested: tuple[int, ...]
    """The m requested sizes, 0 for the whole training part."""
    sizes: FloatArray
    """(m,) increasing numbers of training battles."""
    means: FloatArray
    """(m,) log losses."""
    draws: FloatArray
    """(d, m) log losses of the bootstrap samples."""
    laws: PowerLaws | None = None
    """1 + d laws: that of the means, and those of the samples; None if there are too few sizes, or if they miss."""
    doubt: str = "not determined: no law was fitted"
    """Why the laws say nothing about larger sizes; "" if they do."""

    def with_laws(self, lowest: FloatArray, target: int, room: float) -> "Sampled":
        """Return the curve with fitted laws, and why they say nothing about larger sizes, if that is so.

        There are none if they miss the loss at the largest size, or if there are fewer than `FEWEST_SIZES` sizes.
        They say nothing if their interval at `target` is wider than `room` nats. `lowest` are the (1 + d) lower
        bounds of the floor.
        """
        if len(self.sizes) < FEWEST_SIZES:
            return replace(self, doubt=f"not determined: {len(self.sizes)} sizes, and a law needs {FEWEST_SIZES}")
        laws = fit_power_laws(self.sizes, np.vstack([self.means, self.draws]), lowest)
        missed = self._miss(laws)
        if missed:
            side = "above" if missed > 0 else "below"
            doubt = (
                f"not determined: the fitted power law is {abs(missed):.3f} nats {side} the loss that was measured "
                f"at {self.sizes[-1]:,.0f} battles"
            )
            return replace(self, doubt=doubt)
        low, high = np.quantile(laws.at(target)[1:], [0.025, 0.975])
        doubt = f"not determined: the interval is wider than {room:.3f} nats" if high - low > room else ""
        return replace(self, laws=laws, doubt=doubt)

    def _miss(self, laws: PowerLaws) -> float:
        """Return the law of the means minus the loss at the largest size; 0 if that is small or may be chance."""
        last = float(self.sizes[-1])
        missed = laws.at(last) - np.append(self.means[-1], self.draws[:, -1])
        low, high = np.quantile(missed[1:], [0.025, 0.975])
        largest = max(NEGLIGIBLE, LARGEST_MISS * float((laws.at(last) - laws.at(2 * last))[0]))
        return 0.0 if low <= 0 <= high or abs(missed[0]) <= largest else float(missed[0])


@dataclass(frozen=True)
class Crossing:
    """Which of two experiments is better with many training battles, and from which number on."""

    better: str
    """The one with the lower log loss at the end: at the target if the laws are determined, else measured."""
    worse: str
    size: float | None
    """Number of training battles from which on it is better; None if it is better at every measured size."""
    is_extrapolated: bool
    """Whether the size is beyond the measured ones, so that it follows from the fitted laws alone."""
    confidence: float
    """Share of the bootstrap samples in which this one is better at the end."""
    end: float
    """The number of training battles at which `confidence` is counted."""


def find_crossing(one: tuple[str, Sampled], two: tuple[str, Sampled], target: int) -> Crossing:
    """Return where the first of two experiments overtakes the second, or the second the first.

    Within the sizes that both have, the last change of sign of the difference counts, interpolated linearly in the
    logarithm of the size. Beyond, up to `target`, it is the last one of the difference of the fitted laws, if both
    are determined.
    """
    (first, a), (second, b) = one, two
    shared = [size for size in a.requested if size in b.requested]
    here, there = ([each.requested.index(size) for size in shared] for each in (a, b))
    sizes = a.sizes[here]
    gaps, drawn = a.means[here] - b.means[there], a.draws[:, here] - b.draws[:, there]
    size, last, is_extrapolated = _last_change(np.log(sizes), gaps), gaps[-1], False
    end, at_end = float(sizes[-1]), drawn[:, -1]
    if a.laws is not None and b.laws is not None and not a.doubt and not b.doubt and target > end:
        beyond = np.geomspace(end, target, STEPS)
        law_gaps = np.array([(a.laws.at(each) - b.laws.at(each))[0] for each in beyond])
        # The laws begin where the measurement ends, so only a change between them counts.
        change = _last_change(np.log(beyond), law_gaps)
        end, at_end = float(target), (a.laws.at(target) - b.laws.at(target))[1:]
        if change is not None or np.sign(law_gaps[-1]) != np.sign(last):
            size, is_extrapolated = change if change is not None else float(sizes[-1]), True
        last = law_gaps[-1]
    better, worse = (first, second) if last < 0 else (second, first)
    confidence = float((at_end < 0).mean() if last < 0 else (at_end > 0).mean())
    return Crossing(better, worse, size, is_extrapolated, confidence, end)


def _last_change(logs: FloatArray, gaps: FloatArray) -> float | None:
    """Return the size at which the gap last changes sign, by linear interpolation in log size; None if never."""
    changes = np.flatnonzero(np.sign(gaps[1:]) * np.sign(gaps[:-1]) < 0)
    if not len(changes):
        return None
    i = int(changes[-1])
    share = gaps[i] / (gaps[i] - gaps[i + 1])
    return float(np.exp(logs[i] + share * (logs[i + 1] - logs[i])))

"""The number of training battles at which one experiment overtakes another, measured or extrapolated."""

from dataclasses import dataclass, replace

import numpy as np

from pairrank.data.probabilities import FloatArray
from pairrank.evaluation.power_law import PowerLaws, fit_power_laws

FEWEST_SIZES = 4
"""Sizes below which a law of three parameters is not fitted."""

LARGEST_MISS = 1 / 3
"""Largest error of a law at the largest size, as a share of how far the law says that the loss will still fall."""

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
    """1 + d laws: that of the means, and those of the samples; None if there are too few sizes."""
    doubt: str = "not determined: no law was fitted"
    """Why the laws say nothing about larger sizes; "" if they do."""

    def with_laws(self, lowest: FloatArray, target: int, room: float) -> "Sampled":
        """Return the curve with fitted laws, in doubt if their interval at `target` is wider than `room` nats.

        They are in doubt as well if the losses do not follow a power law, as those of an encoder that begins to
        read at some size. `lowest` are the (1 + d) lower bounds of the floor. With fewer than `FEWEST_SIZES` sizes,
        none is fitted.
        """
        if len(self.sizes) < FEWEST_SIZES:
            return replace(self, doubt=f"not determined: {len(self.sizes)} sizes, and a law needs {FEWEST_SIZES}")
        laws = fit_power_laws(self.sizes, np.vstack([self.means, self.draws]), lowest)
        low, high = np.quantile(laws.at(target)[1:], [0.025, 0.975])
        too_wide = f"not determined: the interval is wider than {room:.3f} nats" if high - low > room else ""
        return replace(self, laws=laws, doubt=too_wide or self._misfit(laws, target))

    def _misfit(self, laws: PowerLaws, target: int) -> str:
        """Return a sentence if the law of the means is wrong at the largest size; "" if it is not, or by chance."""
        last = float(self.sizes[-1])
        missed = laws.at(last) - np.append(self.means[-1], self.draws[:, -1])
        low, high = np.quantile(missed[1:], [0.025, 0.975])
        fall = float((laws.at(last) - laws.at(target))[0])
        if low <= 0 <= high or abs(missed[0]) <= LARGEST_MISS * fall:
            return ""
        return (
            f"not determined: the losses do not follow a power law, which is off by {missed[0]:+.3f} at "
            f"{last:,.0f} battles"
        )


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

"""Bootstrap samples that all rows of a table share, so that their intervals and ranks agree with each other."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from pairrank.data.probabilities import FloatArray
from pairrank.evaluation.intervals import Difference, bootstrap_means
from pairrank.evaluation.ranks import Order, order_rows

OWN = ""
"""Key of the losses of a row, where the differences have the label of a reference."""


class SharedSamples:
    """The losses of all rows and their differences to the references, averaged over the same samples of prompts."""

    def __init__(self, losses: Mapping[str, FloatArray], references: Sequence[str], prompts: Sequence[str]) -> None:
        """Draw the samples.

        `losses` maps labels to (n,) losses, NaN for battles without a prediction; `references` are labels, and
        `prompts` the n keys of which whole groups are drawn.
        """
        self.losses = losses
        self._references = tuple(dict.fromkeys(references))
        columns = {(label, OWN): values for label, values in losses.items()}
        # A difference is NaN outside of the battles that both have predicted.
        columns |= {
            (label, name): values - losses[name]
            for label, values in losses.items()
            for name in self._references
            if label != name and not np.isnan(values - losses[name]).all()
        }
        self._column = {key: number for number, key in enumerate(columns)}
        self._table = np.column_stack([*columns.values()]) if columns else np.empty((len(prompts), 0))
        self._drawn = bootstrap_means(self._table, prompts)

    def standard_error(self, label: str) -> float:
        """Return the standard error of the log loss of a row."""
        return float(np.nanstd(self._drawn[:, self._column[label, OWN]], ddof=1))

    def differences(self, label: str) -> dict[str, Difference | None]:
        """Return reference -> difference on common battles; None if there are none, and for the row itself."""
        return {name: self._difference(label, name) for name in self._references}

    def order(self, labels: Sequence[str]) -> Order:
        """Return the order of the rows that can be ranked, which keep the order of `labels`."""
        ranked = comparable_rows({label: self.losses[label] for label in labels})
        if not ranked:
            return Order({}, None, ())
        covered = ~np.isnan(self.losses[ranked[0]])
        means = np.array([self.losses[label][covered].mean() for label in ranked])
        drawn = self._drawn[:, [self._column[label, OWN] for label in ranked]]
        # A sample may have none of the battles of rows that cover few.
        return order_rows(ranked, means, drawn[~np.isnan(drawn[:, 0])], int(covered.sum()))

    def _difference(self, label: str, reference: str) -> Difference | None:
        """Return the paired difference with the 95 % interval of the percentile bootstrap."""
        column = self._column.get((label, reference))
        if column is None:
            return None
        drawn = self._drawn[:, column]
        low, high = np.quantile(drawn[~np.isnan(drawn)], [0.025, 0.975])
        return Difference(float(np.nanmean(self._table[:, column])), float(low), float(high))


def comparable_rows(losses: Mapping[str, FloatArray]) -> list[str]:
    """Return the labels of rows that cover all battles or, without any, the same battles as most others."""
    covered = {label: np.packbits(~np.isnan(values)).tobytes() for label, values in losses.items()}
    counts = Counter(covered.values())
    whole = [label for label, values in losses.items() if not np.isnan(values).any()]
    return whole or [label for label in covered if covered[label] == counts.most_common(1)[0][0]]

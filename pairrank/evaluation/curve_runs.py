"""The runs of a learning curve: one experiment, trained on subsets of several sizes and on all battles."""

import re
from collections.abc import Sequence

import numpy as np

from pairrank.data.folds import fold_of
from pairrank.data.subsets import training_subset
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.run_record import RunRecord


def curve_label(entry: Entry) -> str:
    """Return the label of a run without the parts that say on how many battles it was trained."""
    return re.sub(r"\+train_(size|sample)=\d+", "", entry.label)


def is_on_subset(entry: Entry) -> bool:
    """Return whether an entry is a run whose folds were trained on subsets of their training battles."""
    return entry.record is not None and entry.record.training_part[0] > 0


def runs_by_size(entries: Sequence[Entry]) -> dict[str, dict[int, list[Entry]]]:
    """Return the runs of each experiment with a curve by requested size, the whole training part (0) last."""
    found: dict[str, dict[int, list[Entry]]] = {}
    for entry in entries:
        if entry.record is not None and len(entry.predictions):
            found.setdefault(curve_label(entry), {}).setdefault(entry.record.training_part[0], []).append(entry)
    return {
        label: {size: sizes[size] for size in sorted(sizes, key=lambda size: size or np.inf)}
        for label, sizes in found.items()
        if len(sizes) > 1
    }


def training_sizes(keys: Sequence[str], records: Sequence[RunRecord]) -> dict[str, float]:
    """Return the mean number of training battles over the folds of each run, by its label."""
    known: dict[tuple[object, ...], float] = {}
    sizes: dict[str, float] = {}
    for record in records:
        split = record.split
        count, salt, limit = split["folds"], str(split.get("salt", "")), split.get("limit") or None
        place = (count, salt, limit, record.training_part, record.folds)
        if place not in known:
            some = keys[:limit]
            fold_index = np.array([fold_of(key, count, salt) for key in some])
            subsets = [training_subset(some, fold_index == fold, *record.training_part) for fold in record.folds]
            known[place] = float(np.mean([subset.sum() for subset in subsets]))
        sizes[record.label] = known[place]
    return sizes

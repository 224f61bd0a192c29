"""Measure what one experiment adds to another in a geometric mean, on the battles that all of them have predicted.

    python benchmarks/blend.py structure siamese --data FOLDER [--published benchmarks]

Reads published out-of-fold predictions. The weights are equal; none is fitted, so the score is not optimistic.
"""

import argparse
from pathlib import Path

import numpy as np

from pairrank.data.folder import find_data
from pairrank.data.folds import prompt_keys
from pairrank.data.predictions import geometric_mean, read_predictions
from pairrank.evaluation.intervals import paired_difference
from pairrank.evaluation.scoring import battle_losses


def main() -> None:
    """Print the log loss of each experiment and of their mean, and the mean's paired difference to each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="published experiments")
    parser.add_argument("--data", type=Path, help="folder with train.csv; default: ./Dataset, else the sample")
    parser.add_argument("--published", type=Path, default=Path("benchmarks"))
    options = parser.parse_args()

    source = find_data(options.data)
    files = [options.published / "predictions" / source.name / f"{name}.csv" for name in options.names]
    predictions = [read_predictions(file) for file in files]
    common = set.intersection(*(set(each.id.tolist()) for each in predictions))
    battles = source.train.take(np.isin(source.train.id, list(common)))
    aligned = [each.align(battles.id) for each in predictions]
    keys = prompt_keys(battles)
    losses = [battle_losses(each.proba, battles.labels) for each in (*aligned, geometric_mean(aligned))]
    print(f"{len(battles):,} battles")
    for name, loss in zip([*options.names, "their geometric mean"], losses, strict=True):
        print(f"{name:28}{loss.mean():.4f}")
    for name, loss in zip(options.names, losses[:-1], strict=True):
        gap = paired_difference(losses[-1], loss, keys)
        print(f"the mean to {name:16}{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]")


if __name__ == "__main__":
    main()

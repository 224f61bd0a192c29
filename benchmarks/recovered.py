"""Measure how much models' names improve a stack, and what share of that names guessed from the answers recover.

    python benchmarks/recovered.py --data FOLDER [--published benchmarks]

Reads three published out-of-fold predictions of one stack: without identity, with guessed names and with true
names. A gain is a paired difference of log losses. The share is the ratio of two gains, with an interval over
the same bootstrap draws of prompts. It is undefined unless the interval of the gain of true names lies above 0.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.folder import find_data
from pairrank.data.folds import prompt_keys
from pairrank.data.predictions import read_predictions
from pairrank.evaluation.intervals import bootstrap_means
from pairrank.evaluation.scoring import battle_losses
from pairrank.features.ratings import has_both_names

FEWEST = 15
"""Smallest number of answers of a model that is listed by its gain."""


def main() -> None:
    """Print gains and share, for all battles and for those with and without names, then the gains by model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train.csv; default: ./Dataset, else the sample")
    parser.add_argument("--published", type=Path, default=Path("benchmarks"))
    for kind, name in (("none", "stack+identity=none"), ("guessed", "stack"), ("true", "stack-identity")):
        parser.add_argument(f"--{kind}", default=name, help=f"published name of the stack; default {name}")
    options = parser.parse_args()

    source = find_data(options.data)
    battles = source.train
    folder = options.published / "predictions" / source.name
    losses = {
        kind: battle_losses(read_predictions(folder / f"{name}.csv").align(battles.id).proba, battles.labels)
        for kind, name in vars(options).items()
        if kind in ("none", "guessed", "true")
    }
    gains = {kind: losses["none"] - losses[kind] for kind in ("true", "guessed")}
    known = has_both_names(battles)
    for title, rows in (("all", np.ones(len(battles), bool)), ("named", known), ("without names", ~known)):
        show(title, battles.take(rows), {kind: gain[rows] for kind, gain in gains.items()})
    by_model(battles.take(known), gains["guessed"][known], gains["true"][known])


def show(title: str, battles: Battles, gains: dict[str, np.ndarray]) -> None:
    """Print the gains with their intervals, and the share that guessed names recover."""
    if not len(battles):
        return
    keys = prompt_keys(battles)
    draws = {kind: bootstrap_means(gain, keys) for kind, gain in gains.items()}
    print(f"{title}: {len(battles):,} battles")
    for kind, gain in gains.items():
        low, high = np.quantile(draws[kind], [0.025, 0.975])
        print(f"  {kind + ' names are worth':28}{gain.mean():+.4f} [{low:+.4f}, {high:+.4f}]")
    low, high = np.quantile(draws["true"], [0.025, 0.975])
    if low <= 0:
        print("  share recovered by guessing  undefined: the gain of true names is not clearly above 0")
        return
    share_low, share_high = np.quantile(draws["guessed"] / draws["true"], [0.025, 0.975])
    share = gains["guessed"].mean() / gains["true"].mean()
    print(f"  share recovered by guessing  {share:+.0%} [{share_low:+.0%}, {share_high:+.0%}]")


def by_model(battles: Battles, guessed: np.ndarray, true: np.ndarray) -> None:
    """Print the mean gains in the battles of the models that guessing helps least and most."""
    rows_of = defaultdict(list)
    for row, models in enumerate(zip(battles.model_a, battles.model_b, strict=True)):
        for model in models:
            rows_of[model].append(row)
    table = sorted((guessed[rows].mean(), true[rows].mean(), len(rows), model) for model, rows in rows_of.items())
    table = [line for line in table if line[2] >= FEWEST]
    print(f"models with {FEWEST} answers or more, by the gain of guessed names (guessed, true, answers)")
    for gain, worth, count, model in [*table[:6], *table[-6:]]:
        print(f"  {model:32}{gain:+.4f}  {worth:+.4f}  {count:4}")


if __name__ == "__main__":
    main()

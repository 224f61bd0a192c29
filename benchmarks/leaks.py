"""Measure with real models what shuffled winners and planted leaks do to the score of the first fold.

    python benchmarks/leaks.py --data my-battles --out benchmarks/results/leaks.json

Where the winners are shuffled, the texts say nothing about them, so no experiment can beat the prior except by
chance. A leak is planted by replacing a function of pairrank in this process, on the real winners. How much
better than the honest run it makes an experiment says whether the leak would be noticed. The texts of the
training battles are the test file as well, without winners, for experiments that learn from its texts.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles, object_array
from pairrank.data.extra import Extra, ExtraUsage, PseudoLabels, add_extra
from pairrank.data.folder import DataFolder, find_data
from pairrank.data.folds import prompt_keys
from pairrank.data.predictions import read_predictions
from pairrank.data.writing import write_battles
from pairrank.evaluation.intervals import paired_difference
from pairrank.evaluation.scoring import battle_losses
from pairrank.runs import cross_validation, training_rows
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment import Experiment
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.provenance import commit
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run, moved

FOLD = 0
SHUFFLED = ("structure", "siamese", "siamese-features", "siamese-taught", "siamese-pseudo")


def main() -> None:
    """Train, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="battles; default: ./Dataset, else the sample")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change all siamese models")
    parser.add_argument("--seed", type=int, default=0, help="of the shuffled winners")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args()
    source = find_data(given.data)
    battles, rows = source.train, []
    if battles.group is not None:
        raise SystemExit(f"{source.name}: battles with groups (sessions) are not supported.")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shuffled = np.random.default_rng(given.seed).permutation(battles.labels)
        data = _write(battles, shuffled, home / "shuffled")
        prior = _losses(load_experiment("prior"), data, home / "runs")
        for name in SHUFFLED:
            each = load_experiment(name, given.set if name.startswith("siamese") else ())
            rows.append(_row(each, "shuffled winners, to prior", data, _losses(each, data, home / "runs"), prior))
        data = _write(battles, battles.labels, home / "real")
        for name, plant in PLANTED:
            each = load_experiment(name, given.set)
            honest = _losses(each, data, home / "honest")
            with plant():
                planted = _losses(each, data, home / plant.__name__)
            rows.append(_row(each, f"{plant.__name__.replace('_', ' ')}, to honest", data, planted, honest))
    if given.out:
        about = {"data": source.name, "fold": FOLD, "seed": given.seed, "set": given.set, "commit": commit()}
        given.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


def _write(battles: Battles, winners: npt.NDArray[np.int64], folder: Path) -> DataFolder:
    """Write the battles with these winners, and their texts as the test file."""
    folder.mkdir()
    texts = (battles.prompt, battles.response_a, battles.response_b)
    write_battles(Battles(battles.id, *texts, battles.model_a, battles.model_b, winners), folder / "train.csv")
    write_battles(Battles(object_array([f"text-{each}" for each in battles.id]), *texts), folder / "test.csv")
    return DataFolder(folder)


def _losses(experiment: Experiment, data: DataFolder, home: Path) -> npt.NDArray[np.float64]:
    """Return the losses of one experiment on the scored battles, in their order."""
    run = resolve_run(experiment, data, home)
    cross_validate(run, [FOLD])
    scored = run.battles.take(run.fold_index == FOLD)
    return battle_losses(read_predictions(run.folder / "oof.csv").align(scored.id).proba, scored.labels)


def _row(
    experiment: Experiment,
    what: str,
    data: DataFolder,
    losses: npt.NDArray[np.float64],
    reference: npt.NDArray[np.float64],
) -> dict[str, Any]:
    """Return and print the log loss of one experiment and its paired difference to a reference."""
    fold = resolve_run(experiment, data, Path()).fold_index
    gap = paired_difference(losses, reference, prompt_keys(data.train.take(fold == FOLD)))
    print(f"{experiment.label:32} {what:48} {losses.mean():.4f}  {gap}", flush=True)
    found = {"mean": gap.mean, "low": gap.low, "high": gap.high}
    return {
        "experiment": experiment.label,
        "what": what,
        "battles": len(losses),
        "log_loss": float(losses.mean()),
        **found,
    }


# --- Planted leaks


@contextmanager
def scored_battles_in_training() -> Iterator[None]:
    """Plant: the model learns from all battles."""
    with patch.object(cross_validation, "training_battles", lambda run, fold: (run.train, [])):
        yield


@contextmanager
def scored_texts_with_leaky_labels() -> Iterator[None]:
    """Plant: the texts of the scored battles are learned, with labels of teachers that have seen their winners."""
    with (
        patch.object(cross_validation, "inner_run", leaky_inner_run),
        patch.object(training_rows, "add_extra", add_everything),
    ):
        yield


PLANTED = (
    ("siamese", scored_battles_in_training),
    ("siamese-pseudo", scored_texts_with_leaky_labels),
)


def leaky_inner_run(run: Run, fold: int, template: Run) -> Run:
    """Return `template` on all battles, those of the scored fold included, in place of `inner_run`."""
    return moved(template, run.data, run.folder / "inner" / f"fold{fold}", f"{run.title}, fold {fold}")


def add_everything(
    train: Battles,
    extra: Sequence[Extra],
    _test: AbstractSet[str],
    _scored: AbstractSet[str],
    pseudo: PseudoLabels | None = None,
) -> tuple[Battles, list[ExtraUsage]]:
    """Add all extra battles, those with prompts of the scored fold included, in place of `add_extra`."""
    return add_extra(train, extra, frozenset(), frozenset(), pseudo)


if __name__ == "__main__":
    main()

"""Measure how much time pruning saves: the trials per minute of the same search, same seed, with and without it.

python benchmarks/pruning.py --data ../shared/data/arena --experiment structure --trials 60
"""

import argparse
import tempfile
import time
from pathlib import Path

from pairrank.data.folder import find_data
from pairrank.memo import memo_scope
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run
from pairrank.tuning.search import Search, best_trial, own_trial
from pairrank.tuning.storage import finished
from pairrank.tuning.worker import work


def main() -> None:
    """Search without pruning, then with the pruner, and print one line for each and the ratio of their rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train.csv; default: ./Dataset, else the sample")
    parser.add_argument("--experiment", default="structure", help="an experiment with a table [search]")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pruner", choices=["median", "hyperband"], default="median")
    asked = parser.parse_args()
    source = find_data(asked.data)
    with tempfile.TemporaryDirectory() as folder, memo_scope():
        run = resolve_run(load_experiment(asked.experiment), source, Path(folder))
        # Features are computed once per process: one trial first, so that neither search pays for the other.
        work(_search(run, Path(folder) / "warm", 1, asked.seed, "none"), None)
        print(f"{asked.experiment} on {source.name}: {asked.trials} trials, seed {asked.seed}")
        rates = {}
        for pruner in ("none", asked.pruner):
            begun = time.perf_counter()
            study = work(_search(run, Path(folder) / pruner, asked.trials, asked.seed, pruner), None)
            seconds = time.perf_counter() - begun
            rates[pruner] = 60 * len(finished(study)) / seconds
            pruned = sum(trial.state.name == "PRUNED" for trial in finished(study))
            best, own = best_trial(study), own_trial(study)
            print(
                f"{pruner:10}{rates[pruner]:7.1f} trials a minute ({seconds:.0f} s), {pruned} pruned; "
                f"best {best.value:.4f} (trial {best.number}), own setting {own.value:.4f}"
            )
        print(f"ratio {rates[asked.pruner] / rates['none']:.2f}")


def _search(run, home, trials, seed, pruner):
    *folds, untouched = range(run.experiment.folds)
    return Search(run, untouched, tuple(folds), home, trials=trials, pruner=pruner, seed=seed)


if __name__ == "__main__":
    main()

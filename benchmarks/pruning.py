"""Does pruning save time? The same search twice in one run, same seed: trials a minute with and without it.

python benchmarks/pruning.py --data ../shared/data/arena --experiment structure --trials 60
"""

import argparse
import tempfile
import time
from pathlib import Path

from pairrank.data.folder import find_data
from pairrank.memo import memo_scope
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.run import resolve_run
from pairrank.tuning.search import Search, best_trial, own_trial
from pairrank.tuning.storage import finished
from pairrank.tuning.worker import work


def main() -> None:
    """Search with each pruner in turn, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="Folder with train.csv. Default: the sample.")
    parser.add_argument("--experiment", default="structure", help="One with a table [search].")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pruner", choices=["median", "hyperband"], default="median")
    asked = parser.parse_args()
    source = find_data(asked.data)
    with tempfile.TemporaryDirectory() as folder, memo_scope():
        run = resolve_run(load_experiment(asked.experiment), source, Path(folder))
        # What is measured of a battle is measured once a process: neither search is to pay for the other.
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

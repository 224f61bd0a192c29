"""`merge` writes the models of a run without adapters, and shows how much their predictions change."""

from collections.abc import Sequence
from pathlib import Path

from pairrank.api.entries import run_folder
from pairrank.api.sources import find_source, home_of
from pairrank.cli.console import say
from pairrank.errors import UserError
from pairrank.evaluation.entries import is_run_on
from pairrank.evaluation.run_record import read_run_record
from pairrank.runs.adapters import merge_fold
from pairrank.runs.fold_models import refuse_stale
from pairrank.runs.folder import current_folds


def merge(name: str, data: Path | None, runs: Path | None, out: Path, folds: Sequence[int] | None) -> None:
    """Merge the adapters of these folds, by default of all, into one folder each.

    Raises UserError if the data are not those of the run, if a fold is not trained or has no adapter, and if a
    folder to be written exists.
    """
    source = find_source(data)
    folder = run_folder(name, home_of(runs, source))
    refuse_stale(folder)
    if not is_run_on(read_run_record(folder), source.train):
        raise UserError(f"{folder}: the run is on other battles than {source.path}. Name its data with --data.")
    trained = current_folds(folder)
    if missing := sorted({*(folds or ())} - trained.keys()):
        listed = ", ".join(map(str, trained))
        raise UserError(f"--fold {missing[0]}: this fold of {folder.name} is not trained. Trained: {listed}.")
    chosen = [f"fold{fold}" for fold in folds or sorted(trained)]
    if there := [out / fold for fold in chosen if (out / fold).exists()]:
        raise UserError(f"{there[0]}: it exists already. Choose another folder with --out, or remove it.")
    for fold in chosen:
        merged = merge_fold(folder / fold, out / fold, source.train)
        say(
            f"Written: {merged.folder}. The largest change of a probability on the fold's {merged.battles:,} "
            f"battles is {merged.largest_change:.2g}."
        )

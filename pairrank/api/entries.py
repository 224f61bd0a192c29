"""The runs that a function works on: those of a folder, published ones and added files, and the run of a name."""

import logging
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from pairrank.api.sources import Source
from pairrank.data.battles import WINNERS, object_array
from pairrank.data.cells import INEXACT, id_of, is_inexact
from pairrank.data.predictions import COLUMNS, ROUNDED, Predictions, read_predictions
from pairrank.errors import UserError, combined_error, excerpt, unknown_name
from pairrank.evaluation.curve_runs import is_on_subset
from pairrank.evaluation.entries import Entry, entered_in, entries_in, published_entries
from pairrank.evaluation.run_record import run_folders
from pairrank.evaluation.score_files import has_scores, read_scores
from pairrank.runs.experiment_files import experiment_files

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

NO_NAME = set('/\\:*?"<>|')
"""Characters that the name of a file cannot have on every system."""


def collect_entries(source: Source, home: Path, published: Path | None, add: Sequence[str]) -> list[Entry]:
    """Return the runs and entries in `home`, the published results of others, and the files of --add.

    Raises UserError if there are none, or if a file has the name of a run or an entry.
    """
    entries = (
        {entry.label: entry for entry in published_entries(published, source.name, source.train)}
        if published
        else {}
    )
    entries |= {entry.label: entry for entry in entries_in(home, source.train)}
    made = [label for label, entry in entries.items() if entry.record]
    entries |= {entry.label: entry for entry in entered_in(home, source.train, made)}
    for argument in add:
        entry = read_file(argument, source)
        # A file may replace one that was added and published before, but never a run or an entry.
        if entry.label in entries and entries[entry.label].is_known:
            kind = "a run" if entries[entry.label].record else "an entry"
            raise UserError(
                f"--add {argument}: {entry.label} is the name of {kind}. Use another name for the file."
            )
        entries[entry.label] = entry
    if not entries:
        raise UserError(
            f"nothing to compare: {home} contains no runs. Start with: run baseline, or add files with --add."
        )
    return list(entries.values())


def without_subsets(entries: Sequence[Entry], named: Collection[str] = ()) -> list[Entry]:
    """Return the entries without runs on subsets of their training battles, except those that are named.

    A learning curve consists of dozens of such runs, and none of them is a result that a leaderboard should rank.
    """
    kept = [entry for entry in entries if entry.label in named or not is_on_subset(entry)]
    if count := len(entries) - len(kept):
        logger.info(
            f"Left out of the leaderboard: {count} runs on subsets of the training battles. `curve` compares them."
        )
    return kept


def choose_references(names: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Return the rows that the others are compared with: the named ones, else the prior, else the first by name."""
    if not names and "prior" not in labels:
        logger.info(
            f"There is no run of prior here, so the reference is {min(labels)}. To choose: --reference NAME"
        )
        return [min(labels)]
    return [expand_label(name, labels) for name in names or ["prior"]]


def run_folder(name: str, home: Path) -> Path:
    """Return the folder of a run, by its full name or by the name of its experiment."""
    return home / find_label(name, list(run_folders(home)), home)


def find_label(name: str, there: Sequence[str], home: Path) -> str:
    """Return the full name of a run, from that name or its experiment's name; raises UserError if no run fits."""
    label = expand_label(name, there)
    if label not in there:
        near = get_close_matches(name, experiment_files(), n=1)
        remedy = f" To train it: pairrank run {near[0]}" if near else ""
        raise UserError(f"{unknown_name('run', name, there)} Looked in {home} for finished runs.{remedy}")
    return label


def expand_label(name: str, labels: Sequence[str]) -> str:
    """Return `baseline@minilm` for `baseline` if that is its only run; other names are returned unchanged."""
    runs = [label for label in labels if label.startswith(f"{name}@") and "+" not in label]
    return runs[0] if name not in labels and len(runs) == 1 else name


def read_file(argument: str, source: Source) -> Entry:
    """Return the entry that an argument NAME=FILE of --add describes: predictions, or scores of both answers."""
    name, equals, path = argument.partition("=")
    if not equals or not name or not path:
        raise UserError(f"--add {argument}: expected NAME=FILE.")
    if NO_NAME & set(name) or name.startswith(".") or not name.isprintable():
        raise UserError(f"--add {argument}: {name!r} cannot name a file. Expected letters, digits, spaces, - or _.")
    if not Path(path).is_file() or not has_scores(Path(path)):
        return Entry(name, read_predictions(path))
    fitted = read_scores(Path(path), source.train)
    logger.info(
        f"{name}: scores of single answers. A temperature ({fitted.temperature:.3g}) and a tie logit "
        f"({fitted.tie_logit:.2f}) were fitted to them out of fold."
    )
    return Entry(name, fitted.predictions)


def as_predictions(predictions: "Predictions | pd.DataFrame", place: str) -> Predictions:
    """Return valid predictions, given as such or as a DataFrame with the columns of a prediction file.

    Raises UserError with every complaint, beginning with `place`.
    """
    if isinstance(predictions, Predictions):
        return predictions.validate(place)
    names = getattr(predictions, "columns", None)
    if names is None:
        found = f"found {excerpt(predictions, 60)}, expected predictions or a DataFrame"
        raise UserError(f"{place}: {found} with the columns {', '.join(COLUMNS)}.")
    if missing := [f"missing column {name!r}" for name in COLUMNS if name not in names]:
        raise combined_error(place, missing, "Rename or add columns.")
    cells = [str(cell) for cell in predictions["id"].tolist()]
    if inexact := [f"id {cell}: {INEXACT}" for cell in cells if is_inexact(cell)]:
        raise combined_error(place, inexact, "Use texts or integers as ids.")
    proba = predictions[list(WINNERS)].to_numpy(dtype="float64")
    read = Predictions(object_array([id_of(cell) for cell in cells]), proba)
    return read.validate(place, ROUNDED).renormalised()

"""Predictions that were made elsewhere are entered for the leaderboard, as the command `enter` does it."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pairrank.api.entries import as_predictions
from pairrank.api.sources import DataLike, Source, find_source, home_of
from pairrank.data.predictions import Predictions
from pairrank.errors import UserError, combined_error
from pairrank.evaluation.entered_files import read_entered_file
from pairrank.evaluation.entries import Entry, publish_manifest
from pairrank.evaluation.manifest import (
    EnteredData,
    FittedNumbers,
    Manifest,
    SourceFile,
    StoredPredictions,
    entered_folders,
    field_complaints,
    id_complaints,
    write_entered,
)
from pairrank.evaluation.run_record import ENTERED, is_folder_name, run_folders
from pairrank.files import sha256_of
from pairrank.runs.experiment_files import experiment_files
from pairrank.runs.former import former_runs

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


def enter(
    file: "str | Path | Predictions | pd.DataFrame",
    name: str,
    about: str,
    data: DataLike = None,
    *,
    by: str = "",
    url: str = "",
    trained_on: str | None = None,
    partial: bool = False,
    runs: str | Path | None = None,
    publish_to: str | Path | None = None,
) -> Entry:
    """Store predictions that were made elsewhere, with a manifest, as an entry beside the runs, and return it.

    It is the command `enter`. `compare` and `report` show the entry from then on.

    - `file`: out-of-fold predictions (id and three probabilities) or the scores of both answers (id, score_a,
      score_b), which become probabilities by a temperature and a tie logit that are fitted out of fold. In memory,
      predictions or a DataFrame of them.
    - `name`: the name of its row. `about`: what made the predictions.
    - `data`: as in `cross_validate`: the battles that were predicted.
    - `by`, `url`: who made the predictions, and the address of a page about them.
    - `trained_on`: the training data of the predictor. None declares nothing, and the row says so.
    - `partial`: allow battles without a prediction.
    - `runs`: the folder of the runs. `publish_to`: the folder of --publish, which gets the entry as well.

    Raises UserError with all complaints about the arguments, then with all about the file; nothing is stored then.
    """
    source = find_source(data)
    home = home_of(runs, source)
    target = None if publish_to is None else Path(publish_to)
    fields = {"name": name, "about": about, "by": by, "url": url, "trained_on": trained_on}
    complaints = field_complaints(fields) or _name_complaints(name, source, home, target)
    if complaints:
        raise combined_error("enter", complaints, "Nothing was stored. Change these arguments.")
    given = _read(file, source, partial)
    draft = Manifest(
        name=name,
        about=about,
        by=by,
        url=url,
        trained_on=trained_on,
        entered=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        form="scores" if given.fitted else "probabilities",
        source=given.file,
        fitted=given.fitted,
        predictions=StoredPredictions(len(given.predictions), ""),
        data=EnteredData(source.name, len(source.train), source.train.content_hash()),
    )
    manifest = write_entered(home / ENTERED, draft, given.predictions)
    logger.info(f"Entered: {home / ENTERED / name} ({len(given.predictions):,} battles). To see its row: compare")
    entry = Entry(name, given.predictions, manifest=manifest)
    if target is not None:
        publish_manifest(target, source.name, entry)
        logger.info(f"Written: {target / ENTERED / source.name / name}")
    return entry


def _name_complaints(name: str, source: Source, home: Path, published: Path | None) -> list[str]:
    """Return complaints about a name that a run, experiment or entry has, or that no folder can have."""
    if not is_folder_name(name) or not name.isprintable() or name != name.strip():
        return [f"name: {name!r} cannot be the name of a folder"]
    if name in {known for label in run_folders(home) for known in (label, label.partition("@")[0])}:
        return [f"name: {name!r} is the name of a run in {home}"]
    if name in former_runs(home):
        return [f"name: {name!r} is the name of a former result in {home}"]
    if name in experiment_files():
        return [f"name: {name!r} is the name of an experiment, and so of its runs"]
    places = [home / ENTERED] + ([] if published is None else [published / ENTERED / source.name])
    taken = [
        f"name: {name!r} is the name of an entry in {place}" for place in places if name in entered_folders(place)
    ]
    if published and (published / "predictions" / source.name / f"{name}.csv").is_file():
        taken.append(f"name: {name!r} is the name of published predictions in {published}")
    return [f"{complaint}; to remove an entry: rm" for complaint in taken]


class _Given(NamedTuple):
    """Predictions, the file that they come from, and what was fitted to scores."""

    predictions: Predictions
    file: SourceFile | None = None
    fitted: FittedNumbers | None = None


def _read(file: "str | Path | Predictions | pd.DataFrame", source: Source, partial: bool) -> _Given:
    """Return the predictions in a file or in memory; raises UserError with all complaints about them."""
    if not isinstance(file, str | Path):
        predictions = as_predictions(file, "the predictions")
        if complaints := id_complaints(predictions, source.train, partial):
            raise combined_error("the predictions", complaints, "Nothing was stored.")
        return _Given(predictions)
    path = Path(file)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, or no regular file. Expected predictions or scores. Check the path."
        )
    predictions, fitted = read_entered_file(path, source.train, partial)
    numbers = None if fitted is None else FittedNumbers(fitted.temperature, fitted.tie_logit)
    return _Given(predictions, SourceFile(path.name, sha256_of(path)), numbers)

"""The leaderboard's predictions and scores are exported for other programs, as the command `export` does it."""

import json
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, get_args

from pairrank.api.cross_validation import OUTCOMES
from pairrank.api.entries import collect_entries, find_label, without_subsets
from pairrank.api.sources import DataLike, Source, files_of, find_source, home_of
from pairrank.atomic import atomic_path
from pairrank.data.folds import assign_folds
from pairrank.errors import UserError, excerpt
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.every_eval_ever import UNKNOWN, developer_of, identifier, record_of
from pairrank.evaluation.leaderboard import build_leaderboard, without_tuning_folds
from pairrank.evaluation.run_record import is_folder_name
from pairrank.files import write_json

ExportForm = Literal["jsonl", "every-eval-ever"]

FOLDS = 5
"""Folds of the split without a salt, in which the battles are numbered."""


def export(
    out: str | Path,
    names: Sequence[str] = (),
    data: DataLike = None,
    *,
    form: ExportForm = "jsonl",
    runs: str | Path | None = None,
    add: Sequence[str] = (),
    published: str | Path | None = None,
    organization: str = UNKNOWN,
) -> list[Path]:
    """Write the predictions or the scores of runs and entries for other programs; return the files.

    It is the command `export`.

    - `out`: a file for "jsonl", with one JSON object per battle: `id`, `fold`, `outcome` ("A", "B" or "tie") and
      `predictions`, which has the three probabilities of each row, or null where a row has none. A folder for
      "every-eval-ever": one JSON file per row, OUT/DATA/MAKER/ROW/UUID.json.
    - `names`: the rows to export; () for all. `data`: as in `cross_validate`. `runs`: the folder of the runs.
    - `add`, `published`: as in `report`.
    - `organization`: who has made the evaluation, for "every-eval-ever".

    Raises UserError for an unknown name or form, and for an output that is a folder or a file that is read.
    """
    if form not in get_args(ExportForm):
        raise UserError(f"form: found {excerpt(form)}, expected {' or '.join(get_args(ExportForm))}.")
    source = find_source(data)
    home = home_of(runs, source)
    _refuse(Path(out), source, form)
    found = collect_entries(source, home, None if published is None else Path(published), add)
    entries = {entry.label: entry for entry in without_subsets(found, names)}
    chosen = {find_label(name, list(entries), home) for name in names} or set(entries)
    rows = [entry for label, entry in entries.items() if label in chosen]
    if form == "jsonl":
        return [_write_lines(Path(out), source, rows)]
    return _write_records(Path(out), source, rows, organization)


def _refuse(out: Path, source: Source, form: ExportForm) -> None:
    if form == "jsonl" and out.is_dir():
        raise UserError(f"{out}: this is a folder. Expected the path of a file to write.")
    if form != "jsonl" and out.exists() and not out.is_dir():
        raise UserError(f"{out}: this is a file. Expected a folder for one file per row.")
    if out.resolve() in [file.resolve() for file in files_of(source)]:
        raise UserError(f"{out}: the battles are read from this file. Use another one.")


def _write_lines(out: Path, source: Source, entries: Sequence[Entry]) -> Path:
    """Write one JSON object per battle."""
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{json.dumps(each, ensure_ascii=False)}\n" for each in lines_of(source, entries))
    return out


def lines_of(source: Source, entries: Sequence[Entry]) -> Iterator[dict[str, object]]:
    """Yield what the file of form "jsonl" has for each battle, without predictions for folds used in a search."""
    battles = source.train
    scored = {entry.label: without_tuning_folds(entry, battles).predictions for entry in entries}
    by_id = {label: dict(zip(each.id.tolist(), each.proba.tolist(), strict=True)) for label, each in scored.items()}
    folds = assign_folds(battles, FOLDS).tolist()
    for name, fold, winner in zip(battles.id.tolist(), folds, battles.labels.tolist(), strict=True):
        predictions = {label: known.get(name) for label, known in by_id.items()}
        yield {"id": name, "fold": fold, "outcome": OUTCOMES[winner], "predictions": predictions}


def _write_records(folder: Path, source: Source, entries: Sequence[Entry], organization: str) -> list[Path]:
    """Write one file per row in the form of Every Eval Ever."""
    board = build_leaderboard(source.name, source.train, entries, (), source.truth)
    by_label, written = {entry.label: entry for entry in entries}, []
    content_hash, now = source.train.content_hash(), time.time()
    for row in board.rows:
        entry = by_label[row.label]
        record = record_of(board, row, entry, content_hash, organization, _version(), now)
        place = folder / source.name / _as_folder(developer_of(entry, organization)) / _as_folder(row.label)
        written.append(place / f"{identifier(entry, content_hash)}.json")
        write_json(written[-1], record)
    return written


def _as_folder(name: str) -> str:
    """Return a name with `_` for what a folder cannot be called."""
    plain = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name).strip().lstrip(".")
    return plain if is_folder_name(plain) else "_"


def _version() -> str:
    try:
        return version("pairrank")
    except PackageNotFoundError:
        return UNKNOWN

"""Runs and predictions are compared in one leaderboard, as the command `compare` does it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pairrank.api.cross_validation import CrossValidation
from pairrank.api.entries import (
    as_predictions,
    choose_references,
    collect_entries,
    find_label,
    read_file,
    without_subsets,
)
from pairrank.api.html import folded, table
from pairrank.api.sources import DataLike, Source, find_source, home_of
from pairrank.data.predictions import Predictions
from pairrank.errors import UserError, excerpt
from pairrank.evaluation import leaderboard
from pairrank.evaluation.entries import Entry, entered_in, entries_in, former_entries, is_run_on, publish
from pairrank.evaluation.leaderboard import Row, build_leaderboard
from pairrank.evaluation.leaderboard_table import DASH, columns, markdown, notes, to_json, to_markdown
from pairrank.files import read_json
from pairrank.runs.former import former_runs

if TYPE_CHECKING:
    import pandas as pd

    from pairrank.report.charts import Chart

EntryLike: TypeAlias = "CrossValidation | Predictions | pd.DataFrame | str | Path"
"""The result of `cross_validate`, the name of a run or an entry, or out-of-fold predictions in memory or a file."""
Plot = Literal["log loss", "differences", "training_seconds", "parameters"]


@dataclass(frozen=True)
class Leaderboard(leaderboard.Leaderboard):
    """A leaderboard that a notebook shows as a table, and from which tables and charts can be made."""

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row per entry with exact values; missing ones are NaN or None.

        The difference to a reference is in the columns "Δ NAME", "Δ NAME low" and "Δ NAME high".
        """
        import pandas as pd

        return pd.DataFrame([_plain_row(row) for row in self.rows]).set_index("label")

    def plot(self, kind: Plot = "log loss") -> "Chart":
        """Return a chart, which a notebook shows and whose `figure` is one of matplotlib.

        It shows the log loss of each row, the differences to the first reference, or log loss against a cost.
        Raises UserError for another kind, or for differences if there is no other row.
        """
        from pairrank.report import leaderboard_charts

        if kind == "log loss":
            return leaderboard_charts.leaderboard_plot(self)
        if kind == "differences":
            if len(self.rows) < 2:
                raise UserError("plot: differences need two or more rows.")
            return leaderboard_charts.difference_plot(self)
        if kind in leaderboard_charts.COSTS:
            return leaderboard_charts.cost_plot(self, kind)
        raise UserError(
            f"plot: found {excerpt(kind)}, expected log loss, differences, training_seconds or parameters."
        )

    def markdown(self) -> str:
        """Return the table and its notes as Markdown, as in LEADERBOARD.md."""
        return markdown(self)

    def write(self, folder: str | Path) -> Path:
        """Write LEADERBOARD.md and leaderboard.json into a folder; return the path of the first."""
        file = Path(folder) / "LEADERBOARD.md"
        to_markdown(self, file)
        to_json(self, file.with_name("leaderboard.json"))
        return file

    def __repr__(self) -> str:
        rows = ", ".join(f"{row.label} {row.log_loss:.4f}" for row in self.rows)
        return f"Leaderboard({self.data!r}, {self.battles:,} battles: {rows})"

    def _repr_html_(self) -> str:
        shown = {name: cells for name, cells in columns(self).items() if set(cells) != {DASH}}
        caption = f"{self.data}: {self.battles:,} battles, {self.prompts:,} distinct prompts"
        return table(list(shown), zip(*shown.values(), strict=True), caption) + folded("Notes", notes(self))


def compare(
    entries: Sequence[EntryLike] | Mapping[str, EntryLike] | None = None,
    data: DataLike = None,
    *,
    runs: str | Path | None = None,
    reference: str | Sequence[str] = (),
    add: Sequence[str] = (),
    publish_to: str | Path | None = None,
    history: bool = False,
) -> Leaderboard:
    """Return the leaderboard of runs and predictions on the same battles, the lowest log loss first.

    It is the command `compare`. Differences to a reference are paired, and have intervals from a bootstrap over
    prompts.

    - `entries`: results of `cross_validate` and names of runs, or a dictionary by label, which may also hold
      predictions in memory and paths of prediction files. None means all runs in the folder of the runs.
    - `data`: as in `cross_validate`; it is not needed with a result of that function.
    - `runs`: the folder of the runs.
    - `reference`: the rows that the others are compared with. Default: the prior, or else the first by name.
    - `add`: further predictions, as "NAME=FILE".
    - `publish_to`: the folder of --publish, whose published results are shown as well. Needs `entries=None`.
    - `history`: also show the former results of the runs. Needs `entries=None`.

    >>> import pairrank
    >>> prior = pairrank.cross_validate("prior")
    >>> board = pairrank.compare({"mine": prior.predictions, "prior": prior})
    >>> board.to_dataframe()["Δ prior"].tolist()
    [0.0, nan]

    Raises UserError for predictions of other battles, a repeated label or an unknown reference.
    """
    names = [reference] if isinstance(reference, str) else list(reference)
    source = _source_of(entries, data)
    home = _home_of(entries, runs, source)
    if entries is not None:
        if publish_to or history:
            raise UserError("publish_to and history use all runs in the folder of the runs. Leave out entries.")
        found = _chosen(entries, source, home, add)
    else:
        target = None if publish_to is None else Path(publish_to)
        found = without_subsets(collect_entries(source, home, target, add), names)
    if history:
        found += former_entries(former_runs(home), source.train)
    references = choose_references(names, [entry.label for entry in found])
    built = build_leaderboard(source.name, source.train, found, references, source.truth)
    board = Leaderboard(**{each.name: getattr(built, each.name) for each in fields(built)})
    if publish_to:
        _publish(board, found, Path(publish_to))
    return board


def _publish(board: Leaderboard, entries: Sequence[Entry], folder: Path) -> None:
    """Write entries and leaderboard; raises UserError for a folder that has the leaderboard of other data."""
    before = read_json(folder / "leaderboard.json") or {"data": board.data}
    if before.get("data", board.data) != board.data:
        raise UserError(
            f"--publish {folder}: this folder has the leaderboard of {before['data']}. Use another folder."
        )
    publish(folder, board.data, entries)
    board.write(folder)


def _given(entries: Sequence[EntryLike] | Mapping[str, EntryLike] | None) -> list[EntryLike]:
    return [] if entries is None else list(entries.values() if isinstance(entries, Mapping) else entries)


def _source_of(entries: Sequence[EntryLike] | Mapping[str, EntryLike] | None, data: DataLike) -> Source:
    """Return the data: the given one, or else that of the first result among the entries."""
    results = [each for each in _given(entries) if isinstance(each, CrossValidation)]
    return results[0].source if data is None and results else find_source(data)


def _home_of(
    entries: Sequence[EntryLike] | Mapping[str, EntryLike] | None, runs: str | Path | None, source: Source
) -> Path:
    """Return the folder of the runs: the given one, or else that of the first result among the entries."""
    results = [each for each in _given(entries) if isinstance(each, CrossValidation)]
    return results[0].folder.parent if runs is None and results else home_of(runs, source)


def _chosen(
    entries: Sequence[EntryLike] | Mapping[str, EntryLike], source: Source, home: Path, add: Sequence[str]
) -> list[Entry]:
    """Return the entries that a program has given, and the files of `add`."""
    if isinstance(entries, str | CrossValidation | Predictions):
        raise UserError(f"entries: found {excerpt(entries, 80)}, expected a list, or a dictionary by label.")
    if isinstance(entries, Mapping):
        found = [_named(str(label), each, source) for label, each in entries.items()]
    else:
        found = [_unnamed(each, source, home) for each in entries]
    found += [read_file(argument, source) for argument in add]
    if not found:
        raise UserError("entries: found none, expected one or more.")
    return found


def _named(label: str, entry: EntryLike, source: Source) -> Entry:
    """Return the entry of this label; a path is that of a file with predictions or scores."""
    if isinstance(entry, CrossValidation):
        return Entry(label, entry.predictions, _on(source, entry).record, entry.test)
    if isinstance(entry, str | Path):
        return read_file(f"{label}={entry}", source)
    return Entry(label, as_predictions(entry, label))


def _unnamed(entry: EntryLike, source: Source, home: Path) -> Entry:
    """Return the entry of a result, or of a run by its name."""
    if isinstance(entry, CrossValidation):
        return _on(source, entry).entry
    if not isinstance(entry, str):
        raise UserError(f"entries: {type(entry).__name__} has no name. Use a dictionary by label.")
    runs = {each.label: each for each in entries_in(home, source.train)}
    known = {each.label: each for each in entered_in(home, source.train, runs)} | runs
    return known[find_label(entry, list(known), home)]


def _on(source: Source, result: CrossValidation) -> CrossValidation:
    """Return the result if it was made on these battles; raises UserError otherwise."""
    if result.source is not source and not is_run_on(result.record, source.train):
        raise UserError(f"{result.label} is a run on other battles ({result.record.data.name}).")
    return result


def _plain_row(row: Row) -> dict[str, Any]:
    """Return the fields of a row by column; shares of tokens and differences get columns of their own."""
    values = {each.name: getattr(row, each.name) for each in fields(row)}
    kept, differences = values.pop("kept") or {}, values.pop("differences")
    values |= {f"kept {text}": share for text, share in kept.items()}
    for name, difference in differences.items():
        ends = ("mean", "low", "high")
        numbers = [None if difference is None else getattr(difference, end) for end in ends]
        values |= dict(zip((f"Δ {name}", f"Δ {name} low", f"Δ {name} high"), numbers, strict=True))
    return values

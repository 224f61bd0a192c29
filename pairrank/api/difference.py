"""Two runs, or a run and its former result, are compared in detail, as the command `diff` does it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pairrank.api.cross_validation import OUTCOMES, CrossValidation
from pairrank.api.entries import expand_label, find_label, read_file
from pairrank.api.html import folded, table
from pairrank.api.outputs import refuse_out
from pairrank.api.sources import DataLike, Source, files_of, find_source, home_of
from pairrank.errors import UserError
from pairrank.evaluation.entries import Entry, is_run_on, published_entries, read_entry, read_run
from pairrank.evaluation.manifest import entered_folders
from pairrank.evaluation.run_difference import RunDifference, run_difference
from pairrank.evaluation.run_record import ENTERED, run_folders
from pairrank.evaluation.survey import survey_of
from pairrank.report.difference_page import difference_page, settings_note, slice_table, summary
from pairrank.runs.former import MARK, former_runs

if TYPE_CHECKING:
    import pandas as pd

RunName: TypeAlias = str | CrossValidation
"""The name of a run, of a former result (NAME~DATE) or of an entry, or the result of `cross_validate`."""


@dataclass(frozen=True, eq=False, repr=False)
class RunComparison(RunDifference):
    """The change from a first to a second run, which a notebook shows as a table."""

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row per battle: id, observed winner, both losses in nats and their change (second - first)."""
        import pandas as pd

        first, second = self.losses
        winner = [OUTCOMES[label] for label in self.battles.labels.tolist()]
        columns = {"id": self.battles.id, "winner": winner, "first": first, "second": second, "change": self.change}
        return pd.DataFrame(columns)

    def write(self, out: str | Path) -> Path:
        """Write the page about the difference and return its path."""
        difference_page(self).write(Path(out))
        return Path(out)

    def __repr__(self) -> str:
        return f"RunComparison({self.first.label!r} to {self.second.label!r}: {self.difference})"

    def _repr_html_(self) -> str:
        slices = slice_table(self.slices)
        settings = [f"{each.key}: {each.first} → {each.second}" for each in self.settings or ()]
        shown = table(list(slices.columns), slices.rows, summary(self))
        return shown + folded("Settings that differ", settings or [settings_note(self)])


def diff(
    first: RunName,
    second: RunName | None = None,
    data: DataLike = None,
    *,
    before: bool = False,
    runs: str | Path | None = None,
    add: Sequence[str] = (),
    published: str | Path | None = None,
    out: str | Path | None = None,
) -> RunComparison:
    """Return what changed from a first to a second run: settings, log loss, slices, and single battles.

    It is the command `diff`. Differences are those of the second run minus the first, on the battles that both have
    predicted.

    - `first`, `second`: names of runs, former results (NAME~DATE) or entries, or results of `cross_validate`.
    - `data`: as in `cross_validate`; it is not needed with a result of that function.
    - `before`: compare the latest former result of `first` with `first` itself. Needs `second=None`.
    - `runs`: the folder of the runs. `add`: further predictions, as "NAME=FILE".
    - `published`: a folder that `compare` has published to.
    - `out`: also write a page (HTML).

    >>> import pairrank
    >>> results = [pairrank.cross_validate(name, "Dataset/sample") for name in ("prior", "lengths")]
    >>> pairrank.diff(*results).difference.mean < 0
    True

    Raises UserError for an unknown name, and for runs on other battles.
    """
    if before == (second is not None):
        raise UserError("diff: expected two runs, or one run and --before.")
    results = [each for each in (first, second) if isinstance(each, CrossValidation)]
    source = results[0].source if data is None and results else find_source(data)
    home = results[0].folder.parent if runs is None and results else home_of(runs, source)
    if out is not None:
        refuse_out(Path(out), *files_of(source))
    search = _Search(source, home, tuple(add), None if published is None else Path(published))
    if second is None:
        name = first.label if isinstance(first, CrossValidation) else first
        first, second = latest_former(name, home), first
    found = [search.find(each) for each in (first, second)]
    compared = run_difference(source.name, source.train, survey_of(source.train), found[0], found[1])
    comparison = RunComparison(**{each.name: getattr(compared, each.name) for each in fields(compared)})
    if out is not None:
        comparison.write(out)
    return comparison


def latest_former(name: str, home: Path) -> str:
    """Return the name of the latest former result of a run; raises UserError if it has none."""
    label = expand_label(name, list(run_folders(home)))
    former = [each for each in former_runs(home) if each.rpartition(MARK)[0] == label]
    if not former:
        raise UserError(
            f"{label}: it has no former results in {home}. They are kept when a changed experiment, input, encoder "
            "or version of pairrank trains a finished run again."
        )
    return former[-1]


@dataclass(frozen=True)
class _Search:
    """Where the run of a name is looked for."""

    source: Source
    home: Path
    add: tuple[str, ...]
    published: Path | None

    def find(self, name: RunName) -> Entry:
        """Return the run, former result, entry or file of this name; raises UserError if none has it."""
        battles = self.source.train
        if isinstance(name, CrossValidation):
            if name.source is not self.source and not is_run_on(name.record, battles):
                raise UserError(f"{name.label} is a run on other battles ({name.record.data.name}).")
            return name.entry
        former = former_runs(self.home)
        if name in former:
            return read_run(former[name], battles, name)
        runs, entered = run_folders(self.home), entered_folders(self.home / ENTERED)
        label = find_label(name, [*runs, *entered, *self._given], self.home)
        if label in runs:
            return read_run(runs[label], battles)
        return read_entry(entered[label], battles) if label in entered else self._given[label]

    @cached_property
    def _given(self) -> dict[str, Entry]:
        """The published results and the added files, by their names."""
        found = published_entries(self.published, self.source.name, self.source.train) if self.published else []
        found += [read_file(argument, self.source) for argument in self.add]
        return {entry.label: entry for entry in found}

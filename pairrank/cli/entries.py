"""Which runs a command is about: those of a folder, published ones, anybody's files; and which one a name means."""

from collections.abc import Sequence
from pathlib import Path

from pairrank.cli.console import say
from pairrank.data.folder import DataFolder
from pairrank.data.predictions import read_predictions
from pairrank.errors import UserError, unknown_name
from pairrank.evaluation.entries import Entry, entries_in, published_entries
from pairrank.runs.experiment_files import experiment_files

NO_NAME = set('/\\:*?"<>|')
"""What a file's name cannot hold on every system."""


def gather(source: DataFolder, home: Path, published: Path | None, add: Sequence[str]) -> list[Entry]:
    """The runs in `home`, the results in `published` that are of none of them, and added files."""
    entries = (
        {entry.label: entry for entry in published_entries(published, source.name, source.train)}
        if published
        else {}
    )
    entries |= {entry.label: entry for entry in entries_in(home, source.train)}
    for argument in add:
        entry = _added(argument)
        # A file that was added before may be replaced; a run's name stays the run's.
        if entry.label in entries and entries[entry.label].record:
            raise UserError(f"--add {argument}: {entry.label} is a run already. Give the file another name.")
        entries[entry.label] = entry
    if not entries:
        raise UserError(
            f"nothing to compare: no runs in {home}. Start with: run baseline, or enter files with --add."
        )
    return list(entries.values())


def choose_references(names: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The rows that differences are taken to: the named ones, or the prior, or else anyone."""
    if not names and "prior" not in labels:
        say(f"There is no prior here: differences are taken to {min(labels)}. Another: --reference NAME.")
        return [min(labels)]
    return [full_label(name, labels) for name in names or ["prior"]]


def run_folder(name: str, home: Path) -> Path:
    """The folder of a run, by its full name or by the experiment's plain one."""
    there = sorted(file.parent.name for file in home.glob("[!.]*/metrics.json"))
    return home / known_label(name, there, home)


def known_label(name: str, there: Sequence[str], home: Path) -> str:
    """The run that is meant, by its full name or by the experiment's plain one; raises UserError for none."""
    label = full_label(name, there)
    if label not in there:
        remedy = f" Make it with: run {name}" if name in experiment_files() else ""
        raise UserError(f"{unknown_name('run', name, there)} Looked in {home} for finished runs.{remedy}")
    return label


def full_label(name: str, labels: Sequence[str]) -> str:
    """`baseline` also finds `baseline@minilm`, if that is the only run of it."""
    runs = [label for label in labels if label.startswith(f"{name}@") and "+" not in label]
    return runs[0] if name not in labels and len(runs) == 1 else name


def _added(argument: str) -> Entry:
    name, equals, path = argument.partition("=")
    if not equals or not name or not path:
        raise UserError(f"--add {argument}: expected NAME=OOF.CSV.")
    if NO_NAME & set(name) or name.startswith(".") or not name.isprintable():
        raise UserError(f"--add {argument}: {name!r} cannot name a file. Expected letters, digits, spaces, - or _.")
    return Entry(name, read_predictions(path))

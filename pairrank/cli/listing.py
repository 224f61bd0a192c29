"""`list` shows the experiments under headings, those to start with first, and the existing runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pairrank.api.sources import find_source, home_of
from pairrank.cli.console import say, show_table
from pairrank.errors import UserError
from pairrank.evaluation.leaderboard_table import DASH
from pairrank.evaluation.manifest import entered_folders
from pairrank.evaluation.run_record import ENTERED, FORMER, read_run_record, run_folders
from pairrank.runs.experiment_files import experiment_files, read_table
from pairrank.runs.former import former_runs, size_of

STARTERS = ("prior", "lengths", "structure", "baseline", "siamese", "ensemble-fast")
"""The experiments to start with, from the quickest to the strongest."""

HEADINGS = {
    "Start here": (),
    "Counted features and words": ("structure", "kernel", "sparse"),
    "Frozen encoders": ("frozen", "likelihood", "reward"),
    "Fine-tuned encoders": ("baseline", "siamese"),
    "Language models that read both answers": ("judge",),
    "Stacks and ensembles of other experiments": ("gbdt", "pool"),
    "Diagnostics: not submittable": (),
    "Others": (),
}
"""Heading -> the models whose experiments are listed under it."""


def show_list(data: Path | None, runs: Path | None, history: bool = False) -> None:
    """Print one line per experiment, one per run on the data and, with `history`, one per former run."""
    source = find_source(data)
    home = home_of(runs, source)
    for heading, experiments in grouped_experiments(experiment_files()).items():
        show_table(heading, ["experiment", "what it is"], experiments)
    say("For every parameter of an experiment: describe NAME")
    found = list(_rows_of(run_folders(home)))
    if found:
        show_table(f"Runs in {home}", ["run", "folds", "log loss"], found, whole=["log loss"])
    else:
        say(f"Nothing has been run on {source.name} yet (looked in {home}).")
    if entered := list(entered_folders(home / ENTERED)):
        say(f"Entries that were made elsewhere, in {home / ENTERED}: {', '.join(entered)}.")
    former = former_runs(home)
    if history and former:
        rows = [(*row, f"{size_of(former[row[0]]) / 1e6:.1f}") for row in _rows_of(former)]
        show_table(
            f"Former results in {home / FORMER}", ["run", "folds", "log loss", "MB"], rows, whole=["log loss"]
        )
    elif former:
        say(f"Former results of runs: {len(former)}. To show them: list --all, compare --history")


def _rows_of(folders: Mapping[str, Path]) -> Iterator[tuple[str, str, str]]:
    """Yield name, scored folds and log loss of each run, and print a line about each one that cannot be read."""
    for name, folder in folders.items():
        try:
            record = read_run_record(folder)
        except UserError as error:
            say(f"Left out: {error}")
            continue
        folds = ", ".join(map(str, record.scored_folds))
        folds += f" (tuned on {', '.join(map(str, record.tuned_on))})" if record.tuned_on else ""
        yield name, folds, DASH if record.log_loss is None else f"{record.log_loss:.4f}"


def grouped_experiments(files: Mapping[str, Path]) -> dict[str, list[tuple[str, str]]]:
    """Return the experiments with their descriptions under each heading that has any.

    The description of a file that cannot be read says why.
    """
    groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
    for name in sorted(files, key=lambda name: (_rank(name), name)):
        try:
            table: dict[str, Any] = read_table(files[name])
            about = str(table.get("about", ""))
        except UserError as error:
            table, about = {}, f"cannot be read: {error}"
        groups[_heading(name, table)].append((name, about))
    return {heading: listed for heading, listed in groups.items() if listed}


def _rank(name: str) -> int:
    return STARTERS.index(name) if name in STARTERS else len(STARTERS)


def _heading(name: str, table: Mapping[str, Any]) -> str:
    if name in STARTERS and table:
        return "Start here"
    if table.get("submittable") is False:
        return "Diagnostics: not submittable"
    model = table.get("model", {}).get("name")
    return next((heading for heading, models in HEADINGS.items() if model in models), "Others")

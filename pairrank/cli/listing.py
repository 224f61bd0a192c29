"""In which order and under which headings experiments are listed: those to start with come first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairrank.errors import UserError
from pairrank.runs.experiment_files import read_table

STARTERS = ("prior", "lengths", "structure", "baseline", "siamese", "ensemble-fast")
"""Where a newcomer begins, from the quickest to the strongest."""

HEADINGS = {
    "Start here": (),
    "Counted features and words": ("structure", "kernel", "sparse"),
    "Frozen encoders": ("frozen",),
    "Fine-tuned encoders": ("baseline", "siamese"),
    "Stacks and ensembles of other experiments": ("gbdt", "pool"),
    "Diagnostics: not submittable": (),
    "Others": (),
}
"""Heading -> the models whose experiments stand under it."""


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

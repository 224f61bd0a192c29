"""`explore` and `report` write pages about the data and about the runs, each as one HTML file."""

from collections.abc import Sequence
from pathlib import Path

from pairrank.api import pages
from pairrank.cli.console import show_count


def explore(data: Path | None, out: Path, encoder: str) -> None:
    """Write the page about the files of a folder, which may be damaged."""
    pages.explore(data, out, encoder=encoder, progress=lambda file, read: show_count(f"{file}: {read:,} battles"))


def report(
    names: Sequence[str],
    data: Path | None,
    runs: Path | None,
    out: Path,
    references: Sequence[str],
    add: Sequence[str],
    published: Path | None,
) -> None:
    """Collect runs, score them, and write the page about them."""
    pages.report(names, data, out, runs=runs, reference=references, add=add, published=published)

"""Progress bars are shown on a terminal only, and name the step that takes long."""

import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def shows_progress() -> bool:
    """Return whether standard error is a terminal and this is the first process of the run.

    Workers that the command line starts show no bars: several would overwrite each other.
    """
    is_first = os.environ.get("RANK", "0") == "0" and multiprocessing.parent_process() is None
    return is_first and sys.stderr.isatty()


def with_progress(items: Iterable[T], step: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, and show on a terminal how many are done and how long the others will take.

    `total` is needed where `items` has no length. The bar disappears at the end. Bars may be nested: a step inside
    another one has its bar underneath.
    """
    if not shows_progress():
        yield from items
        return
    from tqdm import tqdm  # late: most commands never show a bar

    yield from tqdm(items, step, total, leave=False, dynamic_ncols=True)


@contextmanager
def above_progress() -> Iterator[None]:
    """Lines that are printed within this block appear above the bars, which are drawn again below them."""
    if "tqdm" not in sys.modules or not shows_progress():
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stdout):
        yield

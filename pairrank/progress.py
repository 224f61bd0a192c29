"""The progress of long work is shown by bars on a terminal or in a notebook, and by messages elsewhere."""

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

PAUSE = 60.0
"""Seconds between two messages about the same work where there is no terminal."""

logger = logging.getLogger(__name__)


def shows_progress() -> bool:
    """Return whether standard error is a terminal or part of a notebook, in the first process of the run.

    Workers that the command line starts show no bars: several would overwrite each other.
    """
    is_first = os.environ.get("RANK", "").strip() in ("", "0") and multiprocessing.parent_process() is None
    # A program without a console, such as pythonw, has no standard error.
    return is_first and sys.stderr is not None and (sys.stderr.isatty() or in_notebook())


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    # A notebook has loaded IPython before it runs any cell.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def with_progress(items: Iterable[T], step: str, total: int | None = None, delay: float = 0) -> Iterator[T]:
    """Yield the items, and show how many are done and an estimate of the time that remains.

    `total` is needed if `items` has no length. On a terminal or in a notebook, a bar appears after `delay` seconds,
    and disappears at the end. Bars may be nested: the bar of an inner step is below that of the outer step.
    """
    if not shows_progress():
        yield from _with_messages(items, step, total)
        return
    from tqdm import tqdm  # imported here, because most commands never show a bar

    yield from tqdm(items, step, total, leave=False, dynamic_ncols=True, delay=delay)


def _with_messages(items: Iterable[T], step: str, total: int | None) -> Iterator[T]:
    """Yield the items, and log the time that remains once every `PAUSE` seconds."""
    count = total if total is not None else len(items) if isinstance(items, Sized) else 0
    messages = ProgressMessages(step, count)
    for item in items:
        yield item
        messages.advance()


class ProgressMessages:
    """Messages about a step of `total` items, at most one in `PAUSE` seconds. Without a total there are none.

    `done` items were finished before, and say nothing about the time that the others take.
    """

    def __init__(self, step: str, total: int, done: int = 0) -> None:
        self.step, self.total, self.done = step, total, done
        self.durations: list[float] = []
        self.reported = self.begun = time.monotonic()

    def advance(self) -> None:
        """Count one more item as done, and log what remains if the last message is old."""
        now = time.monotonic()
        self.done += 1
        self.durations.append(now - self.begun)
        self.begun = now
        if now - self.reported >= PAUSE and self.done < self.total:
            self.reported = now
            # An item that an earlier run finished takes almost no time, which would make the estimate too low.
            # Compared with the mean, because a single long item, such as a step with an evaluation, is no rule.
            mean = sum(self.durations) / len(self.durations)
            full = [duration for duration in self.durations if duration >= mean / 10]
            remaining = sum(full) / len(full) * (self.total - self.done)
            logger.info("%s: %d of %d done, %s remain", self.step, self.done, self.total, in_words(remaining))


def in_words(seconds: float) -> str:
    """Return `about 40 s` or `about 12 min`."""
    return f"about {max(seconds, 1):.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"


@contextmanager
def above_progress() -> Iterator[None]:
    """Mark a block whose printed lines appear above the bars, which are drawn again below them."""
    if "tqdm" not in sys.modules or not shows_progress():
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stdout):
        yield

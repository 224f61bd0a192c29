"""The time of a run is limited: a clock says what is left, and a deadline stops what takes longer than expected."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

AGAIN = 10.0
"""Seconds after which a deadline strikes again, in case a library has caught the first interruption."""


class OutOfTime(BaseException):
    """The time of a block is over. Not an Exception, so that nothing catches it by accident."""


@dataclass
class Clock:
    """The time of a run."""

    budget: float
    """Seconds from the beginning to the end."""
    now: Callable[[], float] = time.monotonic
    begun: float = field(default=-1.0)
    """When the run has begun; by default, now."""

    def __post_init__(self) -> None:
        if self.begun < 0:
            self.begun = self.now()

    @property
    def passed(self) -> float:
        """Seconds since the beginning."""
        return self.now() - self.begun

    @property
    def left(self) -> float:
        """Seconds until the end; negative after it."""
        return self.budget - self.passed


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in this block after this many seconds.

    A fold may be interrupted at any moment, as by Ctrl-C, because its files are complete or do not exist. Without
    effect where Python cannot do it: on Windows, and outside the main thread.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

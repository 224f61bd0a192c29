"""How many cores and threads a process may use."""

import os

import psutil


def usable_cores() -> int:
    """Return the number of physical cores, or of the cores that this process may use if that is lower."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def usable_threads() -> int:
    """Return the number of threads for work of one's own: `usable_cores`, or OMP_NUM_THREADS if that is lower."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(usable_cores(), int(wanted))) if wanted.isdecimal() else usable_cores()

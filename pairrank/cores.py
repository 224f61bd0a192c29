"""How many cores and threads a process may use."""

import os

import psutil


def usable_cores() -> int:
    """Return the number of physical cores, or of the cores that this process may use if that is lower.

    A container may have a quota of processor time instead of cores of its own.
    """
    from joblib import cpu_count  # takes a tenth of a second

    allowed = int(cpu_count())  # by affinity and by the quota of the container
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def usable_threads() -> int:
    """Return the number of threads for work of one's own: `usable_cores`, or OMP_NUM_THREADS if that is lower."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(usable_cores(), int(wanted))) if wanted.isdecimal() else usable_cores()

"""Whether a person is watching: progress bars are shown on a terminal and nowhere else."""

import os
import sys


def shows_progress() -> bool:
    """True on a terminal, in the first of several processes."""
    return sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"

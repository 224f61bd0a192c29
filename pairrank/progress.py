"""Progress bars are shown on a terminal only."""

import os
import sys


def shows_progress() -> bool:
    """Return whether standard error is a terminal and this is the first process of the run."""
    return sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"

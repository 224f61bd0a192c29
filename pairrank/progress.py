"""Whether a person is watching: progress bars are shown on a terminal and nowhere else."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def shows_progress() -> bool:
    """True on a terminal, in the first of several processes."""
    return sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Loading and saving without the report of newly made weights and, off a terminal, without progress bars."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if bars and not shows_progress():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars and not shows_progress():
            logging.enable_progress_bar()

"""transformers is silenced: no reports and, unless progress is shown, no progress bars."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pairrank.progress import shows_progress


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers while it loads or saves: no report of new weights, no progress bars off a terminal."""
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

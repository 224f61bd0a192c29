"""The reports of transformers are suppressed, and its progress bars as well unless progress is shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pairrank.progress import shows_progress


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Suppress reports of transformers while it loads or saves, and progress bars where there is no terminal."""
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

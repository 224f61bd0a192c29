"""The messages that pairrank's modules log become plain lines of the command line."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pairrank.errors import shorten

LOGGER = logging.getLogger("pairrank")
"""The parent of every module's logger."""


class LineHandler(logging.Handler):
    """Passes the text of each message to a function, without level, time or name of the module."""

    def __init__(self, show: Callable[[str], None], warn: Callable[[str], None]) -> None:
        super().__init__()
        self.show, self.warn = show, warn

    def emit(self, record: logging.LogRecord) -> None:
        """Show one message. An error of `show`, such as a closed pipe, ends the command, as one of `print` does."""
        show = self.warn if record.levelno >= logging.WARNING else self.show
        show(shorten(record.getMessage()))


@contextmanager
def messages_to(
    show: Callable[[str], None],
    warn: Callable[[str], None] | None = None,
    only: Callable[[logging.LogRecord], bool] | None = None,
) -> Iterator[None]:
    """Pass all messages from level info upwards to `show` within this block, and to nothing else.

    Warnings go to `warn` instead if it is given. With `only`, messages for which it returns False are suppressed.

    Blocks may be nested: the innermost receives the messages. The root logger, which belongs to the program that
    imports pairrank, is never touched.
    """
    before = LOGGER.level, LOGGER.propagate, LOGGER.handlers
    handler = LineHandler(show, warn or show)
    if only is not None:
        handler.addFilter(only)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate, LOGGER.handlers = False, [handler]
    try:
        yield
    finally:
        LOGGER.setLevel(before[0])
        LOGGER.propagate, LOGGER.handlers = before[1:]


def ignore(text: str) -> None:
    """Do nothing; `messages_to(ignore)` suppresses the messages of a block."""


def print_message(text: str) -> None:
    """Print one message in the same way as the commands; rich is loaded with the first message."""
    from pairrank.cli.console import say

    say(text)

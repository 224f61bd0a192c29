"""Messages that modules log reach the command line's output, and the root logger of a program is never touched."""

import logging

import pytest

from pairrank.cli.messages import LOGGER, ignore, messages_to, print_message

logger = logging.getLogger("pairrank.data.reading")


def test_messages_are_printed_as_plain_escaped_lines_without_level_or_module(capsys):
    with messages_to(print_message):
        logger.debug("for developers")
        logger.info("100 % of [red]battles[/]\x1b[2J")
        logger.warning("5 of %d", 6)
    assert capsys.readouterr() == ("100 % of [red]battles[/]\\x1b[2J\n5 of 6\n", "")


def test_the_innermost_block_receives_the_messages():
    outer, inner = [], []
    with messages_to(outer.append):
        with messages_to(inner.append):
            logger.info("one")
        with messages_to(ignore):
            logger.warning("two")
        logger.info("three")
    assert (outer, inner) == (["three"], ["one"])


def test_every_logger_is_as_before_even_after_an_error(caplog):
    def state():
        loggers = (LOGGER, logging.getLogger())
        return [(each.level, each.propagate, list(each.handlers)) for each in loggers]

    def fail():
        assert state()[1] == before[1]
        raise KeyError

    before = state()
    with pytest.raises(KeyError), messages_to(ignore):
        fail()
    assert state() == before
    logger.warning("to whoever imports pairrank")
    assert caplog.messages == ["to whoever imports pairrank"]


def test_a_program_that_imports_pairrank_sees_warnings_and_no_progress(capfd):
    logger.info("progress")
    assert capfd.readouterr() == ("", "")

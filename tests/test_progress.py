"""Bars appear on a terminal and nowhere else, and lines that are printed meanwhile stay whole."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pairrank import progress
from pairrank.progress import in_words, shows_progress, with_progress

ROOT = Path(__file__).parents[1]


def test_without_a_terminal_items_come_unchanged_and_nothing_is_written(capfd):
    assert list(with_progress(iter("abc"), "letters")) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")
    assert not shows_progress()


def test_a_notebook_shows_bars(monkeypatch, capsys):
    class Shell:
        kernel = None

    assert not shows_progress()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: object()))
    assert not shows_progress()  # IPython itself on a file
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=Shell))
    assert shows_progress()
    assert list(with_progress("abc", "letters")) == ["a", "b", "c"]
    assert "letters" in capsys.readouterr().err


def test_without_a_terminal_a_message_per_minute_says_what_remains(monkeypatch, caplog):
    """Two folds that were finished before and took no time, then folds of 40 s each."""
    clock = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock)
    caplog.set_level("INFO")
    for fold in with_progress(range(6), "siamese, folds"):
        clock += 40 if fold > 1 else 0
    assert caplog.messages == ["siamese, folds: 4 of 6 done, about 80 s remain"]


def test_items_that_an_earlier_process_finished_do_not_enter_the_estimate(monkeypatch, caplog):
    clock = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock)
    caplog.set_level("INFO")
    messages = progress.ProgressMessages("training, steps", 100, done=90)
    for _ in range(10):
        clock += 25
        messages.advance()
    assert caplog.messages == [
        "training, steps: 93 of 100 done, about 3 min remain",
        "training, steps: 96 of 100 done, about 2 min remain",
        "training, steps: 99 of 100 done, about 25 s remain",
    ]


def test_one_long_step_among_many_short_ones_enters_the_estimate_once(monkeypatch, caplog):
    """A step with an evaluation of 40 s, among steps of 1 s."""
    clock = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock)
    caplog.set_level("INFO")
    messages = progress.ProgressMessages("training, steps", 1_000)
    for step in range(200):
        clock += 40 if step == 99 else 1
        messages.advance()
    # 199 s for 160 steps, and as much for each of the other 840
    assert caplog.messages[-1] == "training, steps: 160 of 1000 done, about 17 min remain"


def test_no_other_module_draws_bars_of_its_own():
    """A bar that is hidden without a terminal would leave the readers of a log file without any news."""
    package = ROOT / "pairrank"
    drawing = [file for file in package.rglob("*.py") if "import tqdm" in file.read_text(encoding="utf-8")]
    assert drawing == [package / "progress.py"]


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "about 1 s"), (99, "about 99 s"), (1500, "about 25 min")])
def test_seconds_in_words(seconds, words):
    assert in_words(seconds) == words


@pytest.mark.parametrize(("rank", "shown"), [("0", True), ("1", False)])
def test_the_first_process_alone_shows_progress(monkeypatch, rank, shown):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert shows_progress() is shown


def on_a_terminal(code: str) -> str:
    """What a program writes to a terminal."""
    import pty
    import termios

    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=its, stderr=its, env=environment) as program:
        os.close(its)
        written = b""
        try:
            while part := os.read(ours, 4096):
                written += part
        except OSError:  # Linux: the other end is closed
            pass
    assert program.returncode == 0, written
    return written.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="opens a POSIX terminal")
def test_on_a_terminal_nested_bars_name_their_steps_and_printed_lines_stay_whole():
    code = (
        "import time\nfrom pairrank.progress import with_progress\nfrom pairrank.cli.console import say\n"
        "for fold in with_progress(range(2), 'structure: folds'):\n"
        "    for seed in with_progress(range(3), 'trees'):\n"
        "        time.sleep(0.12)\n"  # tqdm draws ten times per second at most
        "        say(f'fold {fold}, seed {seed}: a line')\n"
    )
    written = on_a_terminal(code)
    assert "structure: folds:" in written
    assert "1/2" in written
    assert "trees:" in written
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", written))
    for fold in range(2):
        for seed in range(3):
            assert f"fold {fold}, seed {seed}: a line" in [line.strip() for line in lines]

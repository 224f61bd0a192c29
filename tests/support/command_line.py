"""The command line as a function, in a folder with battles to stand in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pairrank.cli import app
from tests.support.arenas import write_folder

ROOT = Path(__file__).parents[2]


class Ended:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with battles in ./data, to stand in."""
    write_folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


@pytest.fixture
def call(here, monkeypatch, capsys):
    """The command line, in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pairrank", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        out, err = capsys.readouterr()
        return Ended(ended.value.code, out, err)

    return run


def refused(ended, *words):
    """A user's mistake: exit code 2, one message on stderr, no traceback."""
    assert ended.code == 2, ended.out + ended.err
    assert ended.err.startswith("Error: ")
    assert "Traceback" not in ended.err + ended.out
    for word in words:
        assert word in ended.err
    return True


def sub(*arguments, **options):
    """The command line in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | options.pop("env", {})
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, **options)

"""The command line in a process of its own, and how it ended."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Ended:
    """How a command ended, and what it printed."""

    code: object
    out: str
    err: str


def refused(ended, *words):
    """A user's mistake: exit code 2, one message on stderr, no traceback."""
    assert ended.code == 2, ended.out + ended.err
    assert ended.err.startswith("Error: ")
    assert "Traceback" not in ended.err + ended.out
    for word in words:
        assert word in ended.err
    return True


def run_python(*arguments, **options):
    """Run Python in a process of its own, with this repository on its path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | options.pop("env", {})
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, **options)

"""The command line in a process of its own, and how it ended."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
"""What processes of the tests need: this repository, wherever they are started, and no more than a core each."""


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
    """Run Python in a process of its own, with this repository on its path; return it when it has ended."""
    command = [sys.executable, *map(str, arguments)]
    environment = os.environ | ENVIRONMENT | options.pop("env", {})
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, **options)


def start_python(*arguments):
    """Start Python in a process, with a group of its own and pipes to write and read."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )

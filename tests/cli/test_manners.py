"""The program answers as its user expects: -h, --version, completion, one program under three names."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata

import pytest

from pairrank.cli.listing import STARTERS, grouped_experiments
from pairrank.runs.experiment_files import experiment_files
from tests.support.command_line import ROOT, run_python

ENSEMBLES = ["ensemble", "ensemble-bagged", "ensemble-extra", "ensemble-fast"]
"""What completes "ensemble"."""
PROGRAMS = {"python -m pairrank": "pairrank", "python -m pairrank.experiments": "pairrank.experiments"}
NAMED_SHELL = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
"""typer takes the shell from the command line, and not from the process that started it, which may be none."""


@pytest.fixture
def complete(call, monkeypatch) -> Callable[[str, int], list[str]]:
    """A function that returns what bash is offered at this word of a command line."""

    def offered(words: str, position: int) -> list[str]:
        asked = {"_PAIRRANK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(position)}
        with monkeypatch.context() as patch:
            for name, value in asked.items():
                patch.setenv(name, value)
            return call().out.split()

    return offered


@pytest.mark.parametrize("command", [(), ("run",), ("describe",), ("tune",), ("fetch-encoder",)])
def test_short_and_long_help_are_the_same(call, command):
    short, long = call(*command, "-h"), call(*command, "--help")
    assert (short.code, short.out) == (0, long.out)
    assert "Examples:" in short.out
    assert max(map(len, short.out.splitlines())) <= 80


def test_no_first_line_of_a_command_is_cut_in_the_overview(call):
    overview = call("--help").out.split("Commands:")[1].split("Examples:")[0]
    assert "..." not in overview


def test_version_names_the_package_and_the_commit_of_a_checkout(call):
    ended = call("--version")
    assert ended.code == 0
    assert re.fullmatch(r"pairrank \d+\.\d+\.\d+( \(commit [0-9a-f]{12}(\+changes)?\))?\n", ended.out)


def test_an_installed_version_comes_from_its_metadata(monkeypatch, tmp_path):
    from pairrank.cli import version

    monkeypatch.setattr(version, "__file__", str(tmp_path / "pairrank" / "cli" / "version.py"))
    monkeypatch.setattr(metadata, "version", lambda name: "1.2.3")
    monkeypatch.setattr(version, "commit", lambda: "")
    assert version.version_line() == "pairrank 1.2.3"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "another"\nversion = "9"')
    assert version.version_line() == "pairrank 1.2.3"


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_each_way_to_start_the_program_says_its_own_name(name):
    ended = run_python("-m", PROGRAMS[name], "-h")
    assert ended.stdout.startswith(f"Usage: {name} [OPTIONS] COMMAND"), ended.stderr
    usage, _, rest = ended.stdout.partition("\n")
    assert usage
    assert rest == run_python("-m", "pairrank", "-h").stdout.partition("\n")[2]


def test_an_installed_script_says_pairrank(tmp_path):
    script = tmp_path / "pairrank"
    script.write_text("from pairrank.cli.app import main\nmain()\n")
    assert run_python(script, "run", "-h").stdout.startswith("Usage: pairrank run [OPTIONS]")


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("module", ["pairrank", "pairrank.experiments"])
def test_completion_is_shown_for_the_program_under_any_name(shell, module):
    ended = run_python("-m", module, "--show-completion", shell, env=NAMED_SHELL)
    assert ended.returncode == 0, ended.stderr
    assert "_PAIRRANK_COMPLETE" in ended.stdout
    assert "python -m" not in ended.stdout


@pytest.mark.parametrize("command", ["run", "tune", "describe"])
def test_experiments_are_completed(complete, command):
    assert complete(f"pairrank {command} ensemble", 2) == ENSEMBLES


def test_models_runs_commands_and_options_are_completed(complete, run_once):
    assert "gbdt" in complete("pairrank describe gb", 2)
    assert complete("pairrank desc", 1) == ["describe"]
    assert complete("pairrank run --da", 2) == ["--data"]
    run_once("prior")
    assert complete("pairrank submit pr", 2) == ["prior"]


@pytest.mark.slow
def test_completion_loads_no_torch():
    code = (
        "import sys\nfrom pairrank.cli import options\nassert 'structure' in options.complete_described('')\n"
        "options.complete_runs('')\nprint(sorted({'torch', 'transformers', 'lightgbm'} & set(sys.modules)))"
    )
    assert run_python("-c", code).stdout == "[]\n"


def test_experiments_to_start_with_are_listed_first(call):
    groups = grouped_experiments(experiment_files())
    assert [name for name, _ in next(iter(groups.values()))] == list(STARTERS)
    assert sorted(name for listed in groups.values() for name, _ in listed) == sorted(experiment_files())
    assert "siamese-cls" in dict(groups["Fine-tuned encoders"])
    assert "stack" in dict(groups["Stacks and ensembles of other experiments"])
    assert "identity" in dict(groups["Diagnostics: not submittable"])
    assert "Others" not in groups
    out = call("list", "--data", "data").out
    assert out.index("ensemble-fast") < out.index("baseline-as-published")


def test_an_unknown_command_gets_the_nearest_one(call):
    ended = call("rnu", "prior")
    assert ended.code == 2
    assert "Did you mean 'run'?" in ended.err


@pytest.mark.slow
def test_completion_of_a_real_shell(tmp_path):
    """bash itself, with the script that --show-completion prints."""
    (tmp_path / "pairrank").write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from pairrank.cli.app import main; main()' \"$@\"\n"
    )
    (tmp_path / "pairrank").chmod(0o755)
    shown = run_python("-m", "pairrank", "--show-completion", "bash", env=NAMED_SHELL)
    (tmp_path / "complete.bash").write_text(shown.stdout)
    script = (
        "source ./complete.bash; COMP_WORDS=(pairrank run ensem); COMP_CWORD=2; _pairrank_completion pairrank; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ended = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.split() == ENSEMBLES, ended.stderr

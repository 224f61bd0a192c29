"""Every command of pairrank in the documents and in the help is one that the real command line accepts."""

import pytest

from tests.support.doc_commands import ROOT, commands, complaint, documents

EXCEPTIONS = {
    ("COMMAND", "-h"): "COMMAND stands for any command",
}
"""Commands in documents that are not checked, and why."""


@pytest.mark.parametrize("file", documents(), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_command_in_a_document_is_accepted(file):
    found = [each for each in commands(file.read_text(encoding="utf-8")) if tuple(each) not in EXCEPTIONS]
    assert {" ".join(each): text for each in found if (text := complaint(each))} == {}


def test_the_documents_have_commands_and_no_exception_is_left_over():
    found = {tuple(each) for file in documents() for each in commands(file.read_text(encoding="utf-8"))}
    assert len(found) > 40
    assert set(EXCEPTIONS) <= found


def test_every_example_of_the_help_is_accepted():
    from generate import command_line

    found = list(commands(command_line.page()))
    assert len(found) > 40
    assert {" ".join(each): text for each in found if (text := complaint(each))} == {}


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("```sh\npairrank run a --limit 5 | tee log  # all\n```", [["run", "a", "--limit", "5"]]),
        (
            "```sh\nX=1 .venv/bin/python -m pairrank check a && pairrank list\n```",
            [["check", "a"], ["list"]],
        ),
        ("```sh\npairrank run a \\\n    --seed 1\n```", [["run", "a", "--seed", "1"]]),
        ("```python\n!python -m pairrank.experiments list\nimport pairrank\n```", [["list"]]),
        ("Use `pairrank rm` or `pairrank rm a --yes`.", [["rm", "-h"], ["rm", "a", "--yes"]]),
        ("```sh\ntorchrun --nproc_per_node 2 -m pairrank run a\n```", [["run", "a"]]),
        ("```sh\npip install pairrank tomli-w\n```\n`from pairrank import x`", []),
        ("```toml\npairrank run a\n```", []),
    ],
)
def test_commands_are_found_in_blocks_and_in_running_text(markdown, expected):
    assert list(commands(markdown)) == expected


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("nope", "no command nope"),
        ("run a --nope", "--nope"),
        ("run a --limit many", "integer"),
        ("run a --engine spark", "spark"),
        ("run a --seed", "--seed"),
        ("check", "Missing"),
        ("merge a --out b c", "too many arguments"),
    ],
)
def test_a_wrong_command_is_found(arguments, part):
    assert part in complaint(arguments.split())


def test_a_check_runs_no_file_that_a_command_names(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("raise SystemExit('this file was run')", encoding="utf-8")
    assert complaint(["run", "a", "--plugin", str(file)]) == ""

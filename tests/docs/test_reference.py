"""The reference has every command, key, public name and record field that the code has."""

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

import typer.main

import pairrank
from pairrank.cli.app import app
from pairrank.evaluation.leaderboard_table import markdown
from pairrank.evaluation.manifest import manifest_schema
from pairrank.evaluation.run_record import RunRecord
from pairrank.glossary import terms
from pairrank.models.base import build, parameters_of, shipped_models
from pairrank.nested import dotted_items
from pairrank.runs.fold_record import FoldRecord

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def documented_keys(record: str) -> set[str]:
    """Return the keys in the first column of the table of a record in files.md."""
    text = (REFERENCE / "files.md").read_text(encoding="utf-8")
    body = text.split(f"| key of `{record}` | content |\n|---|---|\n")[1].split("\n\n")[0]
    return {key for row in body.splitlines() for key in re.findall(r"`([a-z_]+)`", row.split("|")[1])}


def test_the_page_of_files_has_every_key_of_every_record():
    assert documented_keys("metrics.json") == {each.name for each in fields(RunRecord)} | {"version"}
    assert documented_keys("fold.json") == {each.name for each in fields(FoldRecord)} | {"version"}
    assert documented_keys("entry.json") == set(manifest_schema()["properties"])


def test_the_page_of_python_documents_every_public_name():
    text = (REFERENCE / "python.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\.\. auto(?:function|class):: pairrank\.(\w+)$", text, re.MULTILINE)) == sorted(
        pairrank.__all__
    )


def test_every_command_and_option_is_on_the_page_of_the_command_line():
    from generate import command_line

    page = command_line.page()
    # The names of commands and options in the source of the command line, which nothing has interpreted.
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "pairrank" / "cli").glob("*.py"))
    commands = re.findall(r"@commands\.command\(.*?\n\)?def (\w+)\(|@commands\.command", sources, re.DOTALL)
    assert len(re.findall(r"^## `[\w-]+`$", page, re.MULTILINE)) == len(commands)
    options = set(re.findall(r'"(--[a-z][a-z-]+)"', sources))
    options -= {"--help", "--install-completion", "--show-completion"}
    assert [option for option in sorted(options) if option not in page] == []


def test_each_command_has_all_parameters_of_its_function():
    from generate import command_line

    parts = re.split(r"^## `([\w-]+)`$", command_line.page(), flags=re.MULTILINE)
    defined = {
        name: len(re.findall(r"^: ", text, re.MULTILINE))
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    functions = {name: command.callback for name, command in typer.main.get_command(app).commands.items()}
    assert defined == {name: len(inspect.signature(each).parameters) for name, each in functions.items()}


def test_every_parameter_of_every_model_is_on_the_page_of_experiment_files():
    from generate import experiment_files

    sections = re.split(r"^### `(\w+)`$", experiment_files.page(), flags=re.MULTILINE)
    found = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert sorted(found) == sorted(shipped_models())
    for model, text in found.items():
        keys = [key for key, _ in dotted_items(parameters_of(build(model)))]
        assert [key for key in keys if f"\n`{key} = " not in text] == [], model


def test_every_term_is_on_the_page_of_the_glossary_with_its_anchor():
    from generate import glossary

    anchors = re.findall(r"^\(term-([a-z0-9-]+)\)=$", glossary.page(), re.MULTILINE)
    assert sorted(anchors) == sorted(each.slug for each in terms().values())


def test_the_leaderboard_of_the_site_is_the_published_one():
    from generate import results

    published = (ROOT / "benchmarks" / "LEADERBOARD.md").read_text(encoding="utf-8")
    assert markdown(results.board()) == published


def test_the_columns_of_the_results_are_in_the_glossary():
    from generate import results

    pages = [results.leaderboard(), results.overview(), results.learning_curves()]
    rows = [row for page in pages for row in re.findall(r"^\| (.*) \|\n\| ---", page, re.MULTILINE)]
    headers = {cell.replace("\\", "") for row in rows for cell in re.split(r" \| ", row)}
    assert len(headers) > 20
    from pairrank.glossary import find_term

    assert [header for header in sorted(headers) if find_term(header) is None] == []


def test_a_notebook_shows_its_cells_and_saved_outputs_without_running_them():
    from generate import notebook

    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {
            "cell_type": "code",
            "source": ["raise SystemExit"],
            "outputs": [
                {"data": {"text/html": ["<b>1</b>"], "text/plain": ["1"]}},
                {"data": {"image/png": "QUJD\n"}},
                {"text": ["said\n"]},
            ],
        },
    ]
    shown = notebook.as_markdown(json.dumps({"cells": cells}))
    assert shown.startswith("# Title\n")
    assert "```python\nraise SystemExit\n```" in shown
    assert "<b>1</b>" in shown
    assert "base64,QUJD" in shown
    assert "said" in shown
    assert "\n1\n" not in shown

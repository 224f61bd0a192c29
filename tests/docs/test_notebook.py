"""docs/tutorial.ipynb is what docs/tutorial.py gives when it is executed now."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.support.docs import load_script

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def outputs(cell: dict) -> list[str]:
    """The kinds of data in the outputs of a cell, in alphabetical order for each output."""
    return [
        key for output in cell.get("outputs", []) for key in sorted(output.get("data", {output["output_type"]: ""}))
    ]


@pytest.fixture(scope="module")
def committed() -> dict:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def test_the_committed_notebook_has_the_cells_of_its_source(committed):
    cells = load_script("notebook").unexecuted().cells
    assert [(each.cell_type, each.source) for each in cells] == [
        (each["cell_type"], "".join(each["source"])) for each in committed["cells"]
    ]


def test_the_committed_notebook_is_small_and_names_no_machine(committed):
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text.encode()) < 300_000
    assert not re.search(r"/(home|root|tmp|work|Users|usr|opt)/", text)
    assert "Traceback" not in text
    codes = [cell for cell in committed["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in codes)
    assert [cell["execution_count"] for cell in codes] == list(range(1, len(codes) + 1))


@pytest.mark.slow
def test_every_cell_runs_and_shows_the_kind_of_output_that_is_committed(committed, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    cells = load_script("notebook").executed(tmp_path).cells
    assert [outputs(cell) for cell in cells] == [outputs(cell) for cell in committed["cells"]]
    assert (tmp_path / "submission.csv").is_file()

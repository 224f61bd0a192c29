"""Make docs/tutorial.ipynb from docs/tutorial.py: execute its cells on the sample and keep their outputs.

Run it from anywhere: `python docs/notebook.py`. It needs nbclient and ipykernel, which the extra `dev` installs.
"""

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).parent
SOURCE, NOTEBOOK = DOCS / "tutorial.py", DOCS / "tutorial.ipynb"
MARK = re.compile(r"^# %%(?P<markdown> \[markdown\])?\n", re.MULTILINE)
"""The line that begins a cell, as editors know it."""


def main() -> None:
    """Write the executed notebook."""
    with TemporaryDirectory() as folder:
        notebook = executed(Path(folder))
    NOTEBOOK.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    print(f"Written: {NOTEBOOK.relative_to(DOCS.parent)}")


def executed(folder: Path) -> Any:
    """Return the notebook with the outputs of its cells, which see a copy of the sample in `folder`.

    Raises nbclient's CellExecutionError if a cell fails.
    """
    shutil.copytree(DOCS.parent / "Dataset" / "sample", folder / "Dataset" / "sample")
    notebook = unexecuted()
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=1_200, kernel_name="python3", resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            # Progress bars and their times are of no use to a reader.
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    notebook.metadata = nbformat.from_dict({"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    return notebook


def unexecuted() -> Any:
    """Return the notebook of the source's cells."""
    notebook = nbformat.v4.new_notebook()
    _, *parts = MARK.split(SOURCE.read_text(encoding="utf-8"))
    for number, (kind, text) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        if kind:
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        new = nbformat.v4.new_markdown_cell if kind else nbformat.v4.new_code_cell
        notebook.cells.append(new(text.strip(), id=f"cell-{number}"))
    return notebook


if __name__ == "__main__":
    main()

"""An executed notebook as Markdown; its outputs are shown as they were saved, and nothing is executed."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def as_markdown(notebook: str) -> str:
    """Return the cells of a notebook (the content of an .ipynb file) with their outputs."""
    return "\n\n".join(part for cell in json.loads(notebook)["cells"] for part in _cell(cell)) + "\n"


def _cell(cell: Mapping[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell.get("outputs", ()):
        yield _output(output)


def _output(output: Mapping[str, Any]) -> str:
    """Return one output: HTML if it has any, else a picture, else text."""
    data = output.get("data", {})
    if html := "".join(data.get("text/html", ())) or "".join(data.get("image/svg+xml", ())):
        # A fence of its own length, because a cell may contain one.
        return f'`````{{raw}} html\n<div class="cell-output">\n{html}\n</div>\n`````'
    if picture := "".join(data.get("image/png", ())):
        address = f"data:image/png;base64,{''.join(picture.split())}"
        alternative = "Chart drawn by the cell above"
        return f'`````{{raw}} html\n<img class="cell-output" alt="{alternative}" src="{address}">\n`````'
    text = "".join(output.get("text", ())) or "".join(data.get("text/plain", ()))
    return f"`````{{code-block}} text\n:class: cell-output\n\n{text}\n`````"

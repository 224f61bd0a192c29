"""What a notebook shows for a result: small tables in HTML, in which all text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from pairrank.report.formatting import one_line


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """Return a table whose first column names its rows."""
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(
        f"<tr><th>{_text(name)}</th>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>"
        for name, *cells in rows
    )
    return f"<table><caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def folded(title: str, lines: Iterable[str]) -> str:
    """Return a passage that is shown when a reader opens it; "" without lines."""
    text = "".join(f"<p>{_text(line)}</p>" for line in lines if line)
    return f"<details><summary>{_text(title)}</summary>{text}</details>" if text else ""


def _text(text: str) -> str:
    return escape(one_line(text))

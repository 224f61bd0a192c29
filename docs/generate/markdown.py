"""Markdown for MyST: text without accidental markup, tables, definition lists, and links that lead to pages."""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent

SHOWN_AS = {
    "Dataset/README.md": "reference/battle-files.md",
    "benchmarks/LEADERBOARD.md": "results/leaderboard.md",
    "benchmarks/README.md": "results/speed.md",
    "experiments/LOG.md": "results/log.md",
    "README.md": "index.md",
}
"""File outside of docs/ -> the page that shows its content."""

LINK = re.compile(r"(?P<text>!?\[[^\[\]]*\])\((?!https?:|#|mailto:)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
"""A link to a file, or a picture."""
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
"""A block of code, in which nothing is a link or a heading."""


def text(plain: str) -> str:
    """Return text in which only code between backticks is markup."""
    parts = re.split(r"(`[^`\n]+`)", plain)
    return "".join(part if i % 2 else re.sub(r"([\\*_<>\[\]|$])", r"\\\1", part) for i, part in enumerate(parts))


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows of column -> cell as a table."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([row[column] for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def definitions(items: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return a list of terms, each with the paragraphs that define it."""
    return "\n".join(
        f"{term}\n: " + "\n\n  ".join(" ".join(each.split()) for each in paragraphs if each) + "\n"
        for term, paragraphs in items
    )


def below(markdown: str, levels: int) -> str:
    """Return Markdown whose headings are `levels` lower, without its first heading of level 1."""
    blocks = FENCE.split(re.sub(r"\A# .*\n", "", markdown.lstrip()))
    lower = "#" * (levels + 1)
    return "".join(
        block if i % 2 else re.sub(r"^#", lower, block, flags=re.MULTILINE) for i, block in enumerate(blocks)
    )


def site_links(markdown: str, folder: Path, page: str) -> str:
    """Return Markdown of a file in `folder` with its links changed to what they mean on `page` of the site.

    A file outside of docs/ becomes the page that shows it, or its address in the repository. If pyproject.toml
    names no repository, only the text of the link remains. Raises FileNotFoundError for a link to such a file that
    does not exist; Sphinx finds broken links within docs/.
    """

    def changed(found: re.Match[str]) -> str:
        target, anchor = (folder / found["path"]).resolve(), found["anchor"] or ""
        name = os.path.relpath(target, ROOT).replace(os.sep, "/")
        if target.is_relative_to(DOCS) or name in SHOWN_AS:
            place = DOCS / SHOWN_AS[name] if name in SHOWN_AS else target
            relative = os.path.relpath(place, (DOCS / page).parent).replace(os.sep, "/")
            return f"{found['text']}({relative}{anchor})"
        if not target.exists():
            raise FileNotFoundError(f"{page}: a link to {found['path']}, which does not exist")
        address = repository()
        return f"{found['text']}({address}/blob/main/{name}{anchor})" if address else found["text"][1:-1]

    return "".join(block if i % 2 else LINK.sub(changed, block) for i, block in enumerate(FENCE.split(markdown)))


def repository() -> str:
    """Return the address of the repository from pyproject.toml; "" if it names none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project.get("urls", {}).get("Repository", "")).rstrip("/")

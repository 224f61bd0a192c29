"""The page of battle files: Dataset/README.md, and the columns of every schema from the registry."""

from collections.abc import Sequence

from generate.markdown import ROOT, below, site_links, text
from pairrank.data.formats.base import Schema
from pairrank.data.formats.registry import schemas

PAGE = "reference/battle-files.md"


def page() -> str:
    """Return the rules of reading, and what each schema reads."""
    readme = (ROOT / "Dataset" / "README.md").read_text(encoding="utf-8")
    parts = [
        site_links(below(readme, 1), ROOT / "Dataset", PAGE),
        "## Columns of every schema",
        "The columns of a file tell its schema: the one whose required columns it has. Of several, it is the one "
        "that requires the most columns.",
        *(part for name, schema in schemas().items() for part in _schema(name, schema)),
    ]
    return "\n\n".join(parts) + "\n"


def _schema(name: str, schema: type[Schema]) -> list[str]:
    facts = {
        "Required columns": schema.required,
        "Columns that are read if they exist": schema.optional,
        "Columns that say who has won": schema.verdict,
        "What else its rows give": getattr(schema, "carries", ()),
    }
    lines = [f"- {title}: {_listed(columns)}" for title, columns in facts.items() if columns]
    lines.append(f"- {'Read and written' if schema.is_written else 'Read only'}")
    return [f"### `{name}`", text(schema.about.rstrip(".")) + ".", "\n".join(lines)]


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f"`{column}`" for column in columns)

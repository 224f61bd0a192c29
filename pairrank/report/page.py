"""A self-contained HTML page. Its security policy forbids requests, and any script or style but its own."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pairrank.files import write_text
from pairrank.glossary import Term, find_term
from pairrank.report.charts import Chart
from pairrank.report.formatting import one_line

GLOSSARY = "What the columns mean"
"""Title of the last section of a page with tables."""

PREDICTED = ("experiment", "A", "B", "tie", "loss")
"""Columns of the predictions for one battle."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

PARTS = re.compile(r"[^-+=/_@.,:]*[-+=/_@.,:]+|[^-+=/_@.,:]+")
"""The parts of a name between which a line may break."""

WARNING = (
    "This page shows messages that people and chatbots wrote. Some may be offensive, wrong or personal: consider "
    "this before you share the page."
)


@dataclass(frozen=True)
class Table:
    """A table of plain text; the first cell of a row is its name."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    """A sentence about what the table shows."""
    folded: bool = False
    """Whether only the caption is shown until a reader opens the table."""
    first: tuple[str, ...] = ()
    """Columns, besides the names of the rows, that a phone shows; it shows the others on demand. () for all."""
    terms: Mapping[str, str] = field(default_factory=dict)
    """Column -> the term of the glossary that explains it, where the column has the name of a run or of a slice."""

    def term(self, column: int) -> Term | None:
        """Return the definition of a column, counted from 0; None if the glossary has none."""
        name = self.columns[column]
        return find_term(self.terms.get(name, name))

    def is_later(self, column: int) -> bool:
        """Return whether a phone shows this column, counted from 0, only on demand."""
        return bool(self.first) and column > 0 and self.columns[column] not in self.first


@dataclass(frozen=True)
class Text:
    """A paragraph; or, with a title, a folded passage of preformatted text, such as a configuration."""

    kind: ClassVar[str] = "text"
    text: str
    title: str = ""

    @property
    def preformatted(self) -> bool:
        """Whether line breaks are kept."""
        return bool(self.title)


@dataclass(frozen=True)
class Heading:
    """A heading within a section, for the blocks that follow."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class BattlePrediction:
    """The prediction of one experiment for a battle."""

    label: str
    proba: tuple[float, float, float]
    """Probabilities of A, B and tie."""
    loss: float
    """In nats."""


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation, possibly shortened."""

    prompt: str
    a: str
    b: str


@dataclass(frozen=True)
class Card:
    """A battle for a person to read."""

    id: str
    outcome: str
    """"A wins", "B wins", "tie", or "?" if there is no vote."""
    excerpt: str
    """The beginning of the prompt, on one line."""
    turns: tuple[Turn, ...]
    cut: str
    """A sentence about what is not shown; "" if everything is."""
    model_a: str
    model_b: str
    facets: Mapping[str, Sequence[str]]
    """Name of a filter -> the values for which it shows this battle."""
    reasons: tuple[str, ...] = ()
    """Why the battle is shown."""
    predictions: tuple[BattlePrediction, ...] = ()


@dataclass(frozen=True)
class Cards:
    """Battles with a form to search and filter them."""

    kind: ClassVar[str] = "cards"
    name: str
    cards: Sequence[Card]

    @property
    def filters(self) -> dict[str, list[str]]:
        """Name of a filter -> its sorted values; filters with a single value are left out."""
        found: dict[str, dict[str, None]] = {}
        for card in self.cards:
            for name, values in card.facets.items():
                found.setdefault(name, {}).update(dict.fromkeys(values))
        return {name: sorted(values) for name, values in found.items() if len(values) > 1}


@dataclass(frozen=True)
class Definitions:
    """Terms with their definitions."""

    kind: ClassVar[str] = "definitions"
    terms: Sequence[Term]


Block = Chart | Table | Text | Heading | Cards | Definitions


@dataclass(frozen=True)
class Section:
    """A part of a page with a title of its own."""

    title: str
    blocks: Sequence[Block]
    folded: bool = False
    """Whether only the title is shown until a reader opens the section."""
    is_lead: bool = False
    """Whether texts and charts are placed side by side on a wide screen, as in the first section of a report."""

    @property
    def slug(self) -> str:
        """The title as part of a URL."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"


@dataclass(frozen=True)
class Page:
    """A page for any browser."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    footer: str

    @property
    def anchors(self) -> list[str]:
        """The ids of the sections, made unique: an experiment may have the name of another section."""
        slugs = [section.slug for section in self.sections]
        return [slug if slugs.index(slug) == i else f"{slug}-{i}" for i, slug in enumerate(slugs)]

    @property
    def blocks(self) -> list[Block]:
        """All blocks of all sections."""
        return [block for section in self.sections for block in section.blocks]

    @property
    def shows_battles(self) -> bool:
        """Whether the page shows battles, so that `WARNING` is needed."""
        return any(isinstance(block, Cards) for block in self.blocks)

    @property
    def used_terms(self) -> list[Term]:
        """The terms of all column headers, in alphabetical order."""
        tables = [block for block in self.blocks if isinstance(block, Table)]
        found = [table.term(i) for table in tables for i in range(len(table.columns))]
        if any(card.predictions for block in self.blocks if isinstance(block, Cards) for card in block.cards):
            found += map(find_term, PREDICTED)
        return sorted({term.slug: term for term in found if term}.values(), key=lambda term: term.slug)

    def with_glossary(self) -> "Page":
        """Return the page with a last section that explains its column headers, if it has any."""
        if not self.used_terms:
            return self
        section = Section(GLOSSARY, [Definitions(self.used_terms)], folded=True)
        return replace(self, sections=[*self.sections, section])

    def html(self) -> str:
        """Return the page as HTML."""
        style, script = _asset("style.css"), _asset("script.js")
        # The page may fetch and send nothing, and this style and this script are the only ones allowed.
        policy = (
            f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
            "base-uri 'none'; form-action 'none'"
        )
        template = _environment().get_template("page.html")
        return template.render(
            page=self.with_glossary(),
            style=style,
            script=script,
            policy=policy,
            warning=WARNING,
            predicted=PREDICTED,
        ).lstrip()

    def write(self, path: Path) -> None:
        """Write the page atomically."""
        write_text(path, self.html())


def grouped(blocks: Sequence[Block]) -> Iterable[tuple[str, list[Block]]]:
    """Group adjacent blocks of one kind, so that charts can be placed side by side."""
    return [(kind, list(some)) for kind, some in groupby(blocks, key=lambda block: block.kind)]


def breakable(name: str) -> Markup:
    """Return an untrusted name that a narrow column may break after a sign between words, but not within a word."""
    return Markup("<wbr>").join(escape(part) for part in PARTS.findall(one_line(name)))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pairrank.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_without_controls,
    )
    filters: dict[str, Any] = environment.filters
    filters["grouped"] = grouped
    filters["name"] = one_line
    filters["breakable"] = breakable
    filters["term"] = find_term
    return environment


def _without_controls(value: Any) -> Any:
    """Replace control characters in text, except line breaks and tabs: they could hide text from search."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return CONTROL.sub("�", value)


@cache
def _asset(name: str) -> str:
    return files("pairrank.report").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return the hash by which a content security policy allows a script or a style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

"""One HTML file that needs nothing else: no network, no server, no script or style but its own, by hash."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pairrank.files import write_text
from pairrank.report.charts import Chart
from pairrank.report.wording import one_line

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

WARNING = (
    "This page shows what people and chatbots wrote to each other. Some of it may be offensive, wrong or personal: "
    "think before you pass it on."
)


@dataclass(frozen=True)
class Table:
    """Rows of plain text under named columns; the first cell of a row names it."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    """What to see in it."""
    folded: bool = False
    """Show the caption alone until it is opened."""


@dataclass(frozen=True)
class Text:
    """A paragraph; or, with a title, a folded passage as it stands, such as a configuration."""

    kind: ClassVar[str] = "text"
    text: str
    title: str = ""

    @property
    def preformatted(self) -> bool:
        """Whether line breaks count."""
        return bool(self.title)


@dataclass(frozen=True)
class Heading:
    """What the following blocks of a section are of."""

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
    """One turn of a conversation, perhaps shortened."""

    prompt: str
    a: str
    b: str


@dataclass(frozen=True)
class Card:
    """A battle to be read."""

    id: str
    outcome: str
    """"A wins", "B wins", "tie", or "?" where nobody has voted."""
    excerpt: str
    """The beginning of its prompt, in one line."""
    turns: tuple[Turn, ...]
    cut: str
    """What was left out, in words; "" where nothing was."""
    model_a: str
    model_b: str
    facets: Mapping[str, Sequence[str]]
    """Name of a filter -> the values this battle goes by."""
    reasons: tuple[str, ...] = ()
    """Why it is shown."""
    predictions: tuple[BattlePrediction, ...] = ()


@dataclass(frozen=True)
class Cards:
    """Battles that can be searched and filtered."""

    kind: ClassVar[str] = "cards"
    name: str
    cards: Sequence[Card]

    @property
    def filters(self) -> dict[str, list[str]]:
        """Name of a filter -> its values, those of more than one alone."""
        found: dict[str, dict[str, None]] = {}
        for card in self.cards:
            for name, values in card.facets.items():
                found.setdefault(name, {}).update(dict.fromkeys(values))
        return {name: sorted(values) for name, values in found.items() if len(values) > 1}


Block = Chart | Table | Text | Heading | Cards


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    title: str
    blocks: Sequence[Block]

    @property
    def slug(self) -> str:
        """Its title as part of an address."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"


@dataclass(frozen=True)
class Page:
    """A page to be read in any browser."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    footer: str

    @property
    def anchors(self) -> list[str]:
        """What an address calls each section: no two alike, though an experiment may be called like a part."""
        slugs = [section.slug for section in self.sections]
        return [slug if slugs.index(slug) == i else f"{slug}-{i}" for i, slug in enumerate(slugs)]

    @property
    def blocks(self) -> list[Block]:
        """Everything on it."""
        return [block for section in self.sections for block in section.blocks]

    @property
    def shows_battles(self) -> bool:
        """Whether its reader must be warned."""
        return any(isinstance(block, Cards) for block in self.blocks)

    def html(self) -> str:
        """The whole file."""
        style, script = _asset("style.css"), _asset("script.js")
        # Nothing may be fetched and nothing sent; of styles and scripts these two alone are taken.
        policy = (
            f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
            "base-uri 'none'; form-action 'none'"
        )
        template = _environment().get_template("page.html")
        return template.render(page=self, style=style, script=script, policy=policy, warning=WARNING).lstrip()

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_text(path, self.html())


def grouped(blocks: Sequence[Block]) -> Iterable[tuple[str, list[Block]]]:
    """Neighbours of one kind together: charts stand side by side where there is room."""
    return [(kind, list(some)) for kind, some in groupby(blocks, key=lambda block: block.kind)]


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
    return environment


def _without_controls(value: Any) -> Any:
    """Text without control characters but line breaks and tabs, which a file of text need not hold."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return CONTROL.sub("�", value)


@cache
def _asset(name: str) -> str:
    return files("pairrank.report").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """As a security policy names a script or a style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

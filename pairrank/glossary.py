"""Every column header and every term that pairrank shows is defined once, in glossary.toml."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

ENDING = re.compile(r" (\[95 %[^\]]*\]|± s\.e\.)$")
"""What a header adds to a term: its interval or its standard error."""

MOST_SIMILAR = 5
"""Largest number of terms that are suggested for an unknown one."""


@dataclass(frozen=True)
class Term:
    """A term with its definition."""

    name: str
    text: str
    """The definition, in one or more sentences; a term has one definition for all tables."""
    also: tuple[str, ...] = ()
    """Other spellings, and column headers with the same meaning."""
    see: tuple[str, ...] = ()
    """Names of related terms."""

    @property
    def slug(self) -> str:
        """The name as part of a URL and as the id of an element."""
        # A and a, or Fold and fold, are one term; Greek letters have no place in a URL.
        plain = self.name.lower().replace("δ", "delta")
        return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


@cache
def terms() -> Mapping[str, Term]:
    """Return all terms by name, in alphabetical order."""
    table = tomllib.loads(files("pairrank").joinpath("glossary.toml").read_text(encoding="utf-8"))
    found = [
        Term(each["name"], each["text"], tuple(each.get("also", ())), tuple(each.get("see", ())))
        for each in table["term"]
    ]
    return {each.name: each for each in sorted(found, key=lambda each: each.slug)}


def find_term(text: str) -> Term | None:
    """Return the term of this name, spelling or column header; None if the glossary has none.

    A header may end in "[95 %]" or "± s.e.", and "Δ" may be followed by the name of a run. Capital letters matter
    only where two terms differ in nothing else.
    """
    plain = " ".join(ENDING.sub("", text).split())
    if plain.startswith("Δ "):
        plain = "Δ"
    return _spellings().get(plain) or _spellings().get(plain.lower())


def similar_terms(text: str) -> list[str]:
    """Return the names of the terms that an unknown one may mean, the most similar first."""
    spellings = _spellings()
    small = [name for name in spellings if name == name.lower()]
    close = get_close_matches(text[:200].lower(), small, MOST_SIMILAR)
    parts = [name for name in spellings if text and text.lower() in name.lower()]
    return list(dict.fromkeys(spellings[name].name for name in (*close, *parts)))[:MOST_SIMILAR]


@cache
def _spellings() -> Mapping[str, Term]:
    """Return the terms by every spelling, as written and in small letters; a name comes before a spelling."""
    found: dict[str, Term] = {}
    for term in terms().values():
        found.setdefault(term.name, term)
    for term in terms().values():
        for name in term.also:
            found.setdefault(name, term)
    for name, term in list(found.items()):
        found.setdefault(name.lower(), term)
    return found

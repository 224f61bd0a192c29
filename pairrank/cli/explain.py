"""`explain` prints the definition of a term or a column header, and the list of all terms."""

import textwrap

from pairrank.cli.console import say, text_width
from pairrank.errors import UserError, excerpt
from pairrank.glossary import find_term, similar_terms, terms


def explain(text: str) -> None:
    """Print the definition of a term; without one, print the names of all terms.

    Raises UserError for an unknown term, with the most similar ones.
    """
    if not text.strip():
        _list_terms()
        return
    term = find_term(text)
    if term is None:
        similar = similar_terms(text)
        hint = f" Did you mean {' or '.join(map(repr, similar))}?" if similar else ""
        raise UserError(f"the glossary has no term {excerpt(text)}.{hint} `explain` alone lists all terms.")
    say(term.name)
    _print(term.text)
    if term.also:
        _print(f"Also: {'; '.join(term.also)}")
    if term.see:
        _print(f"See: {', '.join(term.see)}")


def _list_terms() -> None:
    """Print the names of all terms in columns that fit the terminal."""
    names = list(terms())
    width = max(map(len, names)) + 2
    across = max(1, text_width() // width)
    for start in range(0, len(names), across):
        say("".join(name.ljust(width) for name in names[start : start + across]).rstrip())
    say("")
    say("To see a definition: explain TERM")


def _print(text: str) -> None:
    for line in textwrap.wrap(
        text, text_width(), initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    ):
        say(line)

"""The page of the glossary, from pairrank/glossary.toml."""

from generate.markdown import text
from pairrank.glossary import Term, terms


def page() -> str:
    """Return all terms with an anchor each, so that other pages can link to them."""
    return "\n\n".join(_entry(term) for term in terms().values()) + "\n"


def _entry(term: Term) -> str:
    related = ", ".join(f"[{text(name)}](#term-{terms()[name].slug})" for name in term.see)
    parts = [
        f"(term-{term.slug})=\n### {text(term.name)}",
        text(term.text),
        f"Also: {text('; '.join(term.also))}" if term.also else "",
        f"See: {related}" if related else "",
    ]
    return "\n\n".join(filter(None, parts))

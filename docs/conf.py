"""The site: `python -m sphinx -W --keep-going docs build/site` builds it without a network.

Pages are Markdown. A page with the line `MARK` gets generated content in its place, from the module of
docs/generate that `GENERATED` names, so that no generated file lies in the repository.
"""

import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from generate import battle_files, command_line, experiment_files, glossary, notebook, results  # noqa: E402
from generate.markdown import site_links  # noqa: E402

MARK = "<!-- generated -->"
GENERATED: dict[str, Callable[[], str]] = {
    "reference/command-line": command_line.page,
    "reference/experiment-files": experiment_files.page,
    "reference/battle-files": battle_files.page,
    "reference/glossary": glossary.page,
    "results/index": results.overview,
    "results/leaderboard": results.leaderboard,
    "results/learning-curves": results.learning_curves,
    "results/speed": results.speed,
    "results/log": results.log,
}
"""Page -> function that returns its generated part."""

project = "pairrank"
author = "The authors of pairrank"
release = metadata.version("pairrank")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
# The notebook was executed by docs/notebook.py and is shown as Markdown: a notebook extension would add a Jupyter
# cache, a database and a second parser for one page.
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
suppress_warnings = [
    "misc.highlighting_failure",  # cells of notebooks with shell commands (!pip) are no pure Python
    "myst.header",  # a generated part may begin two levels below the title of its page
]


autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 70
default_role = "code"  # docstrings write code between single backticks

# The PyData theme: numpy, pandas and scikit-learn use it, so readers know it, and it has had releases throughout
# 2026, for the present Sphinx. It has a dark mode, works on phones, and loads nothing from the network. Furo is
# smaller, but its last release is of 2025, and it needs a beta version of another package.
html_theme = "pydata_sphinx_theme"
html_title = "pairrank"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "pairrank"},
    "show_prev_next": False,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copyright = f"{author}, Apache-2.0"  # noqa: A001  # Sphinx's name


def setup(app: Sphinx) -> None:
    """Fill the generated pages, show the notebook, and read docstrings as plain text with code."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _escape)


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the source of a page by what MyST parses."""
    file = Path(app.env.doc2path(page))
    if file.suffix == ".ipynb":
        source[0] = notebook.as_markdown(source[0])
    source[0] = site_links(source[0], file.parent, f"{page}.md")
    if page in GENERATED:
        if MARK not in source[0]:
            raise ValueError(f"{file}: the line {MARK} is missing")
        source[0] = source[0].replace(MARK, GENERATED[page]())


def _escape(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Escape the signs in a docstring that reStructuredText reads as markup, such as those of |a - b|."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        lines[number] = "".join(part if i % 2 else re.sub(r"([|*])", r"\\\1", part) for i, part in enumerate(parts))

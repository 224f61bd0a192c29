"""A chart is a matplotlib figure with a caption and an alternative text, drawn as inline SVG or into a file."""

import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, ClassVar, ParamSpec
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from pairrank.atomic import atomic_path
from pairrank.report.formatting import one_line
from pairrank.report.marks import Mark, Marks

INK, PAPER, FAINT = "#1b1f24", "#ffffff", "#c9ced6"
"""Colours of text and axes, background, and grid; the page's style sheet replaces them on a dark screen."""
BLUE, RED, GREY, GREEN, YELLOW, PURPLE = "#0072b2", "#d55e00", "#7d8590", "#009e73", "#e69f00", "#cc79a7"
"""The palette of Okabe and Ito (2008), which colour-blind people can distinguish, and a grey."""
OUTCOMES = {"A wins": BLUE, "B wins": RED, "tie": GREY}
ON_LIGHT, ON_DARK = "#000001", "#fffffe"
"""Colours of text on a coloured cell; they differ from `INK` and `PAPER`, so the style sheet leaves them alone."""
CYCLE = (BLUE, RED, GREEN, PURPLE, YELLOW, GREY, INK)
MARKERS = "osD^vPX"
"""One marker per colour of `CYCLE`, so that lines differ by more than their colour."""

WIDTH = 4.4
"""Width of a figure in inches, at which its text is readable on a phone."""

STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}

SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"
UNDATED: dict[str, dict[str, None]] = {".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}
"""Metadata by the suffix of a file: without the time, the same figure gives the same bytes."""
# The CSS shorthand that matplotlib writes: weight and style, size, family.
FONT = re.compile(r"(?P<before>[\w ]*?)(?P<size>[\d.]+)px (?P<family>.+)")

P = ParamSpec("P")


@dataclass(frozen=True)
class Chart:
    """A figure to be shown in a page, a notebook or a file."""

    kind: ClassVar[str] = "chart"
    name: str
    """Unique within a page; letters, digits and dashes."""
    figure: Figure
    caption: str
    """Sentences about what the figure shows."""
    alt: str
    """Alternative text for readers who cannot see the figure."""
    marks: Marks = field(default_factory=Marks)
    """What the elements of the figure stand for."""

    def svg(self) -> str:
        """Return the figure as inline SVG without styles, which a strict content security policy allows."""
        text = io.StringIO()
        with mpl.rc_context(STYLE | {"svg.hashsalt": self.name}), _any_glyph():
            self.figure.savefig(text, format="svg", metadata=UNDATED[".svg"])
        return inline(text.getvalue(), self.name, self.alt, self.marks)

    def save(self, path: str | Path) -> None:
        """Write the figure as .png, .svg or .pdf, according to the suffix of `path`; the same bytes each time."""
        path = Path(path)
        salted = mpl.rc_context(STYLE | {"svg.hashsalt": self.name})
        with salted, _any_glyph(), atomic_path(path) as temporary:
            self.figure.savefig(temporary, dpi=150, metadata=UNDATED.get(path.suffix.lower()))

    def _repr_html_(self) -> str:
        return f"<figure>{self.svg()}<figcaption>{escape(self.caption)}</figcaption></figure>"


def styled(draw: Callable[P, Chart]) -> Callable[P, Chart]:
    """Decorate a drawing function: apply pairrank's style while it draws, and leave the user's style unchanged."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Chart:
        with mpl.rc_context(STYLE), _any_glyph():
            chart = draw(*args, **kwargs)
            # Laid out once, because every further layout would move elements slightly. Without an engine, saving
            # draws the figure once instead of twice.
            if (engine := chart.figure.get_layout_engine()) is not None:
                engine.execute(chart.figure)
            chart.figure.set_layout_engine(None)
            return chart

    return drawn


@contextmanager
def _any_glyph() -> Iterator[None]:
    """Suppress warnings about glyphs that the font lacks; matplotlib measures a placeholder for them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")
        yield


def new_axes(height: float, rows: int = 1, **options: Any) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of `WIDTH` x `height` inches and its `rows` axes, one below the other."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, 1, squeeze=False, **options)[:, 0].tolist()


def label(name: str, longest: int = 34) -> str:
    """Return an untrusted name as a label: printable, on one line, not a formula, at most `longest` characters."""
    plain = one_line(name)
    plain = plain if len(plain) <= longest else plain[: longest - 1] + "…"
    # Matplotlib reads text between dollars as a formula, and legends omit labels with a leading underscore.
    return (" " * plain.startswith("_") + plain).replace("$", r"\$")


def heat_map(
    axes: Axes,
    values: npt.NDArray[np.float64],
    names: Sequence[str],
    cells: Sequence[str],
    size: float = 6,
    columns: Sequence[str] | None = None,
) -> QuadMesh:
    """Draw a matrix of values from 0 to 1 as coloured cells with texts.

    `names` are those of the rows and, unless `columns` are given, of the columns. `cells` are the texts, row by
    row; a cell whose value is NaN is left empty. Returns the mesh, whose cells can be marked.
    """
    columns = names if columns is None else columns
    mesh = axes.pcolormesh(np.ma.masked_invalid(values), cmap="cividis", vmin=0, vmax=1, edgecolors="face")
    for i, (value, cell) in enumerate(zip(values.ravel(), cells, strict=True)):
        if not np.isnan(value):
            red, green, blue, _ = mesh.cmap(float(value))
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            axes.text(
                i % len(columns) + 0.5,
                i // len(columns) + 0.5,
                cell,
                ha="center",
                va="center",
                fontsize=size,
                color=ON_LIGHT if light else ON_DARK,
                in_layout=False,  # it lies within the axes, and measuring hundreds of cells takes long
            )
    rotation: dict[str, Any] = {"rotation": 60, "ha": "right"} if max(map(len, columns), default=0) > 3 else {}
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=7, **rotation)
    axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=7)
    axes.invert_yaxis()
    axes.grid(visible=False)
    return mesh


def cell_marks(names: Sequence[str], columns: Sequence[str], cells: Sequence[str], unit: str = "") -> list[Mark]:
    """Return the marks of the cells of a heat map, row by row, whose columns are runs."""
    places = ((name, run) for name in names for run in columns)
    return [Mark(f"{run}, {name}: {cell}{unit}", run) for (name, run), cell in zip(places, cells, strict=True)]


def inline(svg: str, name: str, alt: str, marks: Marks | None = None) -> str:
    """Return matplotlib's SVG with styles turned into attributes, ids prefixed by `name`, and numbers rounded."""
    root = ElementTree.fromstring(svg[svg.index("<svg") :])  # noqa: S314  # matplotlib wrote it just now
    used = set(re.findall(r"(?:url\(|href=\")#([\w-]+)", svg))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
        attributes = {key.removeprefix(f"{{{SVG}}}"): value for key, value in element.attrib.items()}
        attributes |= _attributes(attributes.pop("style", ""))
        if (link := attributes.pop(LINK, None)) is not None:
            attributes["href"] = link
        element.attrib.clear()
        element.attrib.update(attributes)
    (marks or Marks()).annotate(root)
    for element in root.iter():
        attributes = dict(element.attrib)
        if attributes.get("id", "") not in used:
            attributes.pop("id", None)
        element.attrib.clear()
        element.attrib.update({key: _short(key, value, name) for key, value in attributes.items()})
        element.text, element.tail = _stripped(element.text), _stripped(element.tail)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    # Matplotlib sets the line style in a style sheet, which would apply to the whole page.
    root.attrib |= {"role": "img", "aria-label": alt, "stroke-linejoin": "round", "stroke-linecap": "butt"}
    root.attrib["xmlns"] = SVG
    return ElementTree.tostring(root, encoding="unicode")


def _attributes(style: str) -> dict[str, str]:
    """Return the declarations of a style attribute as presentation attributes, which SVG has for all of them."""
    declared = dict(part.split(":", 1) for part in style.split(";") if ":" in part)
    found = {key.strip(): value.strip() for key, value in declared.items()}
    if "font" in found and (font := FONT.fullmatch(found.pop("font"))):
        found |= {"font-size": font["size"], "font-family": font["family"].replace("'", "")}
        if "bold" in font["before"] or "700" in font["before"]:
            found["font-weight"] = "bold"
    return found


def _short(key: str, value: str, name: str) -> str:
    """Return the value of an attribute with ids prefixed by `name` and numbers rounded to 0.01 points."""
    if key == "id":
        return f"{name}-{value}"
    value = re.sub(r"url\(#([\w-]+)\)", rf"url(#{name}-\1)", value)
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    if key in ("d", "x", "y", "width", "height", "transform", "points"):
        value = re.sub(r"-?\d+\.\d{3,}(?!e)", lambda found: f"{float(found[0]):.2f}", value)
        value = re.sub(r"\s+", " ", value).strip()
    return value


def _stripped(text: str | None) -> str | None:
    return text if text and text.strip() else None

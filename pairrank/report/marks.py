"""What the elements of a chart stand for, so that a page can show their values and highlight one run everywhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement

from matplotlib.artist import Artist

from pairrank.report.formatting import one_line

PREFIX = "marks-"
"""Begins the ids of the groups of a chart that have marks."""


@dataclass(frozen=True)
class Mark:
    """What a point, a bar or a cell of a chart stands for."""

    text: str
    """Its value as a reader should see it, with what it is the value of."""
    run: str = ""
    """The run that it belongs to; elements of one run are highlighted together. "" for none."""


@dataclass
class Marks:
    """The marks of a chart by the group of its SVG that has their elements, in the order of drawing."""

    groups: dict[str, tuple[Mark, ...]] = field(default_factory=dict)

    def add(self, artist: Artist, marks: Iterable[Mark]) -> None:
        """Mark the points of a line or the cells of a mesh, or with one mark a whole artist such as a bar."""
        name = f"{PREFIX}{len(self.groups)}"
        artist.set_gid(name)
        self.groups[name] = tuple(marks)

    def add_each(self, artists: Iterable[Artist], marks: Iterable[Mark]) -> None:
        """Mark artists one by one, such as the bars of a bar chart or the labels of an axis."""
        for artist, mark in zip(artists, marks, strict=True):
            self.add(artist, [mark])

    def annotate(self, root: Element) -> None:
        """Write the marks into the elements of an SVG: a class, the run and, as the title, the text."""
        for group in list(root.iter()):
            marks = self.groups.get(group.attrib.get("id", ""))
            if marks:
                _annotate_group(group, marks)


def _annotate_group(group: Element, marks: Sequence[Mark]) -> None:
    elements = [each for each in group.iter() if each.tag == "use"]
    if len(marks) == 1 and len(elements) != 1:
        elements = [group]
    # Matplotlib leaves out points that are not finite or outside the figure; then nobody knows which are left.
    if len(elements) == len(marks):
        for element, mark in zip(elements, marks, strict=True):
            element.set("class", "mark")
            if mark.run:
                element.set("data-run", one_line(mark.run))
            title = SubElement(element, "title")
            title.text = one_line(mark.text)

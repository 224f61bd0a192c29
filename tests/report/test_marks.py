"""Values of charts: the marks of the SVG are those of the figure, in its order, with the run they belong to."""

from xml.etree import ElementTree

import pytest

from pairrank.report.charts import SVG, Chart, new_axes, styled
from pairrank.report.leaderboard_charts import difference_plot, leaderboard_plot
from pairrank.report.marks import Mark, Marks
from tests.support.pages import made_up_results


def marked(chart: Chart) -> list[tuple[str, str, str]]:
    """Return tag, run and text of every marked element, in the order of the SVG."""
    root = ElementTree.fromstring(chart.svg())
    return [
        (
            element.tag.removeprefix(f"{{{SVG}}}"),
            element.get("data-run", ""),
            element.findtext(f"{{{SVG}}}title", ""),
        )
        for element in root.iter()
        if element.get("class") == "mark"
    ]


@styled
def three_points(values: list[float], texts: list[Mark]) -> Chart:
    figure, [axes] = new_axes(2)
    marks = Marks()
    marks.add(axes.plot([1, 2, 3], values, "o")[0], texts)
    marks.add_each(axes.bar([1, 2], [1, 1]), [Mark("first bar"), Mark("second bar", "r")])
    return Chart("three", figure, "caption", "alt", marks)


def test_points_and_bars_have_the_text_and_the_run_of_their_marks():
    found = marked(three_points([1, 2, 3], [Mark("a", "x"), Mark("b"), Mark('<b>"c"\u202e', '<i>"y"')]))
    assert sorted(found) == sorted(
        [
            ("use", "x", "a"),
            ("use", "", "b"),
            ("use", '<i>"y"', '<b>"c"�'),
            ("g", "", "first bar"),
            ("g", "r", "second bar"),
        ]
    )
    assert [text for tag, _, text in found if tag == "use"] == ["a", "b", '<b>"c"�']


def test_points_that_are_not_all_drawn_have_no_marks_rather_than_wrong_ones():
    found = marked(three_points([1, float("nan"), 3], [Mark("a"), Mark("b"), Mark("c")]))
    assert [tag for tag, _, _ in found] == ["g", "g"]


def test_each_artist_needs_a_mark():
    figure, [axes] = new_axes(1)
    with pytest.raises(ValueError, match="zip"):
        Marks().add_each(axes.bar([1, 2], [1, 1]), [Mark("one")])
    assert figure.axes == [axes]


def test_the_dots_of_the_leaderboard_are_those_of_its_rows():
    board = made_up_results().leaderboard
    dots = {
        text.split(": log loss ")[1].split()[0]: run
        for tag, run, text in marked(leaderboard_plot(board))
        if tag == "use"
    }
    assert dots == {f"{row.log_loss:.4f}": row.label for row in board.rows}
    labels = [run for tag, run, _ in marked(difference_plot(board)) if tag == "g"]
    assert set(labels) == {row.label for row in board.rows if row.label != "prior"}


def test_a_short_leaderboard_chart_has_the_best_rows_and_the_reference():
    board = made_up_results().leaderboard
    drawn = {run for tag, run, _ in marked(leaderboard_plot(board, 2)) if tag == "use"}
    assert drawn == {board.rows[0].label, board.rows[1].label, "prior"}

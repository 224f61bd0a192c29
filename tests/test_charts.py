import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from pages import HISTORY_ROWS, NAME, hostile_battles, made_up_results

from pairrank.ratings import fit_ratings
from pairrank.report import data_charts, model_charts
from pairrank.report.charts import Chart, label, new_axes, styled
from pairrank.report.judged import Results
from pairrank.simulate import simulate
from pairrank.slices import slices_of
from pairrank.survey import survey_of


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up_results()


@pytest.fixture(scope="module")
def charts(results: Results) -> dict[str, Chart]:
    """One of each."""
    survey, one = results.survey, next(run for run in results.judged if run.label == "one")
    drawn = [
        data_charts.label_counts(survey),
        data_charts.length_histograms(survey.chars, "characters"),
        data_charts.length_histograms(survey.chars[:5], "tokens (tiny)", " of 5 battles"),
        data_charts.turn_counts(survey),
        data_charts.languages(survey),
        data_charts.model_strengths(fit_ratings(survey.textless())),
        data_charts.pair_heat_map(survey),
        data_charts.length_effect(survey),
        model_charts.leaderboard_plot(results.board),
        model_charts.cost_plot(results.board, "training_seconds"),
        model_charts.cost_plot(results.board, "parameters"),
        model_charts.learning_curves("one", "run0", HISTORY_ROWS),
        model_charts.reliability_plot("run0", [one], "one"),
        model_charts.confusion_plot("run0", one),
        model_charts.slice_plot("run0", "one", results.slices(one), one.log_loss),
        model_charts.agreement_map(results.judged),
    ]
    return {chart.name: chart for chart in drawn}


def test_every_chart_says_what_to_see_and_what_it_measures(charts: dict[str, Chart]):
    assert len(charts) == 16  # so each has a name of its own
    for chart in charts.values():
        assert len(chart.caption) > 40
        assert len(chart.alt) > 20
        below = chart.figure.axes[-1]
        for axes in chart.figure.axes:
            assert axes.get_ylabel(), chart.name
            assert axes.get_xlabel() or (axes is not below and axes.get_shared_x_axes().joined(axes, below)), (
                chart.name
            )


def test_inline_svg_needs_no_style_and_its_ids_are_its_own(charts: dict[str, Chart]):
    seen: set[str] = set()
    for chart in charts.values():
        root = ElementTree.fromstring(chart.svg())
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"] == chart.alt
        ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert not seen & set(ids)
        assert len(ids) == len(set(ids))
        seen |= set(ids)
        for element in root.iter():
            assert "style" not in element.attrib
            assert not element.tag.endswith(("style", "image", "script", "metadata"))
            for key, value in element.attrib.items():
                for used in re.findall(r"#([\w-]+)\)$", value) if "url(" in value else []:
                    assert used in ids
                if key == "href":
                    assert value[1:] in ids


def test_the_same_chart_is_the_same_svg(results: Results):
    first, second = (model_charts.leaderboard_plot(results.board).svg() for _ in range(2))
    assert first == second


def test_an_untrusted_name_is_text_in_a_picture(charts: dict[str, Chart]):
    texts = "".join(ElementTree.fromstring(charts["strengths"].svg()).itertext())
    assert "a$b$ <b>|`� evil" in texts
    assert "\u202e" not in texts
    assert label(NAME).startswith(r"a\$b\$ <b>")
    assert label("x" * 50) == "x" * 33 + "…"


def test_a_name_in_a_script_that_the_font_lacks_is_no_warning():
    @styled
    def draw() -> Chart:
        figure, [axes] = new_axes(2)
        axes.set_title("模型 🦙")
        return Chart("glyphs", figure, "caption", "alt")

    assert "模型 🦙" in draw().svg()


def test_the_users_own_style_is_left_alone():
    before = dict(mpl.rcParams)
    data_charts.label_counts(survey_of(simulate(5)[0])).svg()
    assert dict(mpl.rcParams) == before


def test_a_chart_stands_in_a_notebook_and_in_a_file(charts: dict[str, Chart], tmp_path):
    html = charts["labels"]._repr_html_()
    assert html.startswith("<figure><svg")
    assert charts["labels"].caption in html
    charts["labels"].save(tmp_path / "labels.png")
    assert (tmp_path / "labels.png").read_bytes().startswith(b"\x89PNG")


def test_bars_and_cells_are_what_was_counted(results: Results):
    survey = results.survey
    bars = data_charts.label_counts(survey).figure.axes[0].patches
    assert [bar.get_height() for bar in bars] == [int((survey.winner == i).sum()) for i in range(3)]
    one = next(run for run in results.judged if run.label == "one")
    cells = [text.get_text().split("\n")[0] for text in model_charts.confusion_plot("r", one).figure.axes[0].texts]
    expected = [
        int(((one.winner == came) & (one.proba.argmax(axis=1) == said)).sum())
        for came in range(3)
        for said in range(3)
    ]
    assert [int(cell.replace(",", "")) for cell in cells] == expected


def test_win_rates_in_the_heat_map_count_a_tie_as_half():
    battles, _ = simulate(400)
    survey = survey_of(battles)
    axes = data_charts.pair_heat_map(survey).figure.axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    cells = {(int(t.get_position()[1]), int(t.get_position()[0])): int(t.get_text()) for t in axes.texts}
    assert len(cells) > 20
    for (i, j), shown in cells.items():
        a, b = names[i], names[j]
        ahead = (battles.model_a == a) & (battles.model_b == b)
        behind = (battles.model_a == b) & (battles.model_b == a)
        points = np.r_[np.array([1, 0, 0.5])[battles.labels[ahead]], np.array([0, 1, 0.5])[battles.labels[behind]]]
        assert len(points) >= 3
        assert shown == round(100 * points.mean()) or abs(shown - 100 * points.mean()) <= 0.5


def test_the_pareto_front_is_what_nothing_cheaper_beats(results: Results):
    rows = [row for row in results.board.rows if row.parameters]
    front = model_charts.pareto(rows, "parameters")
    for row in rows:
        beaten = any(
            (other.parameters <= row.parameters and other.log_loss < row.log_loss)
            or (other.parameters < row.parameters and other.log_loss <= row.log_loss)
            for other in rows
        )
        assert (row in front) == (not beaten)


def test_agreement_is_on_battles_that_both_have_predicted(results: Results):
    runs = {run.label: run for run in results.judged}
    stranger, two = runs["x$y$ <i>"], runs["two"]
    assert model_charts.agreement(two, two) == 1.0
    assert model_charts.agreement(stranger, two) == 1.0  # half of two's own predictions
    assert model_charts.agreement(runs["one"], two) == pytest.approx(
        (runs["one"].proba.argmax(axis=1) == two.proba.argmax(axis=1)).mean()
    )


def test_charts_of_nearly_nothing_are_drawn():
    battles = hostile_battles(24).take(slice(1))
    survey = survey_of(battles)
    for chart in (
        data_charts.label_counts(survey),
        data_charts.length_histograms(survey.chars, "characters"),
        data_charts.turn_counts(survey),
        data_charts.languages(survey),
        data_charts.length_effect(survey),
        data_charts.pair_heat_map(survey),
    ):
        assert "<svg" in chart.svg()
    assert slices_of(survey, np.full((1, 3), 1 / 3))

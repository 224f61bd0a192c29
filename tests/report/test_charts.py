import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from pairrank.data.simulation import simulate
from pairrank.evaluation.intervals import wilson
from pairrank.evaluation.leaderboard import build_leaderboard
from pairrank.evaluation.scoring import reliability
from pairrank.evaluation.slices import slices_of
from pairrank.evaluation.survey import survey_of
from pairrank.features.ratings import fit_ratings
from pairrank.report import data_charts, leaderboard_charts, model_charts
from pairrank.report.charts import SVG, Chart, inline, label, new_axes, styled
from pairrank.report.scored_runs import Results
from tests.support.pages import HISTORY_ROWS, NAME, hostile_battles, made_up_entries, made_up_results


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up_results()


@pytest.fixture(scope="module")
def charts(results: Results) -> dict[str, Chart]:
    """One of each."""
    survey, one = results.survey, next(run for run in results.runs if run.label == "one")
    drawn = [
        data_charts.label_counts(survey),
        data_charts.length_histograms(survey.chars, "characters"),
        data_charts.length_histograms(survey.chars[:5], "tokens (tiny)", " of 5 battles"),
        data_charts.turn_counts(survey),
        data_charts.languages(survey),
        data_charts.model_strengths(fit_ratings(survey.without_text())),
        data_charts.pair_heat_map(survey),
        data_charts.length_effect(survey),
        leaderboard_charts.leaderboard_plot(results.leaderboard),
        leaderboard_charts.cost_plot(results.leaderboard, "training_seconds"),
        leaderboard_charts.cost_plot(results.leaderboard, "parameters"),
        leaderboard_charts.difference_plot(results.leaderboard),
        model_charts.learning_curves("one", "run0", HISTORY_ROWS),
        model_charts.reliability_plot("run0", [one], "one"),
        model_charts.confusion_plot("run0", one),
        model_charts.slice_plot("run0", "one", results.slices(one), one.log_loss),
        model_charts.agreement_map(results.runs),
    ]
    return {chart.name: chart for chart in drawn}


def test_every_chart_has_a_caption_an_alternative_text_and_axis_labels(charts: dict[str, Chart]):
    assert len(charts) == 17  # names are unique
    for chart in charts.values():
        assert len(chart.caption) > 40
        assert len(chart.alt) > 20
        below = chart.figure.axes[-1]
        for axes in chart.figure.axes:
            assert axes.get_ylabel(), chart.name
            assert axes.get_xlabel() or (axes is not below and axes.get_shared_x_axes().joined(axes, below)), (
                chart.name
            )


def test_axis_labels_lie_within_the_figure(charts: dict[str, Chart]):
    for chart in charts.values():
        width, height = chart.figure.canvas.get_width_height()
        for axes in chart.figure.axes:
            for text in (axes.xaxis.label, axes.yaxis.label):
                box = text.get_window_extent()
                inside = min(box.x0, box.y0, width - box.x1, height - box.y1) > -1
                assert inside or not text.get_text(), (chart.name, text.get_text())


def test_inline_svg_has_no_style_and_its_ids_are_unique(charts: dict[str, Chart]):
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


def test_inline_turns_a_font_shorthand_into_attributes():
    """Some versions of matplotlib write it."""
    svg = (
        f'<svg xmlns="{SVG}"><text style="font: bold 8.5px \'DejaVu Sans\', sans-serif; fill: #fff">x</text></svg>'
    )
    [text] = ElementTree.fromstring(inline(svg, "n", "alt"))
    wanted = {"font-size": "8.5", "font-family": "DejaVu Sans, sans-serif", "font-weight": "bold", "fill": "#fff"}
    assert text.attrib == wanted


def test_drawing_a_chart_again_gives_the_same_svg(results: Results):
    first, second = (leaderboard_charts.leaderboard_plot(results.leaderboard).svg() for _ in range(2))
    assert first == second


def test_an_untrusted_name_is_text_in_a_chart(charts: dict[str, Chart]):
    texts = "".join(ElementTree.fromstring(charts["strengths"].svg()).itertext())
    assert "a$b$ <b>|`� evil" in texts
    assert "\u202e" not in texts
    assert label(NAME).startswith(r"a\$b\$ <b>")
    assert label("x" * 50) == "x" * 33 + "…"
    assert label("_hidden") == " _hidden"  # legends omit labels with a leading underscore


def test_a_glyph_that_the_font_lacks_raises_no_warning():
    @styled
    def draw() -> Chart:
        figure, [axes] = new_axes(2)
        axes.set_title("模型 🦙")
        return Chart("glyphs", figure, "caption", "alt")

    assert "模型 🦙" in draw().svg()


def test_drawing_leaves_the_users_matplotlib_style_unchanged():
    before = dict(mpl.rcParams)
    data_charts.label_counts(survey_of(simulate(5)[0])).svg()
    assert dict(mpl.rcParams) == before


def test_a_chart_is_shown_in_a_notebook_and_saved_to_a_file(charts: dict[str, Chart], tmp_path):
    html = charts["labels"]._repr_html_()
    assert html.startswith("<figure><svg")
    assert charts["labels"].caption in html
    charts["labels"].save(tmp_path / "labels.png")
    assert (tmp_path / "labels.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_a_saved_chart_has_the_same_bytes_each_time(tmp_path, monkeypatch, suffix: str):
    """PNG files contain no time."""
    survey, saved = survey_of(simulate(5)[0]), []
    for second in range(2):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(second))  # the time that matplotlib would write
        data_charts.label_counts(survey).save(tmp_path / f"{second}.{suffix}")
        saved.append((tmp_path / f"{second}.{suffix}").read_bytes())
    assert saved[0] == saved[1]


def ends_of(axes, container: int = 0) -> list[tuple[float, float]]:
    """Return the ends of the horizontal error bars of a chart."""
    [bars] = axes.containers[container][2]
    return [(segment[0][0], segment[1][0]) for segment in bars.get_segments()]


def test_error_bars_are_the_intervals_that_the_captions_name(results: Results):
    board = results.leaderboard
    axes = leaderboard_charts.leaderboard_plot(board).figure.axes[0]
    whole = [row for row in board.rows[::-1] if row.battles == board.battles]
    expected = [(r.log_loss - 1.96 * r.standard_error, r.log_loss + 1.96 * r.standard_error) for r in whole]
    assert np.array(ends_of(axes)) == pytest.approx(np.array(expected))
    one = next(run for run in results.runs if run.label == "one")
    axes = leaderboard_charts.difference_plot(board).figure.axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    expected = {label(row.label): row.differences["prior"] for row in board.rows if row.differences["prior"]}
    assert set(names) == set(expected)
    for name, ends in zip(names, ends_of(axes), strict=True):
        assert ends == pytest.approx((expected[name].low, expected[name].high))
    scores = results.slices(one)
    axes = model_charts.slice_plot("r", "one", scores, one.log_loss).figure.axes[0]
    drawn = ends_of(axes)
    assert len(drawn) == len(scores)
    intervals = [(s.log_loss.low, s.log_loss.high) for s in scores[::-1] if np.isfinite(s.log_loss.low)]
    assert np.array([ends for ends in drawn if ends[0] < ends[1]]) == pytest.approx(np.array(intervals))
    ratings = fit_ratings(results.survey.without_text())
    axes = data_charts.model_strengths(ratings).figure.axes[0]
    names = [text.get_text().rsplit(" (", 1)[0] for text in axes.get_yticklabels()]
    for name, (low, high) in zip(names, ends_of(axes), strict=True):
        [i] = [i for i, model in enumerate(ratings.models) if label(model) == name]
        middle, reach = ratings.strength[i], 1.96 * ratings.error[i]
        assert (low, high) == pytest.approx((middle - reach, middle + reach))


def test_length_effect_counts_what_plain_python_counts(results: Results):
    survey = results.survey
    chart = data_charts.length_effect(survey)
    won = decided = 0
    for (_, a, b), winner in zip(survey.chars.tolist(), survey.winner.tolist(), strict=True):
        if a != b and winner != 2:
            decided += 1
            won += (a > b) == (winner == 0)
    assert f"the longer answer won {won} of {decided} decided battles" in chart.caption
    lines, below = chart.figure.axes
    assert sum(bar.get_height() for bar in below.patches) == len(survey)
    first = [i for i in range(len(survey)) if 4 * (survey.chars[i, 1] + 1) < survey.chars[i, 2] + 1]
    assert below.patches[0].get_height() == len(first)
    shares = [line.get_ydata()[0] for line in lines.get_lines() if len(line.get_ydata()) == len(below.patches)]
    assert shares == pytest.approx([np.mean(survey.winner[first] == outcome) for outcome in range(3)])
    [bars] = lines.containers[0][2]
    low, high = wilson((survey.winner[first] == 0).sum(), len(first))
    assert [end[1] for end in bars.get_segments()[0]] == pytest.approx([float(low), float(high)])


def test_histograms_turns_and_bins_equal_plain_counts(results: Results):
    chars = results.survey.chars
    for axes, values in zip(data_charts.length_histograms(chars, "characters").figure.axes, chars.T, strict=True):
        end = np.quantile(values, 0.95)
        expected, _ = np.histogram(values, bins=50, range=(0, end))
        assert [bar.get_height() for bar in axes.patches] == expected.tolist()
        assert axes.get_xlim() == (0, end)
    bars = data_charts.turn_counts(results.survey).figure.axes[0].patches
    turns = results.survey.turns
    assert [bar.get_height() for bar in bars] == [*((turns == i).sum() for i in range(1, 10)), (turns >= 10).sum()]
    one = next(run for run in results.runs if run.label == "one")
    above, below = model_charts.reliability_plot("r", [one], "one").figure.axes
    bins = reliability(one.proba, one.winner)
    assert below.get_lines()[0].get_ydata().tolist() == [b.count for b in bins]
    assert above.get_lines()[1].get_xydata().tolist() == [[b.predicted, b.observed] for b in bins]


def test_bars_and_confusion_cells_equal_plain_counts(results: Results):
    survey = results.survey
    bars = data_charts.label_counts(survey).figure.axes[0].patches
    assert [bar.get_height() for bar in bars] == [int((survey.winner == i).sum()) for i in range(3)]
    one = next(run for run in results.runs if run.label == "one")
    cells = [text.get_text().split("\n")[0] for text in model_charts.confusion_plot("r", one).figure.axes[0].texts]
    expected = [
        int(((one.winner == observed) & (one.proba.argmax(axis=1) == predicted)).sum())
        for observed in range(3)
        for predicted in range(3)
    ]
    assert [int(cell.replace(",", "")) for cell in cells] == expected


def test_win_rates_in_the_heat_map_count_a_tie_as_half_a_win():
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


def test_pareto_keeps_the_rows_that_no_cheaper_row_beats(results: Results):
    rows = [row for row in results.leaderboard.rows if row.parameters]
    assert len(rows) == 4
    front = leaderboard_charts.pareto(rows, "parameters")
    for row in rows:
        beaten = any(
            (other.parameters <= row.parameters and other.log_loss < row.log_loss)
            or (other.parameters < row.parameters and other.log_loss <= row.log_loss)
            for other in rows
        )
        assert (row in front) == (not beaten)


def test_a_diagnostic_is_not_on_the_pareto_front():
    battles = hostile_battles()
    entries = made_up_entries(battles)
    board = build_leaderboard("hostile", battles, entries)
    best = board.rows[0].label
    assert best in leaderboard_charts.cost_plot(board, "parameters").alt
    next(e for e in entries if e.label == best).record.experiment["submittable"] = False
    board = build_leaderboard("hostile", battles, entries)
    assert best not in leaderboard_charts.cost_plot(board, "parameters").alt


def test_agreement_is_over_battles_that_both_runs_predicted(results: Results):
    runs = {run.label: run for run in results.runs}
    stranger, two = runs["x$y$ <i>"], runs["two"]
    assert model_charts.agreement(two, two) == 1.0
    assert model_charts.agreement(stranger, two) == 1.0  # half of two's own predictions
    assert model_charts.agreement(runs["one"], two) == pytest.approx(
        (runs["one"].proba.argmax(axis=1) == two.proba.argmax(axis=1)).mean()
    )


def test_charts_of_a_single_battle_are_drawn():
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

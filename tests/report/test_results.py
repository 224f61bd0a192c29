"""The page about runs: its charts, tables, cards and provenance."""

from dataclasses import replace

import pytest

from pairrank.report.charts import Chart
from pairrank.report.page import Cards, Page, Table, Text
from pairrank.report.results import results_page
from pairrank.report.scored_runs import Results
from tests.support.pages import HISTORY_ROWS, PageParser, made_up_results

FACTS = ["what", "value"]


def test_the_report_has_all_charts_and_tables_of_each_run(hostile: dict[str, Page], hostile_html: dict[str, str]):
    names = {block.name for block in hostile["report"].blocks if isinstance(block, Chart)}
    assert {"leaderboard-plot", "cost-training-seconds", "cost-parameters", "agreement"} <= names
    for i in range(4):
        assert {f"run{i}-reliability", f"run{i}-confusion", f"run{i}-slices"} <= names
    assert "training0-curves" in names
    text = PageParser(hostile_html["report"]).text
    for part in ("swap gap", "favours the longer", "training loss", "steps per second", "provenance is unknown"):
        assert part in text.lower()
    assert "<b>a warning</b>" in text


@pytest.fixture(scope="module")
def of_pool() -> tuple[Results, Page]:
    """Results of which the pool alone is shown in detail, and their page."""
    results = made_up_results(named=["pool"])
    return results, results_page(results)


def test_the_reliability_diagram_of_a_pool_shows_its_inputs(of_pool: tuple[Results, Page]):
    [chart] = [b for b in of_pool[1].blocks if isinstance(b, Chart) and b.name == "run0-reliability"]
    lines = [text.get_text() for text in chart.figure.axes[0].get_legend().get_texts()]
    assert sorted(lines) == ["one", "pool", "two"]


def test_provenance_shows_commit_data_inputs_and_configuration():
    page = results_page(made_up_results(named=["one"]))
    tables = {block.caption: dict(block.rows) for block in page.blocks if getattr(block, "columns", 0) == FACTS}
    assert tables["one"]["commit"] == "abc"
    assert tables["one"]["data"].startswith("hostile, 240 battles, hash ")
    assert tables["pool"]["inputs"] == "one (1), two (2)"
    [configuration] = [b.text for b in page.blocks if isinstance(b, Text) and b.title == "one: configuration"]
    assert 'name = "structure"' in configuration


def test_every_fine_tuned_run_has_learning_curves_even_if_it_is_not_shown_itself():
    page = results_page(made_up_results(named=["prior"]))
    [training] = [section for section in page.sections if section.title == "Training"]
    [table] = [block for block in training.blocks if isinstance(block, Table)]
    assert table.columns[:3] == ["Fold", "Step", "Training Loss"]
    assert table.rows[0][:3] == ["0", "10", "1.0900"]
    assert table.rows[2][3:6] == ["", "", ""]  # not measured


def test_learning_curves_of_a_diverged_training_are_drawn():
    results = made_up_results(named=["prior"])  # which takes the least time to show
    history = tuple(row | {"Log Loss": float("nan"), "Runtime": float("inf")} for row in HISTORY_ROWS)
    runs = [
        replace(run, record=replace(run.record, history=history)) if run.label == "one" else run
        for run in results.runs
    ]
    results = replace(results, runs=runs)
    page = results_page(results)
    [chart] = [block for block in page.blocks if isinstance(block, Chart) and block.name == "training0-curves"]
    assert "no training prompts were held out" in chart.caption
    assert "nan" not in "".join(cell for b in page.blocks if isinstance(b, Table) for row in b.rows for cell in row)


def test_cards_are_sorted_by_loss_and_can_be_filtered_by_run(hostile: dict[str, Page]):
    [cards] = [block for block in hostile["report"].blocks if isinstance(block, Cards)]
    largest = [max(each.loss for each in shown.predictions) for shown in cards.cards]
    assert largest == sorted(largest, reverse=True)
    assert cards.filters["Shown for"] == ["disagreement", "large loss"]
    assert {"one", "two", "pool"} <= set(cards.filters["Run"])
    for shown in cards.cards:
        for reason in shown.reasons:
            kind, rest = reason.split(": ", 1)
            assert kind in shown.facets["Shown for"]
            assert any(run in rest for run in shown.facets["Run"])


def test_the_table_of_pooling_compares_the_pool_with_its_inputs(of_pool: tuple[Results, Page]):
    results, page = of_pool
    [table] = [b for b in page.blocks if isinstance(b, Table) and "pooling" in b.columns]
    losses = {run.label: f"{run.log_loss:.4f}" for run in results.runs}
    assert [(row[0], row[1], row[2]) for row in table.rows] == [
        ("pool", "after", losses["pool"]),
        ("one", "before", losses["one"]),
        ("two", "before", losses["two"]),
    ]


def test_the_map_of_slices_has_the_ranked_runs_and_their_losses():
    results = made_up_results(named=["prior"])
    [slices] = [section for section in results_page(results).sections if section.title == "Slices"]
    chart, table = slices.blocks
    ranked = [row.label for row in results.leaderboard.rows if row.rank is not None]
    assert "x$y$ <i>" not in ranked
    assert [row[0] for row in table.rows] == ranked
    assert [text.get_text() for text in chart.figure.axes[0].get_xticklabels()] == ranked
    overall = {run.label: f"{run.log_loss:.3f}" for run in results.runs}
    assert {row[0]: row[1] for row in table.rows} == {label: overall[label] for label in ranked}
    kind = next(title for title in table.columns if title.startswith("votes: decided"))
    decided = results.battles.labels != 2
    [run] = [run for run in results.runs if run.label == "one"]
    cell = dict(zip(table.columns, next(row for row in table.rows if row[0] == "one"), strict=True))[kind]
    assert cell == f"{run.losses[decided].mean():.3f}"


def test_the_leaderboard_of_the_page_has_ranks_skill_and_corrected_pairs():
    results = made_up_results(named=["prior"])
    board = results_page(results).sections[1]
    main, pairs = [block for block in board.blocks if isinstance(block, Table)]
    assert {"rank", "skill"} <= set(main.columns)
    assert len(pairs.rows) == len(results.leaderboard.pairs) == 6
    assert "max-t" in pairs.caption

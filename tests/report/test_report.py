import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles
from pairrank.data.folds import fold_of, prompt_keys
from pairrank.data.reading import write_battles
from pairrank.evaluation.survey import survey_file, survey_of
from pairrank.report.cards import MAX_CHARS, card, predictions_for, worst_and_disputed
from pairrank.report.charts import Chart
from pairrank.report.explore import TokenCounts, explore_page
from pairrank.report.page import WARNING, Cards, Page, Section, Table, Text
from pairrank.report.results import results_page
from pairrank.report.scored_runs import score_run
from pairrank.report.wording import one_line
from tests.support.battles import tiny_battles, write_folder
from tests.support.pages import ATTACK, HISTORY_ROWS, NAME, entry_of, hostile_battles, made_up_results
from tests.support.strategies import training_rows, write_rows

FACTS = ["what", "value"]


class Reader(HTMLParser):
    """Tags, attributes and text of a page, as a browser would parse them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """Both pages of battles that attack them."""
    folder = tmp_path_factory.mktemp("hostile")
    battles = hostile_battles()
    write_battles(battles, folder / "train.csv")
    unlabelled = Battles(battles.id, battles.prompt, battles.response_a, battles.response_b)
    write_battles(unlabelled, folder / "test.csv")
    train, test = survey_file(folder / "train.csv"), survey_file(folder / "test.csv")
    tokens = TokenCounts("tiny <b>", train.sample.take(slice(20)) and np.ones((20, 3), dtype=np.int64))
    return {"explore": explore_page("<i>data</i>", train, test, tokens), "report": results_page(made_up_results())}


@pytest.mark.parametrize("kind", ["explore", "report"])
def test_no_text_of_a_battle_becomes_markup(hostile: dict[str, Page], kind: str):
    html = hostile[kind].html()
    page = Reader(html)
    scripts = [attrs for tag, attrs in page.tags if tag == "script"]
    assert len(scripts) == 1
    assert not [tag for tag, _ in page.tags if tag in ("img", "i", "b", "iframe", "object", "link", "base")]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    # It is shown as text.
    assert ATTACK.replace("\x1b", "�") in page.text
    assert one_line(NAME) in page.text
    # Control characters, and characters in names that change the writing direction, are replaced.
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)
    assert NAME not in page.text


@pytest.mark.parametrize("kind", ["explore", "report"])
def test_the_security_policy_allows_only_its_own_script_and_style(hostile: dict[str, Page], kind: str):
    html = hostile[kind].html()
    page = Reader(html)
    [policy] = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    # The page has nothing that the policy would have to forbid: no style attribute, nothing to fetch.
    assert not [attrs for _, attrs in page.tags if "style" in attrs or "src" in attrs]
    links = [attrs["href"] for _, attrs in page.tags if attrs.get("href")]
    assert links
    assert all(link.startswith("#") for link in links)


@pytest.mark.parametrize("kind", ["explore", "report"])
def test_a_page_has_unique_ids_alternative_texts_and_a_warning_on_top(hostile: dict[str, Page], kind: str):
    page = hostile[kind]
    html = page.html()
    read = Reader(html)
    assert [attrs["lang"] for tag, attrs in read.tags if tag == "html"] == ["en"]
    charts = [block for block in page.blocks if isinstance(block, Chart)]
    assert len({chart.name for chart in charts}) == len(charts) > 7
    images = [attrs for tag, attrs in read.tags if tag == "svg"]
    assert [attrs["aria-label"] for attrs in images] == [chart.alt for chart in charts]
    for chart in charts:
        assert chart.caption in read.text
    # The page shows battles, so the warning comes before the title.
    body = html.index("<header>")
    assert html.index(WARNING.split(":")[0], body) < html.index("<h1>")
    targets = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(targets) == len(set(targets))
    assert {attrs["href"][1:] for tag, attrs in read.tags if tag == "a"} <= set(targets)
    assert "\x00" not in html


def test_sections_with_equal_titles_have_different_anchors():
    sections = [Section(title, []) for title in ("Cost", "cost", "模型", "模型 2", "")]
    assert Page("t", "s", sections, "f").anchors == ["cost", "cost-1", "section", "2", "section-4"]


def test_a_page_without_battles_has_no_warning(hostile: dict[str, Page]):
    assert WARNING not in Page("t", "s", [], "f").html()
    assert hostile["report"].shows_battles


def test_the_same_battles_give_the_same_page(hostile: dict[str, Page]):
    first = hostile["report"].html()
    assert first.startswith("<!doctype html>")
    assert first == hostile["report"].html() == results_page(made_up_results()).html()


# The report page


def test_the_report_has_all_charts_and_tables_of_each_run(hostile: dict[str, Page]):
    names = {block.name for block in hostile["report"].blocks if isinstance(block, Chart)}
    assert {"leaderboard-plot", "cost-training-seconds", "cost-parameters", "agreement"} <= names
    for i in range(4):
        assert {f"run{i}-reliability", f"run{i}-confusion", f"run{i}-slices"} <= names
    assert "training0-curves" in names
    text = Reader(hostile["report"].html()).text
    for part in ("swap gap", "favours the longer", "training loss", "steps per second", "provenance is unknown"):
        assert part in text.lower()
    assert "<b>a warning</b>" in text


def test_the_reliability_diagram_of_a_pool_shows_its_inputs():
    page = results_page(made_up_results(named=["pool"]))
    [chart] = [b for b in page.blocks if isinstance(b, Chart) and b.name == "run0-reliability"]
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
    results = made_up_results()
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


def test_cards_are_sorted_by_loss_and_can_be_filtered_by_run():
    page = results_page(made_up_results())
    [cards] = [block for block in page.blocks if isinstance(block, Cards)]
    largest = [max(each.loss for each in shown.predictions) for shown in cards.cards]
    assert largest == sorted(largest, reverse=True)
    assert cards.filters["Shown for"] == ["disagreement", "large loss"]
    assert {"one", "two", "pool"} <= set(cards.filters["Run"])
    for shown in cards.cards:
        for reason in shown.reasons:
            kind, rest = reason.split(": ", 1)
            assert kind in shown.facets["Shown for"]
            assert any(run in rest for run in shown.facets["Run"])


def test_constant_runs_are_shown_only_if_named():
    results = made_up_results()
    assert {run.label for run in results.runs if run.is_constant} == {"prior"}
    assert [run.label for run in results.shown] == [run.label for run in results.runs if run.label != "prior"]
    assert [run.label for run in made_up_results(named=["prior"]).shown] == ["prior"]


def test_explore_shows_a_sample_of_all_battles(tmp_path: Path):
    write_battles(tiny_battles(400), tmp_path / "train.csv")
    page = explore_page("d", survey_file(tmp_path / "train.csv"), None, "none")
    [cards] = [block for block in page.blocks if isinstance(block, Cards)]
    ids = [int(shown.id) for shown in cards.cards]
    assert len(ids) == 24
    assert ids == sorted(ids)
    assert max(ids) > 1300
    assert sum(i < 1100 for i in ids) < 14


def test_the_table_of_pooling_compares_the_pool_with_its_inputs():
    results = made_up_results(named=["pool"])
    [table] = [b for b in results_page(results).blocks if isinstance(b, Table) and "pooling" in b.columns]
    losses = {run.label: f"{run.log_loss:.4f}" for run in results.runs}
    assert [(row[0], row[1], row[2]) for row in table.rows] == [
        ("pool", "after", losses["pool"]),
        ("one", "before", losses["one"]),
        ("two", "before", losses["two"]),
    ]


def test_battles_cut_to_a_window_are_a_slice():
    rows = np.arange(240) < 30
    results = made_up_results(named=["one"], windows={"one": ("512 tokens", rows)})
    one = results.shown[0]
    scores = {score.name: score for score in results.slices(one) if score.kind == "window"}
    assert scores["cut to 512 tokens"].log_loss.battles == 30
    assert scores["cut to 512 tokens"].log_loss.mean == pytest.approx(one.losses[:30].mean())


def test_worst_and_disputed_chooses_the_largest_losses_and_distances():
    results = made_up_results()
    runs = {run.label: run for run in results.runs}
    one, two = runs["one"], runs["two"]
    reasons = worst_and_disputed([one, two], worst=4, disputed=5)
    for run in (one, two):
        worst = np.argsort(-run.losses)[:4]
        chosen = {
            row for row, why in reasons.items() if ("large loss", (run.label,)) in [(w.kind, w.runs) for w in why]
        }
        assert chosen == {int(run.rows[i]) for i in worst}
    distance = np.abs(one.proba - two.proba).sum(axis=1) / 2
    disputed = {row for row, why in reasons.items() if any(w.kind == "disagreement" for w in why)}
    assert disputed == set(np.argsort(-distance)[:5].tolist())


def test_predictions_for_leaves_out_runs_without_a_prediction():
    results = made_up_results()
    labels = [each.label for each in predictions_for(results.runs, 1)]
    assert "x$y$ <i>" not in labels
    assert "x$y$ <i>" in [each.label for each in predictions_for(results.runs, 2)]
    shown = next(each for each in predictions_for(results.runs, 2) if each.label == "one")
    one = next(run for run in results.runs if run.label == "one")
    assert shown.loss == pytest.approx(-np.log(shown.proba[int(one.winner[2])]))


def test_the_card_of_a_long_conversation_says_what_is_not_shown():
    battles = tiny_battles(1)
    long = Battles(
        battles.id,
        np.array([None], dtype=object),
        battles.response_a,
        battles.response_b,
    )
    long.prompt[0] = tuple("p" * (MAX_CHARS + 1 if i == 0 else 3) for i in range(9))
    shown = card(long, survey_of(long), 0)
    assert len(shown.turns) == 6
    assert len(shown.turns[0].prompt) == MAX_CHARS + 2
    assert shown.cut == f"Not shown: 3 more turns and text beyond the first {MAX_CHARS:,} characters of a turn."
    assert shown.outcome == "?"


def test_judge_leaves_out_the_folds_on_which_a_run_was_tuned():
    battles = hostile_battles()
    entry = entry_of("tuned", battles, 1.0, 7, tuned_on=[0, 1, 2, 3])
    run = score_run(entry, battles)
    untouched = np.array([fold_of(key) == 4 for key in prompt_keys(battles)])
    assert run.rows.tolist() == np.flatnonzero(untouched).tolist()
    np.testing.assert_allclose(run.proba, entry.predictions.proba[untouched])
    assert run.winner.tolist() == battles.labels[untouched].tolist()


def test_filters_have_the_values_of_the_cards():
    results = made_up_results()
    cards = Cards("c", [card(results.battles, results.survey, row) for row in range(40)])
    assert cards.filters["Outcome"] == ["A wins", "B wins", "tie"]
    assert "Shown for" not in cards.filters
    assert "Language" not in Cards("c", cards.cards[12:14]).filters  # a filter with a single value is left out


# The page about the data


def test_explore_lists_damaged_and_unusual_battles_with_their_ids(tmp_path: Path):
    rows = training_rows(6)
    rows[2][-3:] = ["0", "0", "0"]
    rows[4][4] = rows[4][5]
    rows[5][3:6] = rows[1][3:6]
    rows[6][1] = rows[6][2]
    rows[3][4] = '["  "]'
    page = explore_page("d", survey_file(write_rows(tmp_path / "train.csv", rows)), None, "none")
    [complaints] = [b for b in page.blocks if isinstance(b, Text) and "complaints" in b.title]
    assert "id 2: winner columns are 0, 0, 0" in complaints.text
    [odd] = [b for b in page.blocks if isinstance(b, Table) and "unusual" in b.caption]
    found = {row[0]: row[2] for row in odd.rows}
    assert found["two equal answers"] == "4"
    assert found["an empty answer"] == "3"
    assert found["the same prompt and answers as another battle"] == "1, 5"
    assert found["the same model on both sides"] == "6"


def test_explore_counts_repeated_prompts_within_and_across_files(tmp_path: Path):
    write_folder(tmp_path, n=20, tests=0)
    write_battles(tiny_battles(4, labelled=False), tmp_path / "test.csv")  # two prompts of the training file
    page = explore_page("d", survey_file(tmp_path / "train.csv"), survey_file(tmp_path / "test.csv"), "none")
    texts = [block.text for block in page.blocks if isinstance(block, Text)]
    assert not any("test.csv: " in text and "folds keep them together" in text for text in texts)
    assert any(text.startswith("train.csv: 20 of 20 battles share their prompt") for text in texts)
    assert any(text.startswith("4 training battles have a prompt that is in test.csv") for text in texts)


def test_explore_works_with_a_test_file_only(tmp_path: Path):
    write_battles(tiny_battles(6, labelled=False), tmp_path / "test.csv")
    html = explore_page("d", None, survey_file(tmp_path / "test.csv"), "no tokens <here>").html()
    assert "These battles have no winner." in html
    assert "no tokens &lt;here&gt;" in html
    with pytest.raises(ValueError, match="neither"):
        explore_page("d", None, None, "")


def test_the_page_of_the_real_battles_is_small_and_covers_all_of_them(arena: Path):
    file = survey_file(arena / "train.csv")
    html = explore_page("arena", file, survey_file(arena / "test.csv"), "none").html()
    assert len(html.encode()) < 5e6
    assert f"{len(file.survey):,} battles of train.csv" in html

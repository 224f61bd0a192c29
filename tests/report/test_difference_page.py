"""The page about two runs shows numbers and battles, and no text of a battle acts in it."""

import pytest

from pairrank.evaluation.run_difference import RunDifference, run_difference
from pairrank.evaluation.survey import survey_of
from pairrank.report.difference_page import SHOWN, difference_page, score_table, summary
from pairrank.report.page import Cards, Table
from tests.support.pages import PageParser, hostile_battles, made_up_entries


@pytest.fixture(scope="module")
def found() -> RunDifference:
    battles = hostile_battles()
    by_label = {entry.label: entry for entry in made_up_entries(battles)}
    return run_difference("<i>data</i>", battles, survey_of(battles), by_label["one"], by_label["x$y$ <i>"])


def test_no_text_of_a_battle_or_label_acts_in_the_page(found: RunDifference):
    page = PageParser(difference_page(found).html())
    assert [tag for tag, _ in page.tags if tag in ("img", "i")] == []
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert "x$y$ <i>" in page.text
    assert "The settings of x$y$ <i> are unknown" in page.text


def test_the_page_shows_the_battles_that_changed_most_with_both_predictions(found: RunDifference):
    [cards] = [block for block in difference_page(found).blocks if isinstance(block, Cards)]
    ids = {str(found.battles.id[row]) for row in [*found.gained(SHOWN), *found.lost(SHOWN)]}
    assert {card.id for card in cards.cards} == ids
    for card in cards.cards:
        assert [each.label for each in card.predictions] == ["one", "x$y$ <i>"]
        first, second = (each.loss for each in card.predictions)
        assert card.facets["Shown for"] == ["gained" if second < first else "lost"]


def test_scores_are_those_of_both_runs(found: RunDifference):
    table = score_table(found)
    assert table.rows[0][1:3] == [f"{losses.mean():.4f}" for losses in found.losses]
    assert f"{found.difference.mean:+.4f}" in table.rows[0][3]
    slices = [
        block for block in difference_page(found).blocks if isinstance(block, Table) and block.columns[0] == "slice"
    ]
    assert len(slices[0].rows) == len(found.slices)


def test_the_summary_names_the_better_run_only_if_the_interval_excludes_zero(found: RunDifference):
    interval = found.difference
    is_clear = interval.low > 0 or interval.high < 0
    assert ("cannot be told apart" in summary(found)) != is_clear
    battles = hostile_battles()
    by_label = {entry.label: entry for entry in made_up_entries(battles)}
    same = run_difference("d", battles, survey_of(battles, guess_language=False), by_label["one"], by_label["one"])
    assert "cannot be told apart" in summary(same)
    assert "No setting differs." in PageParser(difference_page(same).html()).text

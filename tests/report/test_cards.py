"""Cards of battles: which battles are chosen, their predictions, and what is not shown."""

import numpy as np
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.evaluation.survey import survey_of
from pairrank.report.cards import MAX_CHARS, card, predictions_for, worst_and_disputed
from tests.support.battles import tiny_battles
from tests.support.pages import made_up_results


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
        object_array([tuple("p" * (MAX_CHARS + 1 if i == 0 else 3) for i in range(9))]),
        battles.response_a,
        battles.response_b,
    )
    shown = card(long, survey_of(long), 0)
    assert len(shown.turns) == 6
    assert len(shown.turns[0].prompt) == MAX_CHARS + 2
    assert shown.cut == f"Not shown: 3 more turns and text beyond the first {MAX_CHARS:,} characters of a turn."
    assert shown.outcome == "?"

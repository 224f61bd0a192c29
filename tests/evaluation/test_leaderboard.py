"""The leaderboard has the scores that numpy, pandas and scikit-learn give."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score
from sklearn.metrics import log_loss as sklearn_log_loss

from pairrank.data.folds import fold_of, prompt_key
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.errors import UserError
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.leaderboard import build_leaderboard
from pairrank.evaluation.leaderboard_table import markdown
from tests.support.entries import BATTLES, PROMPTS, entry, plain_losses, row_of, some_predictions


def plain_bootstrap(values, draws, seed=0):
    """Return the means of bootstrap samples of prompts: the same draws by numpy, the sums by plain loops."""
    prompts = [PROMPTS[BATTLES.id.tolist().index(i)].casefold() for i in values.index]
    groups = {name: values.to_numpy()[[p == name for p in prompts]] for name in sorted(set(prompts))}
    names = list(groups)
    drawn = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    return np.array([np.concatenate([groups[names[i]] for i in row]).mean() for row in drawn])


def test_every_score_equals_that_of_scikit_learn_and_pandas():
    entries = [entry("prior", 0), entry("other", 1), entry("third", 2)]
    board = build_leaderboard("d", BATTLES, entries, ["prior"])
    assert (board.battles, board.prompts, board.floor) == (60, 30, None)
    for e in entries:
        row = row_of(board, e.label)
        assert row.log_loss == pytest.approx(
            sklearn_log_loss(BATTLES.labels, e.predictions.proba, labels=[0, 1, 2])
        )
        assert row.accuracy == pytest.approx(accuracy_score(BATTLES.labels, e.predictions.proba.argmax(axis=1)))
        table = pd.DataFrame({"sure": e.predictions.proba.max(axis=1)})
        table["hit"] = e.predictions.proba.argmax(axis=1) == BATTLES.labels
        bins = table.sort_values("sure").reset_index(drop=True).groupby(lambda i: i * 15 // 60)
        ece = sum(abs(b["hit"].mean() - b["sure"].mean()) * len(b) for _, b in bins) / 60
        assert row.calibration_error == pytest.approx(ece)
        assert row.standard_error == pytest.approx(plain_bootstrap(plain_losses(e.predictions), 10_000).std(ddof=1))
    assert [row.log_loss for row in board.rows] == sorted(row.log_loss for row in board.rows)


def test_differences_are_paired_and_their_bootstrap_draws_prompts():
    entries = [entry("prior", 0), entry("other", 1)]
    row = row_of(build_leaderboard("d", BATTLES, entries, ["prior"]), "other")
    gap = plain_losses(entries[1].predictions) - plain_losses(entries[0].predictions)
    low, high = np.quantile(plain_bootstrap(gap, 10_000), [0.025, 0.975])
    difference = row.differences["prior"]
    assert difference is not None
    assert (difference.mean, difference.low, difference.high) == pytest.approx((gap.mean(), low, high))


def test_a_partial_entry_is_scored_and_compared_on_its_own_battles():
    rows = np.array([50, 3, 4, 17, 30, 31, 8])
    whole, part, other = entry("prior", 0), entry("part", 1, rows), entry("other", 2, np.arange(6))
    board = build_leaderboard("d", BATTLES, [whole, part, other], ["prior", "part"])
    row = row_of(board, "part")
    ours, reference = plain_losses(part.predictions), plain_losses(whole.predictions)
    assert row.battles == 7
    assert row.log_loss == pytest.approx(ours.mean())
    assert row.differences["prior"].mean == pytest.approx((ours - reference[ours.index]).mean())
    assert row.differences["part"] is None
    assert row_of(board, "prior").differences["part"].mean == pytest.approx((reference[ours.index] - ours).mean())
    shared = [BATTLES.id[3], BATTLES.id[4]]
    both = plain_losses(other.predictions)[shared] - ours[shared]
    assert row_of(board, "other").differences["part"].mean == pytest.approx(both.mean())


def test_entries_without_common_battles_have_no_difference():
    board = build_leaderboard("d", BATTLES, [entry("a", 0, slice(10)), entry("b", 1, slice(10, 20))], ["a"])
    assert row_of(board, "b").differences == {"a": None}


def test_the_order_of_a_prediction_file_does_not_matter():
    shuffled = entry("x", 1, np.random.default_rng(3).permutation(60))
    one, two = (build_leaderboard("d", BATTLES, [entry("prior", 0), e]) for e in (entry("x", 1), shuffled))
    a, b = asdict(row_of(one, "x")), asdict(row_of(two, "x"))
    assert a["log_loss"] == pytest.approx(b.pop("log_loss"))
    assert a["accuracy"] == b["accuracy"]
    assert a["differences"]["prior"] == pytest.approx(b["differences"]["prior"])


def test_the_floor_is_the_log_loss_of_the_true_probabilities():
    truth = some_predictions(9)
    part = entry("part", 1, slice(20))
    shuffled = Predictions(truth.id[::-1], truth.proba[::-1])
    board = build_leaderboard("d", BATTLES, [entry("prior", 0), part], truth=shuffled)
    floor = plain_losses(truth)
    assert board.floor == pytest.approx(floor.mean())
    expected = (plain_losses(part.predictions) - floor[part.predictions.id]).mean()
    assert row_of(board, "part").above_floor == pytest.approx(expected)
    assert f"true probabilities: {floor.mean():.4f}" in markdown(board)


def test_foreign_empty_unknown_and_repeated_entries_are_errors():
    foreign = Predictions(np.array(["1000", "x", "y"], dtype=object), np.full((3, 3), 1 / 3))
    with pytest.raises(UserError, match=r"alien: 2 of its 3 ids are not among these battles \(the first: x\)"):
        build_leaderboard("d", BATTLES, [Entry("alien", foreign)], [])
    with pytest.raises(UserError, match="no rows"):
        build_leaderboard("d", BATTLES, [entry("none", 0, slice(0))], [])
    with pytest.raises(UserError, match=r"--reference: no entry is called 'pior'. Did you mean 'prior'\?"):
        build_leaderboard("d", BATTLES, [entry("prior")], ["pior"])
    with pytest.raises(UserError, match="prior: 2 entries have this name"):
        build_leaderboard("d", BATTLES, [entry("prior"), entry("prior", 1)], ["prior"])


def test_a_row_that_covers_fewer_battles_is_listed_below(tmp_path):
    """One correct and certain prediction scores 0, but it does not beat a row that covers all battles."""
    sure = Predictions(BATTLES.id[:1], np.eye(3)[BATTLES.labels[:1]])
    board = build_leaderboard("arena", BATTLES, [entry("prior"), Entry("sure", sure)])
    assert [row.label for row in board.rows] == ["prior", "sure"]
    assert "| sure | – | – | – | 1 |" in markdown(board)


def test_a_prediction_file_of_a_notebook_is_scored(tmp_path):
    book = some_predictions(4)
    text = "winner_tie,id,winner_model_b,winner_model_a,note\n" + "".join(
        f"{c},{i},{b},{a},x\n" for i, (a, b, c) in zip(book.id, book.proba.tolist(), strict=True)
    )
    (tmp_path / "book.csv").write_text(text)
    board = build_leaderboard("d", BATTLES, [Entry("book", read_predictions(tmp_path / "book.csv"))], [])
    assert board.rows[0].log_loss == pytest.approx(plain_losses(book).mean())


def test_a_tuned_row_covers_only_folds_on_which_it_was_not_tuned():
    whole, tuned = entry("whole", 1), entry("tuned", 2, tuned_on=[0, 2, 3])
    tuned.record.experiment["split"] = {"folds": 5, "salt": "s"}
    board = build_leaderboard("tiny", BATTLES, [whole, tuned], ["whole"])
    unseen = np.array([fold_of(prompt_key(prompt), 5, "s") in (1, 4) for prompt in BATTLES.prompt])
    assert 0 < unseen.sum() < 60
    row = board.rows[-1]
    proba, winner = tuned.predictions.proba[unseen], BATTLES.labels[unseen]
    assert row.label == "tuned"
    assert row.battles == unseen.sum()
    assert row.log_loss == pytest.approx(sklearn_log_loss(winner, proba, labels=[0, 1, 2]))
    assert row.accuracy == pytest.approx(accuracy_score(winner, proba.argmax(axis=1)))
    own = sklearn_log_loss(winner, whole.predictions.proba[unseen], labels=[0, 1, 2])
    assert row.differences["whole"].mean == pytest.approx(row.log_loss - own)
    assert row.folds == "2 of 5 (folds 1, 4)"
    text = markdown(board)
    assert "2 of 5 (folds 1, 4), tuned on the others" in text
    assert "tuned: its setting was tuned on folds 0, 2, 3; this row covers only the other battles." in text
    assert "whole: its setting" not in text


def test_an_entry_that_predicted_only_tuning_folds_is_unscored_and_noted():
    tuned = entry("tuned", 2, tuned_on=[0, 2, 3, 4])
    tuned.record.experiment["split"] = {"folds": 5, "salt": ""}
    member = np.array([fold_of(prompt_key(prompt), 5, "") for prompt in BATTLES.prompt])
    partial = replace(tuned, predictions=some_predictions(2, np.flatnonzero(member == 0)))
    board = build_leaderboard("tiny", BATTLES, [entry("whole"), partial], ["whole"])
    assert [row.label for row in board.rows] == ["whole"]
    assert board.unscored == ("tuned",)
    assert "tuned: not in the table, because it has predicted only folds on which its setting" in markdown(board)


def test_a_foreign_id_of_a_tuned_entry_is_an_error():
    tuned = entry("tuned", 2, tuned_on=[0, 1, 2, 3])
    tuned.record.experiment["split"] = {"folds": 5, "salt": ""}
    foreign = Predictions(np.append(tuned.predictions.id[1:], ["nobody"]), tuned.predictions.proba)
    with pytest.raises(UserError, match="nobody"):
        build_leaderboard("tiny", BATTLES, [entry("whole"), replace(tuned, predictions=foreign)], ["whole"])


def test_the_row_of_a_nested_search_warns_that_its_seconds_are_those_of_one_training():
    searched = entry("searched", 2, chosen={"0": {}})
    board = build_leaderboard("tiny", BATTLES, [entry("whole"), searched], ["whole"])
    text = markdown(board)
    assert "searched: the setting of each fold was chosen by a search within its training" in text
    assert "whole: the setting of each fold" not in text


def sharpened(label, strength, rows=slice(None)):
    """Return an entry that gives the observed outcome a larger probability the larger `strength` is."""
    proba = np.full((60, 3), 1.0) + strength * np.eye(3)[BATTLES.labels]
    noise = np.random.default_rng(8).random((60, 3)) / 10
    proba = (proba + noise) / (proba + noise).sum(axis=1, keepdims=True)
    return Entry(label, Predictions(BATTLES.id[rows], proba[rows]))


def test_rows_that_cover_all_battles_have_ranks_and_the_best_of_them_the_rank_one():
    part = sharpened("part", 9, slice(30))
    board = build_leaderboard("d", BATTLES, [part, sharpened("prior", 0), sharpened("a", 2), sharpened("b", 1)])
    assert [(row.label, row.rank, row.rank_interval) for row in board.rows] == [
        ("a", 1, (1, 1)),
        ("b", 2, (2, 2)),
        ("prior", 3, (3, 3)),
        ("part", None, None),
    ]
    assert board.tied_with_best == ("a",)
    assert [(p.better, p.worse) for p in board.pairs] == [("a", "b"), ("a", "prior"), ("b", "prior")]


def test_rows_of_one_fold_are_ranked_if_no_row_covers_all_battles():
    entries = [sharpened("prior", 0, slice(30)), sharpened("a", 1, slice(30)), sharpened("b", 1, slice(30, 60))]
    board = build_leaderboard("d", BATTLES, entries)
    assert {row.label: row.rank for row in board.rows} == {"a": 1, "prior": 2, "b": None}


def test_skill_is_the_share_of_the_way_from_the_prior_to_the_floor_or_to_the_best_row():
    entries = [sharpened("prior", 0), sharpened("mid", 1), sharpened("best", 4), sharpened("part", 1, slice(20))]
    losses = {e.label: plain_losses(e.predictions) for e in entries}
    truth = some_predictions(9)
    for floor, target in ((None, losses["best"]), (truth, plain_losses(truth))):
        board = build_leaderboard("d", BATTLES, entries, truth=floor)
        for label in losses:
            own = losses[label].index
            way = (losses["prior"] - target)[own].mean()
            expected = (losses["prior"] - losses[label])[own].mean() / way if way > 0 else None
            assert row_of(board, label).skill == (None if expected is None else pytest.approx(expected))


def test_skill_is_unknown_without_a_prior_and_if_nothing_is_better_than_the_prior():
    alone = build_leaderboard("d", BATTLES, [sharpened("a", 0), sharpened("b", 1)], ["a"])
    worse = build_leaderboard("d", BATTLES, [sharpened("prior", 1), sharpened("b", 0)])
    assert {row.skill for row in (*alone.rows, *worse.rows)} == {None}

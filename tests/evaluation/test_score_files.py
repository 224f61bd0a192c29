"""Scores of single answers become predictions that no battle's own winner has influenced."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles
from pairrank.data.folds import assign_folds
from pairrank.errors import UserError
from pairrank.evaluation.score_files import has_scores, read_scores
from pairrank.evaluation.scoring import log_loss
from tests.support.scores import TEMPERATURE, TIE, voted_on


def write(path: Path, battles: Battles, scores: np.ndarray) -> Path:
    rows = [f"{name},{a!r},{b!r}" for name, (a, b) in zip(battles.id, scores.tolist(), strict=True)]
    path.write_text("\n".join(["id,score_a,score_b", *rows]) + "\n")
    return path


def test_the_fit_finds_the_temperature_and_the_tie_logit_of_the_votes(tmp_path: Path):
    battles, scores = voted_on(4_000)
    fitted = read_scores(write(tmp_path / "s.csv", battles, scores), battles)
    assert fitted.temperature == pytest.approx(TEMPERATURE, rel=0.1)
    assert fitted.tie_logit == pytest.approx(TIE, abs=0.1)
    assert fitted.predictions.complaints() == []
    assert log_loss(fitted.predictions.proba, battles.labels) < 0.95


def test_no_winner_of_a_fold_changes_the_predictions_of_that_fold(tmp_path: Path):
    battles, scores = voted_on(300)
    file, fold = write(tmp_path / "s.csv", battles, scores), assign_folds(battles)
    before = read_scores(file, battles).predictions.proba
    changed = replace(battles, winner=np.where(fold == 2, (battles.labels + 1) % 3, battles.labels))
    after = read_scores(file, changed).predictions.proba
    assert np.array_equal(before[fold == 2], after[fold == 2])
    assert not np.array_equal(before[fold != 2], after[fold != 2])


def test_exchanged_scores_give_exchanged_predictions(tmp_path: Path):
    battles, scores = voted_on(300)
    straight = read_scores(write(tmp_path / "s.csv", battles, scores), battles)
    turned = read_scores(write(tmp_path / "t.csv", battles, scores[:, ::-1]), battles.swap())
    assert turned.predictions.swap().proba == pytest.approx(straight.predictions.proba, abs=1e-6)


def test_scores_without_information_give_the_frequency_of_ties_and_equal_sides(tmp_path: Path):
    battles, scores = voted_on(2_000)
    noise = np.random.default_rng(9).normal(size=scores.shape)
    proba = read_scores(write(tmp_path / "s.csv", battles, noise), battles).predictions.proba
    assert proba[:, 2].mean() == pytest.approx((battles.labels == 2).mean(), abs=0.01)
    assert np.abs(proba[:, 0] - proba[:, 1]).mean() < 0.1


def test_a_file_of_scores_may_be_json_lines(tmp_path: Path):
    battles, scores = voted_on(50)
    rows = zip(battles.id.tolist(), scores.tolist(), strict=True)
    lines = [json.dumps({"id": name, "score_a": a, "score_b": b}) for name, (a, b) in rows]
    (file := tmp_path / "s.jsonl").write_text("\n".join(lines))
    assert has_scores(file)
    expected = read_scores(write(tmp_path / "s.csv", battles, scores), battles).predictions
    assert np.array_equal(read_scores(file, battles).predictions.proba, expected.proba)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("\n", "\n5,nan,1\n", 1), "expected two finite numbers"),
        (lambda text: text.replace("\n", "\n5,much,1\n", 1), "'much', '1', expected two finite numbers"),
        (lambda text: text + text.splitlines()[-1] + "\n", "1 ids occur more than once"),
        (lambda text: text + "foreign,1,2\n", "'foreign': not among the battles"),
        (lambda text: text.splitlines()[0] + "\n", "no rows"),
        (lambda text: text.replace("\n", "\n0,0,5,0,2\n", 1), "row 1: 5 cells, expected 3"),  # decimal commas
        (lambda text: text.replace("\n", "\n5,1e308,-1e308\n", 1), "expected two finite numbers"),
    ],
)
def test_wrong_scores_are_one_message(tmp_path: Path, change, message: str):
    battles, scores = voted_on(20)
    file = write(tmp_path / "s.csv", battles, scores)
    file.write_text(change(file.read_text()))
    with pytest.raises(UserError, match=message):
        read_scores(file, battles)


def test_predictions_are_no_scores(tmp_path: Path):
    (tmp_path / "p.csv").write_text("id,winner_model_a,winner_model_b,winner_tie\n1,1,0,0\n")
    assert not has_scores(tmp_path / "p.csv")

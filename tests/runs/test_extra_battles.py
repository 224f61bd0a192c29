"""Extra battles in a run are counted per fold, and no scored or test prompt reaches training through them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.data.extra import Extra, ExtraUsage, add_extra
from pairrank.data.folder import DataFolder
from pairrank.data.folds import assign_folds
from pairrank.data.predictions import read_predictions
from pairrank.runs import training_rows
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment import Experiment
from pairrank.runs.run import Run, resolve_run
from tests.support.battles import disguised, extra_source, tiny_battles, write_folder
from tests.support.examples import example

# A model that memorises prompts regardless of case and white space.
KEEN = example("memory").replace("prompt[0]", '" ".join(prompt[0].split()).casefold()')


@pytest.fixture
def data(tmp_path: Path, add_model) -> DataFolder:
    add_model("memory", KEEN)
    return DataFolder(write_folder(tmp_path / "data"))


def a_run(data: DataFolder, *extra: Extra) -> Run:
    experiment = Experiment("memory", "a leak detector", "memory", {"sureness": 0.9, "seed": 0}, extra=extra)
    return resolve_run(experiment, DataFolder(data.path), data.path.parent / "runs")


def fits(run: Run) -> list[list[str]]:
    """The ids that each fold's model was trained on."""
    return [json.loads(line)[1] for line in (run.folder / "fits.txt").read_text().splitlines()]


def leaky(train: Battles, extra: list[Extra], *_: object) -> tuple[Battles, list[ExtraUsage]]:
    """`add_extra` without leaving out any battle."""
    return add_extra(train, extra, frozenset(), frozenset())


def test_scored_prompts_in_an_extra_file_do_not_improve_the_score(data: DataFolder, tmp_path: Path):
    """Every prompt is in the extra file with its winner, so a model that memorised it would predict 0.9."""
    run = a_run(data, extra_source(tmp_path, disguised(data.train)))
    metrics = cross_validate(run)
    assert metrics.log_loss == pytest.approx(math.log(3), abs=1e-8)
    assert np.allclose(read_predictions(run.folder / "oof.csv").proba, 1 / 3)


def test_without_the_rule_the_score_would_improve(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training_rows, "add_extra", leaky)
    metrics = cross_validate(a_run(data, extra_source(tmp_path, disguised(data.train))))
    assert metrics.log_loss == pytest.approx(-math.log(0.9), abs=1e-8)


@pytest.mark.parametrize("rule", [True, False])
def test_test_prompts_in_an_extra_file_do_not_change_test_predictions(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: bool
):
    if not rule:
        monkeypatch.setattr(training_rows, "add_extra", leaky)
    answers = disguised(replace(data.test, winner=np.arange(6) % 3))
    run = a_run(data, extra_source(tmp_path, answers))
    cross_validate(run)
    known = np.isclose(read_predictions(run.folder / "test.csv").proba.max(axis=1), 0.9)
    # Both battles of a prompt are predicted from memory, or neither.
    assert known.sum() == (0 if rule else 6)


def test_each_fold_trains_on_the_allowed_battles_and_counts_them(data: DataFolder, tmp_path: Path, log_lines):
    train = data.train
    news = tiny_battles(4, first=300)
    asked = replace(
        data.test,
        winner=np.zeros(6, dtype=np.int64),
        model_a=object_array(["m"] * 6),
        model_b=object_array(["k"] * 6),
    )
    more = extra_source(tmp_path, concatenate([disguised(train), news, asked]), weight=0.25)
    run = a_run(data, more)
    cross_validate(run)
    folds = assign_folds(train)
    allowed = [f"more/{name}" for name in news.id]
    for k, learned in enumerate(fits(run)):
        expected = [f"more/x{name}" for name in train.id[folds != k]]
        assert learned == [*train.id[folds != k], *expected, *allowed]
        in_fold, used = int((folds == k).sum()), len(expected) + 4
        assert (
            f"memory, fold {k}: {used} of 50 extra battles from more at weight 0.25; left out: 6 with a prompt of "
            f"the test file, {in_fold} with a prompt of the scored fold"
        ) in log_lines
        [record] = json.loads((run.folder / f"fold{k}" / "fold.json").read_text())["extra"]
        assert record == {
            "name": "more",
            "weight": 0.25,
            "read": 50,
            "in_test": 6,
            "in_fold": in_fold,
            "used": used,
        }
    assert sorted(read_predictions(run.folder / "oof.csv").id) == sorted(train.id)


def test_another_extra_file_or_weight_changes_the_identity(data: DataFolder, tmp_path: Path):
    more = extra_source(tmp_path, tiny_battles(4, first=300))
    first = cross_validate(a_run(data, more)).identity
    assert cross_validate(a_run(data, more)).identity == first
    assert len(fits(a_run(data, more))) == 5
    heavier = cross_validate(a_run(data, replace(more, weight=0.75))).identity
    changed = cross_validate(a_run(data, extra_source(tmp_path, tiny_battles(6, first=300)))).identity
    assert len({first, heavier, changed}) == 3
    assert len(fits(a_run(data, more))) == 15

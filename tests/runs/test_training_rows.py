"""A fold's training rows: out-of-fold inputs, and extra battles without any scored or test prompt."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.data.extra import Extra, ExtraUsage, add_extra
from pairrank.data.folder import DataFolder
from pairrank.data.folds import assign_folds, prompt_key
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.runs import training_rows
from pairrank.runs.cross_validation import cross_validate
from tests.support.battles import disguised, extra_source, tiny_battles
from tests.support.examples import example
from tests.support.runs import complaint, fits, inputs_of_echo, load_run, run_with_extra

# A model that memorises prompts regardless of case and white space.
KEEN = example("memory").replace("prompt[0]", '" ".join(prompt[0].split()).casefold()')


@pytest.fixture
def data(data: DataFolder, add_model) -> DataFolder:
    """Tiny battles, with a memory that recognises disguised prompts."""
    add_model("memory", KEEN)
    return data


def leaky(train: Battles, extra: list[Extra], *_: object) -> tuple[Battles, list[ExtraUsage]]:
    """`add_extra` without leaving out any battle."""
    return add_extra(train, extra, frozenset(), frozenset())


def test_training_battles_carry_the_out_of_fold_predictions_of_their_inputs(workspace, finish):
    run = finish(load_run(workspace))
    memory, frequencies = (
        read_predictions(workspace / "runs" / name / "oof.csv") for name in ("memory", "frequencies")
    )
    for fold in range(5):
        rows = run.battles.take(run.fold_index != fold)
        given = inputs_of_echo(run, fold)
        assert list(given) == rows.id.tolist()
        for column, each in enumerate((memory, frequencies)):
            expected = each.align(rows.id).proba
            assert np.array_equal([given[name][column] for name in rows.id], expected)
    # Out of fold a memory predicts a third each, and so does an echo of it.
    assert np.allclose(read_predictions(run.folder / "oof.csv").proba, 1 / 3)


def test_a_battle_that_an_input_lacks_is_named(workspace, finish):
    finish(load_run(workspace, "memory"))
    finish(load_run(workspace, "frequencies"))
    whole = read_predictions(workspace / "runs/memory/test/fold0.csv")
    Predictions(whole.id[1:], whole.proba[1:]).write(workspace / "runs/memory/test/fold0.csv")
    message = complaint(lambda: load_run(workspace).test_in(0))
    assert whole.id[0] in message
    assert "memory" in message


def test_scored_prompts_in_an_extra_file_do_not_improve_the_score(data: DataFolder, tmp_path: Path):
    """Every prompt is in the extra file with its winner, so a model that memorised it would predict 0.9."""
    run = run_with_extra(data, extra_source(tmp_path, disguised(data.train)))
    record = cross_validate(run)
    assert record.log_loss == pytest.approx(math.log(3), abs=1e-8)
    assert np.allclose(read_predictions(run.folder / "oof.csv").proba, 1 / 3)


def test_scored_prompts_in_an_extra_file_would_improve_the_score_if_kept(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training_rows, "add_extra", leaky)
    record = cross_validate(run_with_extra(data, extra_source(tmp_path, disguised(data.train))))
    assert record.log_loss == pytest.approx(-math.log(0.9), abs=1e-8)


@pytest.mark.parametrize("rule", [True, False])
def test_test_prompts_in_an_extra_file_do_not_change_test_predictions(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: bool
):
    if not rule:
        monkeypatch.setattr(training_rows, "add_extra", leaky)
    answers = disguised(replace(data.test, winner=np.arange(6) % 3))
    run = run_with_extra(data, extra_source(tmp_path, answers))
    cross_validate(run)
    known = np.isclose(read_predictions(run.folder / "test.csv").proba.max(axis=1), 0.9)
    # The memory knows all test prompts, or none.
    assert known.sum() == (0 if rule else 6)


def test_each_fold_trains_on_the_allowed_extra_battles_and_counts_the_others(
    data: DataFolder, tmp_path: Path, log_lines
):
    train = data.train
    news = tiny_battles(4, first=300)
    asked = replace(
        data.test,
        winner=np.zeros(6, dtype=np.int64),
        model_a=object_array(["m"] * 6),
        model_b=object_array(["k"] * 6),
    )
    more = extra_source(tmp_path, concatenate([disguised(train), news, asked]), weight=0.25)
    run = run_with_extra(data, more)
    cross_validate(run)
    folds = assign_folds(train)
    allowed = [f"more/{name}" for name in news.id]
    for k, (_, learned) in enumerate(fits(run.folder)):
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


def test_data_inside_a_fold_has_its_training_battles_and_excludes_scored_and_test_prompts(data: DataFolder):
    train, folds = data.train, assign_folds(data.train)
    for fold in range(5):
        inner = training_rows.inner_data(data, train, folds, fold, frozenset({"of a test battle"}))
        assert inner.train.id.tolist() == [name for name, k in zip(train.id, folds, strict=True) if k != fold]
        scored = {prompt_key(prompt) for prompt, k in zip(train.prompt, folds, strict=True) if k == fold}
        assert inner.excluded_prompts == scored | {"of a test battle"}
        assert not inner.excluded_prompts & {prompt_key(prompt) for prompt in inner.train.prompt}

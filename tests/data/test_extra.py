"""Extra battles are trained on with their weight, and never with a prompt that is scored or to be predicted."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.data.extra import Extra, ExtraUsage, add_extra
from pairrank.data.folder import DataFolder
from pairrank.data.folds import assign_folds, hold_out, prompt_keys
from pairrank.data.predictions import read_predictions
from pairrank.data.reading import write_battles
from pairrank.errors import UserError
from pairrank.runs import training_rows
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment import Experiment
from pairrank.runs.run import Run, resolve_run
from pairrank.training import fine_tuning
from pairrank.training.recipe import make_targets
from tests.support.battles import arena_of_words, tiny_battles, write_folder
from tests.support.examples import example
from tests.support.fine_tuning import FAST

# A model that memorises prompts regardless of case and white space.
KEEN = example("memory").replace("prompt[0]", '" ".join(prompt[0].split()).casefold()')


def source(folder: Path, battles: Battles, name: str = "more", weight: float = 0.5) -> Extra:
    """An extra file of these battles."""
    write_battles(battles, folder / f"{name}.csv")
    return Extra(str(folder / f"{name}.csv"), weight)


def disguised(battles: Battles) -> Battles:
    """The same battles with other ids, and with prompts in capitals and on several lines."""
    prompts = [(f"  {prompt[0].upper().replace(' ', chr(10))} ",) for prompt in battles.prompt]
    return replace(battles, prompt=object_array(prompts), id=object_array([f"x{name}" for name in battles.id]))


def keys(battles: Battles) -> frozenset[str]:
    return frozenset(prompt_keys(battles))


def complaint(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


# --- Which battles are trained on


def test_battles_with_a_prompt_of_the_test_file_or_the_scored_fold_are_left_out(tmp_path: Path):
    """Two battles of each prompt from 0 to 4: prompt 0 is in the test file, 1 in the scored fold, 2 in both."""
    more = source(tmp_path, tiny_battles(10))
    train = tiny_battles(8, first=100)
    asked = [tiny_battles(10).prompt[i] for i in (0, 2, 4)]
    key = [" ".join(prompt[0].split()).casefold() for prompt in asked]
    whole, [drawn] = add_extra(train, [more], {key[0], key[2]}, {key[1], key[2]})
    assert whole.id.tolist() == [*train.id, "more/1006", "more/1007", "more/1008", "more/1009"]
    assert drawn == ExtraUsage("more", 0.5, read=10, in_test=4, in_fold=2)
    assert drawn.used == 4


@pytest.mark.parametrize("where", ["test", "fold"])
def test_prompts_are_compared_without_case_and_white_space(tmp_path: Path, where: str):
    train = tiny_battles(6)
    more = source(tmp_path, disguised(train))
    forbidden = {"test": (keys(train), frozenset()), "fold": (frozenset(), keys(train))}[where]
    whole, [drawn] = add_extra(tiny_battles(6, first=100), [more], *forbidden)
    assert len(whole) == 6
    assert (drawn.in_test, drawn.in_fold) == ((6, 0) if where == "test" else (0, 6))
    assert drawn.used == 0
    assert len(add_extra(train, [more], frozenset(), frozenset())[0]) == 12


def test_prompts_are_compared_by_their_first_turn(tmp_path: Path):
    longer = tiny_battles(2)
    columns = {
        name: object_array([(*turns, "again") for turns in getattr(longer, name)])
        for name in ("prompt", "response_a", "response_b")
    }
    more = source(tmp_path, replace(longer, **columns))
    assert add_extra(tiny_battles(2, first=50), [more], frozenset(), keys(tiny_battles(2)))[1][0].in_fold == 2


def test_extra_usage_as_a_log_line(tmp_path: Path):
    drawn = ExtraUsage("mt_bench", 0.25, read=12_345, in_test=1_000, in_fold=2_000)
    assert str(drawn) == (
        "9,345 of 12,345 extra battles from mt_bench at weight 0.25; left out: 1,000 with a prompt of the test "
        "file, 2,000 with a prompt of the scored fold"
    )


def test_without_sources_the_training_battles_are_unchanged():
    train = tiny_battles(6)
    assert add_extra(train, [], frozenset(), frozenset()) == (train, [])
    assert train.weight is None


# --- Columns


def test_battles_have_the_weight_of_their_source_and_distinct_ids(tmp_path: Path):
    train = tiny_battles(4, first=100)
    sources = [source(tmp_path, tiny_battles(6), name, weight) for name, weight in (("one", 0.2), ("two", 0.5))]
    whole, drawn = add_extra(train, sources, frozenset(), frozenset())
    assert whole.weight.tolist() == [1.0] * 4 + [0.2] * 6 + [0.5] * 6
    assert whole.id.tolist()[4:] == [f"{name}/{1000 + i}" for name in ("one", "two") for i in range(6)]
    assert len(set(whole.id)) == len(whole) == 16
    assert [each.name for each in drawn] == ["one", "two"]
    assert whole.labels.tolist() == [*train.labels, *tiny_battles(6).labels, *tiny_battles(6).labels]
    heavy = replace(train, weight=np.array([2.0, 1.0, 1.0, 5.0]))
    assert add_extra(heavy, sources, frozenset(), frozenset())[0].weight.tolist()[:5] == [2, 1, 1, 5, 0.2]


@pytest.mark.parametrize("train_named", [True, False])
@pytest.mark.parametrize("extra_named", [True, False])
def test_missing_names_are_empty_and_unused_ones_are_dropped(tmp_path: Path, train_named: bool, extra_named: bool):
    nameless = {"model_a": None, "model_b": None}
    train, rows = tiny_battles(4, first=100), tiny_battles(4)
    more = source(tmp_path, rows if extra_named else replace(rows, **nameless))
    whole, _ = add_extra(train if train_named else replace(train, **nameless), [more], frozenset(), frozenset())
    if not train_named:
        assert whole.model_a is None
        assert whole.model_b is None
    else:
        assert whole.model_a.tolist() == [*train.model_a, *(rows.model_a if extra_named else [""] * 4)]
        assert whole.model_b.tolist() == [*train.model_b, *(rows.model_b if extra_named else [""] * 4)]


def test_soft_targets_of_extra_battles_are_their_winners(tmp_path: Path):
    train = replace(tiny_battles(4, first=100), soft=np.full((4, 3), 1 / 3))
    more = source(tmp_path, tiny_battles(6))
    whole, _ = add_extra(train, [more], frozenset(), frozenset())
    assert np.array_equal(whole.soft[4:], np.eye(3)[tiny_battles(6).labels])
    assert np.array_equal(whole.soft[:4], train.soft)
    assert add_extra(tiny_battles(4, first=100), [more], frozenset(), frozenset())[0].soft is None


def test_a_battle_in_both_files_is_used_twice(tmp_path: Path):
    """Extra battles are compared with scored and test prompts only, so training may contain a battle twice."""
    train = tiny_battles(6)
    whole, [drawn] = add_extra(train, [source(tmp_path, train)], frozenset(), frozenset())
    assert len(whole) == 12
    assert drawn.used == 6


def test_an_id_that_is_repeated_in_one_file_is_reported(tmp_path: Path):
    twice = tiny_battles(4)
    twice.id[3] = twice.id[0]
    assert "repeated in row" in complaint(lambda: source(tmp_path, twice).battles)


def test_two_sources_with_the_same_name_are_refused(tmp_path: Path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    both = [source(tmp_path / folder, tiny_battles(4)) for folder in ("here", "there")]
    for sources in (both, [both[0], both[0]]):
        assert "called more" in complaint(lambda s=sources: add_extra(tiny_battles(4), s, frozenset(), frozenset()))


# --- Sources


def test_a_file_or_a_folder_with_a_train_file_is_read(tmp_path: Path):
    write_folder(tmp_path / "arena", n=6)
    for path in (tmp_path / "arena", tmp_path / "arena" / "train.csv"):
        extra = Extra(str(path), 0.3)
        assert extra.name == "arena"
        assert extra.battles.id.tolist() == [f"arena/{1000 + i}" for i in range(6)]
        assert extra.battles.weights.tolist() == [0.3] * 6


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/mt_bench.csv", "mt_bench"),
        ("data/mt_bench.csv.gz", "mt_bench"),
        ("data/mt_bench.parquet", "mt_bench"),
        ("data/votes.2024.csv", "votes.2024"),
        ("data/tulu", "tulu"),
        ("data/tulu/", "tulu"),
        ("data/v1.5", "v1.5"),
        ("data/tulu/train.csv", "tulu"),
        ("data/tulu/train.csv.gz", "tulu"),
    ],
)
def test_the_name_of_a_source_is_that_of_its_file_or_folder(path: str, name: str):
    assert Extra(path).name == name


def test_the_name_of_a_train_file_is_that_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "votes").mkdir()
    monkeypatch.chdir(tmp_path / "votes")
    assert Extra("train.csv").name == "votes"


def test_a_path_without_battles_is_reported(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "gone.csv", tmp_path / "empty"):
        message = complaint(lambda path=path: Extra(str(path)).battles)
        assert str(path) in message
        assert "no battles there" in message
        assert "train.csv" in message


def test_battles_without_winners_are_reported(tmp_path: Path):
    more = source(tmp_path, replace(tiny_battles(4), winner=None))
    message = complaint(lambda: more.battles)
    assert "more.csv: no winners" in message


def test_a_damaged_row_is_reported_as_in_any_training_file(tmp_path: Path):
    more = source(tmp_path, tiny_battles(4))
    with Path(more.path).open("a") as file:
        file.write('"77","m","k","no list","[""a""]","[""b""]",1,0,0\n')
    assert "id 77: prompt is not JSON" in complaint(lambda: more.battles)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1.01, math.inf, math.nan])
def test_a_weight_out_of_bounds_is_refused(weight: float):
    message = complaint(lambda: Extra("x.csv", weight))
    assert message == f"extra 'x.csv': weight = {weight}: expected above 0 and at most 1."


# --- In a run


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
    run = a_run(data, source(tmp_path, disguised(data.train)))
    metrics = cross_validate(run)
    assert metrics.log_loss == pytest.approx(math.log(3), abs=1e-8)
    assert np.allclose(read_predictions(run.folder / "oof.csv").proba, 1 / 3)


def test_without_the_rule_the_score_would_improve(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training_rows, "add_extra", leaky)
    metrics = cross_validate(a_run(data, source(tmp_path, disguised(data.train))))
    assert metrics.log_loss == pytest.approx(-math.log(0.9), abs=1e-8)


@pytest.mark.parametrize("rule", [True, False])
def test_test_prompts_in_an_extra_file_do_not_change_test_predictions(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: bool
):
    if not rule:
        monkeypatch.setattr(training_rows, "add_extra", leaky)
    answers = disguised(replace(data.test, winner=np.arange(6) % 3))
    run = a_run(data, source(tmp_path, answers))
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
    more = source(tmp_path, concatenate([disguised(train), news, asked]), weight=0.25)
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
    more = source(tmp_path, tiny_battles(4, first=300))
    first = cross_validate(a_run(data, more)).identity
    assert cross_validate(a_run(data, more)).identity == first
    assert len(fits(a_run(data, more))) == 5
    heavier = cross_validate(a_run(data, replace(more, weight=0.75))).identity
    changed = cross_validate(a_run(data, source(tmp_path, tiny_battles(6, first=300)))).identity
    assert len({first, heavier, changed}) == 3
    assert len(fits(a_run(data, more))) == 15


# --- Weights in fine-tuning


def test_targets_contain_the_weights():
    battles = replace(
        tiny_battles(3),
        winner=np.array([0, 1, 2]),
        weight=np.array([1.0, 0.2, 3.0]),
        soft=np.array([[0.5, 0.3, 0.2], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]]),
    )
    assert make_targets(battles) == pytest.approx(np.diag([1.0, 0.2, 3.0]))
    assert make_targets(battles, soft=True)[1] == pytest.approx([0.02, 0.18, 0.0])
    smoothed = make_targets(battles, label_smoothing=0.3)
    assert smoothed[2] == pytest.approx([0.3, 0.3, 2.4])
    for targets in (smoothed, make_targets(battles, soft=True, label_smoothing=0.1)):
        assert targets.sum(axis=1) == pytest.approx(battles.weights)
    assert np.array_equal(make_targets(replace(battles, weight=None)), np.eye(3))


def test_a_row_that_sums_to_its_weight_weighs_its_loss():
    """The expected cross-entropy is minus the weighted sum of log-probabilities, divided by the number of rows."""
    battles = replace(tiny_battles(6), weight=np.array([1.0, 0.2, 3.0, 1.0, 0.5, 2.0]))
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(make_targets(battles, label_smoothing=0.1)))
    plain = torch.nn.functional.cross_entropy(
        logits, torch.tensor(make_targets(replace(battles, weight=None), label_smoothing=0.1)), reduction="none"
    )
    assert loss.item() == pytest.approx((plain.numpy() * battles.weights).mean())


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_a_training_is_watched_by_battles_of_the_highest_weight_alone(
    monkeypatch: pytest.MonkeyPatch, weight: float
):
    battles = arena_of_words(120)
    # Every prompt is in both sources, so a held-out prompt must be held out of both.
    again = replace(battles, id=object_array([f"more/{name}" for name in battles.id]), weight=np.full(120, weight))
    whole = concatenate([replace(battles, weight=np.ones(120)), again])
    rows = {}

    def spied(
        module: object, train: fine_tuning.Rows, validation: fine_tuning.Rows, *_: object
    ) -> fine_tuning.TrainingHistory:
        rows.update(learned=train, watched=validation)
        return fine_tuning.TrainingHistory()

    monkeypatch.setattr(fine_tuning, "fine_tune", spied)
    read = lambda part: part.id.tolist()  # noqa: E731
    fine_tuning.fine_tune_battles(torch.nn.Linear(1, 1), whole, read, list, replace(FAST, hold_out=0.25), None)
    held = hold_out(battles, 0.25, salt="watch")
    assert 10 < held.sum() < 60
    expected = [*battles.id[held], *([f"more/{name}" for name in battles.id[held]] if weight == 1 else [])]
    assert rows["watched"].tokens == expected
    assert rows["watched"].targets.sum(axis=1) == pytest.approx(np.ones(len(expected)))
    assert rows["learned"].tokens == [*battles.id[~held], *(f"more/{name}" for name in battles.id[~held])]
    assert rows["learned"].targets.sum(axis=1) == pytest.approx(np.repeat([1.0, weight], (~held).sum()))

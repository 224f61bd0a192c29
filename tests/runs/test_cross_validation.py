"""Every battle is judged by a model that never saw its prompt, and nothing is made twice or mixed."""

import csv
import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from pairrank.data.battles import object_array
from pairrank.data.folder import DataFolder
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.data.reading import write_battles
from pairrank.errors import UserError
from pairrank.evaluation.run_record import DataRecord, EncoderRecord, read_run_record
from pairrank.runs import identity as fold_identity
from pairrank.runs import run
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment import Experiment
from pairrank.runs.fold_models import load_fold_models
from pairrank.runs.run import Run, resolve_run
from tests.support.battles import tiny_battles, write_folder
from tests.support.examples import example

PRIOR = Experiment("prior", "frequencies", "prior", {"smoothing": 1.0})
MEMORISES = Experiment("memory", "a leak detector", "memory", {"sureness": 0.9, "seed": 0})
DIVERGES = Experiment("diverged", "a memory with NaN in its history", "diverged", {"sureness": 0.9, "seed": 0})


@pytest.fixture
def data(tmp_path, add_model):
    add_model("memory")
    return DataFolder(write_folder(tmp_path / "data"))


def a_run(data, tmp_path, experiment=MEMORISES):
    return resolve_run(experiment, DataFolder(data.path), tmp_path / "runs")


def fits(run):
    """(fold folder, ids trained on) of every training there has been."""
    return [json.loads(line) for line in (run.folder.joinpath("fits.txt")).read_text().splitlines()]


def expected_fold(prompt: str, salt: str = "") -> int:
    """The fold rule, written out; these prompts need no normalising but for case."""
    digest = hashlib.sha256(salt.encode() + b"\0" + prompt.casefold().encode()).digest()
    return int.from_bytes(digest[:8], "big") % 5


def kept_files(run):
    """The bytes of everything but what holds times."""
    timed = {"metrics.json", "fold.json", "fits.txt"}
    files = [file for file in sorted(run.folder.rglob("*")) if file.is_file() and file.name not in timed]
    return {str(file.relative_to(run.folder)): file.read_bytes() for file in files}


def test_no_model_judges_a_prompt_it_has_seen(data, tmp_path):
    run = a_run(data, tmp_path)
    metrics = cross_validate(run)
    # Whoever saw a prompt answers .9; whoever did not, a third each: any leak would lower this.
    assert metrics.log_loss == pytest.approx(math.log(3), abs=1e-8)
    battles = tiny_battles()
    fold = {i: expected_fold(p[0]) for i, p in zip(battles.id, battles.prompt, strict=True)}
    assert len(set(fold.values())) == 5
    assert [name for name, _ in fits(run)] == [f"fold{k}" for k in range(5)]
    for k, (_, ids) in enumerate(fits(run)):
        assert ids == [i for i in battles.id if fold[i] != k]
        assert read_predictions(run.folder / f"fold{k}" / "oof.csv").id.tolist() == [
            i for i in battles.id if fold[i] == k
        ]


def test_the_leak_detector_detects(data, tmp_path, monkeypatch):
    by_row = lambda battles, k, salt: np.arange(len(battles)) % k  # noqa: E731
    monkeypatch.setattr(run, "assign_folds", by_row)
    assert cross_validate(a_run(data, tmp_path)).log_loss == pytest.approx(-math.log(0.9), abs=1e-8)


def test_out_of_fold_predictions_stand_in_the_order_of_the_battles(data, tmp_path):
    run = a_run(data, tmp_path, PRIOR)
    metrics = cross_validate(run)
    whole = read_predictions(run.folder / "oof.csv")
    battles = tiny_battles()
    assert whole.id.tolist() == battles.id.tolist()
    # The prior by hand: counts of the other folds' winners, one added to each.
    fold = np.array([expected_fold(p[0]) for p in battles.prompt])
    expected = np.empty((len(battles), 3))
    for row, k in enumerate(fold):
        counts = np.bincount(battles.labels[fold != k], minlength=3) + 1.0
        expected[row] = counts / counts.sum()
    np.testing.assert_allclose(whole.proba, expected, atol=1e-8)
    losses = -np.log(expected[np.arange(40), battles.labels])
    assert metrics.log_loss == pytest.approx(losses.mean(), abs=1e-8)


def test_a_salt_cuts_other_folds(data, tmp_path):
    run = a_run(data, tmp_path, replace(PRIOR, salt="1", overrides=("salt=1",)))
    cross_validate(run)
    battles = tiny_battles()
    here = read_predictions(run.folder / "fold0" / "oof.csv").id.tolist()
    assert here == [i for i, p in zip(battles.id, battles.prompt, strict=True) if expected_fold(p[0], "1") == 0]


def test_test_predictions_are_the_geometric_mean_over_fold_models(data, tmp_path):
    run = a_run(data, tmp_path)
    cross_validate(run)
    members = [read_predictions(run.folder / "test" / f"fold{k}.csv") for k in range(5)]
    assert not np.allclose(members[0].proba, members[1].proba, atol=1e-6)
    product = np.prod([member.proba for member in members], axis=0) ** (1 / 5)
    whole = read_predictions(run.folder / "test.csv")
    np.testing.assert_allclose(whole.proba, product / product.sum(axis=1, keepdims=True), atol=1e-8)
    assert whole.id.tolist() == [str(6000 + i) for i in range(6)]


def test_a_second_run_trains_nothing_and_says_so(data, tmp_path, log_lines):
    run = a_run(data, tmp_path)
    cross_validate(run)
    before = kept_files(run)
    log_lines.clear()
    cross_validate(a_run(data, tmp_path))
    assert len(fits(run)) == 5
    assert [line for line in log_lines if "used again" in line] == log_lines
    assert len(log_lines) == 5
    assert kept_files(run) == before


def test_a_changed_parameter_split_code_or_teacher_makes_folds_anew(data, tmp_path, add_model):
    run = a_run(data, tmp_path)
    cross_validate(run)
    changed = Run(replace(MEMORISES, parameters={"sureness": 0.8, "seed": 0}), DataFolder(data.path), run.folder)
    cross_validate(changed)
    assert len(fits(run)) == 10
    salted = replace(changed.experiment, salt="2")
    cross_validate(Run(salted, DataFolder(data.path), run.folder))
    assert len(fits(run)) == 15
    add_model("memory", example("memory").replace("len(train) / 1e4", "len(train) / 2e4"))
    cross_validate(Run(salted, DataFolder(data.path), run.folder))
    assert len(fits(run)) == 20
    comment = (
        example("memory")
        .replace("len(train) / 1e4", "len(train) / 2e4")
        .replace("# Kept beside", "# Elsewhere")
        .replace("A model that profits", "One that profits")
    )
    add_model("memory", comment)
    cross_validate(Run(salted, DataFolder(data.path), run.folder))
    assert len(fits(run)) == 20
    for shift in (0.0, 0.1):
        soft = np.tile([0.5 + shift, 0.3 - shift, 0.2], (40, 1))
        Predictions(tiny_battles().id, soft).write(tmp_path / "teacher.csv")
        taught = replace(salted, soft_targets=str(tmp_path / "teacher.csv"))
        cross_validate(Run(taught, DataFolder(data.path), run.folder))
        assert len(fits(run)) == (25 if shift == 0 else 30)


def identity(data, experiment=PRIOR, **parts):
    return fold_identity.identity_of(Run(replace(experiment, **parts), DataFolder(data.path), data.path / "no-run"))


def test_another_encoder_changes_the_identity(data, tmp_path):
    one, other = (Run(PRIOR, DataFolder(data.path), data.path, encoder_sha256=sha256) for sha256 in "12")
    assert fold_identity.identity_of(one) != fold_identity.identity_of(other)
    assert identity(DataFolder(write_folder(tmp_path / "other", n=20))) != identity(data)


@pytest.mark.parametrize("change", [{"folds": 4}, {"salt": "1"}, {"limit": 9}, {"parameters": {"smoothing": 2.0}}])
def test_split_and_parameters_are_part_of_the_identity(data, change):
    assert identity(data, **change) != identity(data)


def test_prose_and_name_change_no_identity(data):
    assert identity(data, name="other", about="another sentence", submittable=False, seconds=9.0) == identity(data)


def test_one_fold_is_a_partial_run_that_a_full_one_completes(data, tmp_path):
    run = a_run(data, tmp_path)
    metrics = cross_validate(run, folds=[1])
    battles = tiny_battles()
    in_1 = [i for i, p in zip(battles.id, battles.prompt, strict=True) if expected_fold(p[0]) == 1]
    assert metrics.folds == (1,)
    assert read_predictions(run.folder / "oof.csv").id.tolist() == in_1
    assert len(load_fold_models(run.folder).models) == 1
    metrics = cross_validate(a_run(data, tmp_path))
    assert metrics.folds == (0, 1, 2, 3, 4)
    assert [name for name, _ in fits(run)] == ["fold1", "fold0", "fold2", "fold3", "fold4"]
    undisturbed = a_run(data, tmp_path / "elsewhere")
    cross_validate(undisturbed)
    assert kept_files(run) == kept_files(undisturbed)


def test_new_test_battles_are_predicted_by_the_saved_models(data, tmp_path, log_lines):
    run = a_run(data, tmp_path)
    cross_validate(run)
    write_battles(tiny_battles(9, first=7000, word="test", labelled=False), data.path / "test.csv")
    cross_validate(a_run(data, tmp_path))
    assert len(fits(run)) == 5
    assert sum("new test battles" in line for line in log_lines) == 5
    assert len(read_predictions(run.folder / "test.csv")) == 9
    afresh = a_run(data, tmp_path / "elsewhere")
    cross_validate(afresh)
    assert kept_files(run) == kept_files(afresh)


def test_an_added_test_file_is_predicted_and_a_removed_one_leaves_no_stale_mean(data, tmp_path):
    (data.path / "test.csv").rename(data.path / "later.csv")
    run = a_run(data, tmp_path)
    cross_validate(run)
    assert not (run.folder / "test.csv").exists()
    (data.path / "later.csv").rename(data.path / "test.csv")
    cross_validate(a_run(data, tmp_path))
    assert len(read_predictions(run.folder / "test.csv")) == 6
    (data.path / "test.csv").unlink()
    cross_validate(a_run(data, tmp_path))
    assert not (run.folder / "test.csv").exists()
    assert len(fits(run)) == 5


@pytest.mark.parametrize("where", ["fit", "predict_proba", "save"])
def test_a_killed_run_ends_as_an_undisturbed_one(data, tmp_path, monkeypatch, where):
    from pairrank.models.base import model_class

    undisturbed = a_run(data, tmp_path / "elsewhere")
    cross_validate(undisturbed)
    memory = model_class("memory")
    sound, calls = getattr(memory, where), []

    def killed(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return sound(self, *arguments)

    run = a_run(data, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(memory, where, killed)
        with pytest.raises(KeyboardInterrupt):
            cross_validate(run)
    assert not (run.folder / "metrics.json").exists()
    cross_validate(a_run(data, tmp_path))
    assert kept_files(run) == kept_files(undisturbed)


@pytest.mark.parametrize(
    ("file", "content", "trainings"),
    [
        ("fold2/fold.json", "{", 1),
        ("fold2/fold.json", "[1, 2]", 1),
        ("fold2/fold.json", '{"identity": "x"}', 1),
        ("fold2/fold.json", None, 1),
        ("fold2/oof.csv", "id,winner_model_a,winner_model_b,winner_tie\n", 1),
        ("fold2/oof.csv", None, 1),
        ("test/fold2.csv", "rubbish", 0),
        ("test/fold2.csv", None, 0),
        ("metrics.json", "{", 0),
        ("oof.csv", None, 0),
        ("test.csv", "rubbish", 0),
    ],
)
def test_a_damaged_file_is_made_again(data, tmp_path, file, content, trainings):
    run = a_run(data, tmp_path)
    cross_validate(run)
    before = kept_files(run)
    if content is None:
        (run.folder / file).unlink()
    else:
        (run.folder / file).write_text(content)
    metrics = cross_validate(a_run(data, tmp_path))
    assert kept_files(run) == before
    assert len(fits(run)) == 5 + trainings
    assert read_run_record(run.folder) == metrics


def test_models_of_two_configurations_are_never_averaged(data, tmp_path, monkeypatch):
    from pairrank.models.base import model_class

    run = a_run(data, tmp_path)
    cross_validate(run)
    test = tiny_battles(3, first=7000, word="test", labelled=False)
    alone = load_fold_models(run.folder).predict(test)
    np.testing.assert_allclose(alone.proba.sum(axis=1), 1)
    memory = model_class("memory")
    sound = memory.fit
    monkeypatch.setattr(memory, "fit", lambda self, b, f: 1 / 0 if f.name == "fold1" else sound(self, b, f))
    changed = Run(replace(MEMORISES, parameters={"sureness": 0.8, "seed": 0}), DataFolder(data.path), run.folder)
    with pytest.raises(ZeroDivisionError):
        cross_validate(changed)
    with pytest.raises(UserError, match=r"fold 0, 1 are missing, or of another configuration.*experiment\.toml"):
        load_fold_models(run.folder).predict(test)


@pytest.mark.parametrize("finished", [True, False])
def test_other_battles_are_refused_and_nothing_is_overwritten(data, tmp_path, finished):
    run = a_run(data, tmp_path)
    cross_validate(run)
    if not finished:
        (run.folder / "metrics.json").unlink()
    before = {file: file.read_bytes() for file in run.folder.rglob("*") if file.is_file()}
    other = DataFolder(write_folder(tmp_path / "other", first=2))
    with pytest.raises(UserError, match=r"other battles \(data, 40 of them; these are other, 40\).*--runs"):
        cross_validate(resolve_run(MEMORISES, other, tmp_path / "runs"))
    assert {file: file.read_bytes() for file in run.folder.rglob("*") if file.is_file()} == before


def test_soft_targets_are_aligned_by_id(data, tmp_path):
    battles = tiny_battles()
    soft = np.random.default_rng(0).dirichlet([1, 1, 1], 40).round(3)
    soft[:, 2] = 1 - soft[:, 0] - soft[:, 1]
    order = np.random.default_rng(1).permutation(40)
    Predictions(battles.id[order], soft[order]).write(tmp_path / "teacher.csv")
    run = a_run(data, tmp_path, replace(MEMORISES, soft_targets=str(tmp_path / "teacher.csv")))
    cross_validate(run)
    given = json.loads((run.folder / "soft.json").read_text())
    for name, row in given.items():
        np.testing.assert_allclose(row, soft[battles.id.tolist().index(name)], atol=1e-8)
    # The score is that of the winners all the same: the model knows no prompt of its fold.
    assert json.loads((run.folder / "metrics.json").read_text())["log_loss"] == pytest.approx(math.log(3))


def test_a_teacher_that_lacks_a_battle_is_refused(data, tmp_path):
    Predictions(tiny_battles(39).id, np.full((39, 3), 1 / 3)).write(tmp_path / "teacher.csv")
    with pytest.raises(UserError, match=r"teacher\.csv: 1 complaint\n  - id 1039: no prediction"):
        cross_validate(a_run(data, tmp_path, replace(MEMORISES, soft_targets=str(tmp_path / "teacher.csv"))))


def test_a_history_is_written_without_nan(data, tmp_path, add_model):
    add_model("diverged")
    run = a_run(data, tmp_path, DIVERGES)
    cross_validate(run)
    with (run.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["Fold"], row["Step"]) for row in rows] == [(str(k), s) for k in range(5) for s in "36"]
    assert {row["Training Loss"] for row in rows} == {""}
    assert {row["Accuracy"] for row in rows} == {"1.5"}
    (run.folder / "curves.png").touch()
    # Another model in the same folder leaves none of it behind.
    cross_validate(Run(PRIOR, DataFolder(data.path), run.folder))
    assert not (run.folder / "history.csv").exists()
    assert not (run.folder / "curves.png").exists()


def test_metrics_name_everything_and_hold_no_nan(data, tmp_path, add_model):
    add_model("diverged")
    run = a_run(data, tmp_path, DIVERGES)
    cross_validate(run)

    def no_constant(name):
        raise AssertionError(f"{name} in metrics.json")

    json.loads((run.folder / "metrics.json").read_text(), parse_constant=no_constant)
    metrics = read_run_record(run.folder)
    fold = json.loads((run.folder / "fold0" / "fold.json").read_text(), parse_constant=no_constant)
    assert metrics.label == "diverged"
    assert metrics.experiment["model"] == {"name": "diverged", "sureness": 0.9, "seed": 0}
    assert metrics.experiment["split"] == {"folds": 5, "salt": "", "limit": 0, "nested": False}
    assert metrics.data == DataRecord("data", tiny_battles().content_hash(), 40)
    assert metrics.warnings == ("told [you] so",)
    assert metrics.parameters == fold["report"]["parameters"]
    assert metrics.versions.keys() >= {"python", "numpy", "torch"}
    assert metrics.accuracy == pytest.approx((tiny_battles().labels == 0).mean())
    assert metrics.peak_memory_mb > 0


def test_what_folds_measured_is_added_up(data, tmp_path, add_model):
    told = """return {"encoder": {"name": "e", "sha256": "f"}, "lost_a_side": 2, "tokens": {
            "kept": {"prompt": len(self.known_), "response_a": 1, "response_b": 0},
            "of": {"prompt": 20, "response_a": 4, "response_b": 0}}, """
    add_model("memory", example("memory").replace("return {", told))
    run = a_run(data, tmp_path)
    metrics = cross_validate(run)
    # Each training prompt stands twice among the ids that the model wrote down.
    known = sum(len(ids) // 2 for _, ids in fits(run))
    assert metrics.kept == {"prompt": pytest.approx(known / 100), "response_a": 0.25, "response_b": 0.0}
    assert metrics.lost_a_side == 10
    assert metrics.encoder == EncoderRecord("e", "f")
    folds = [json.loads((run.folder / f"fold{k}" / "fold.json").read_text()) for k in range(5)]
    assert metrics.training_seconds == pytest.approx(sum(fold["training_seconds"] for fold in folds))
    gaps = [fold["swap_gap"] * fold["battles"] for fold in folds]
    assert metrics.swap_gap == pytest.approx(sum(gaps) / 40)
    flips = [fold["flip_rate"] * fold["battles"] for fold in folds]
    assert metrics.flip_rate == pytest.approx(sum(flips) / 40)
    assert metrics.peak_memory_mb == max(fold["peak_memory_mb"] for fold in folds)


def test_the_swap_gap_is_measured_on_swapped_battles(data, tmp_path):
    run = a_run(data, tmp_path, PRIOR)
    metrics = cross_validate(run)
    # The prior ignores who stands where: read back, its A and B have changed places.
    proba = read_predictions(run.folder / "oof.csv").proba
    assert metrics.swap_gap == pytest.approx(np.abs(proba[:, 0] - proba[:, 1]).mean(), abs=1e-8)
    # Wherever it names a side, that is the other side's name after a swap.
    assert metrics.flip_rate == pytest.approx((proba.argmax(axis=1) != 2).mean())


def test_long_battles_are_scored_like_any_other(tmp_path):
    battles = tiny_battles(20)
    long = battles.response_b.copy()
    long[3] = ("word " * 100_000,)
    folder = write_folder(tmp_path / "data", n=20, tests=0)
    write_battles(replace(battles, response_b=long), folder / "train.csv")
    run = resolve_run(PRIOR, DataFolder(folder), tmp_path / "runs")
    cross_validate(run)
    assert read_predictions(run.folder / "oof.csv").id.tolist() == battles.id.tolist()


def test_folds_without_battles_are_no_obstacle(tmp_path, add_model, log_lines):
    add_model("memory")
    data = DataFolder(write_folder(tmp_path / "data", n=6))
    filled = {expected_fold(p[0]) for p in tiny_battles(6).prompt}
    assert 1 < len(filled) < 5
    run = resolve_run(MEMORISES, data, tmp_path / "runs")
    metrics = cross_validate(run)
    assert metrics.log_loss == pytest.approx(math.log(3))
    assert sum("no battle has its prompt" in line for line in log_lines) == 5 - len(filled)
    empty = min(set(range(5)) - filled)
    with pytest.raises(UserError, match=f"no battle is in fold {empty}, so there is nothing to score"):
        cross_validate(resolve_run(MEMORISES, DataFolder(data.path), tmp_path / "alone"), folds=[empty])


def test_a_single_prompt_leaves_nothing_to_learn_from(tmp_path):
    folder = write_folder(tmp_path / "data", n=4, tests=0)
    battles = tiny_battles(4)
    write_battles(replace(battles, prompt=object_array([("The same",)] * 4)), folder / "train.csv")
    with pytest.raises(UserError, match="all 4 battles are in this fold, so none are left to learn from"):
        cross_validate(resolve_run(PRIOR, DataFolder(folder), tmp_path / "runs"))


def test_a_limit_uses_the_first_battles(data, tmp_path):
    run = a_run(data, tmp_path, replace(MEMORISES, limit=12, overrides=("limit=12",)))
    metrics = cross_validate(run)
    assert metrics.data.battles == 12
    assert read_predictions(run.folder / "oof.csv").id.tolist() == tiny_battles(12).id.tolist()
    assert {i for _, ids in fits(run) for i in ids} == set(tiny_battles(12).id)
    assert run.folder.name == "memory+limit=12"


def test_an_empty_test_file_is_no_test_file(data, tmp_path):
    (data.path / "test.csv").write_text("id,prompt,response_a,response_b\n")
    run = a_run(data, tmp_path)
    cross_validate(run)
    assert not (run.folder / "test.csv").exists()


def test_repairs_of_the_test_file_are_told(data, tmp_path, log_lines):
    with (data.path / "test.csv").open("a") as file:
        file.write('"77","no list","[""a""]","[""b""]"\n')
    run = a_run(data, tmp_path, PRIOR)
    cross_validate(run)
    assert "1 repairs in the test file; the first: id 77: prompt is not JSON" in log_lines[0]
    assert read_predictions(run.folder / "test.csv").id.tolist()[-1] == "77"


def test_a_run_without_models_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        load_fold_models(tmp_path)


def test_the_resolved_experiment_runs_again_with_the_same_identity(tmp_path, monkeypatch, log_lines):
    from pairrank.runs.experiment_files import load_experiment

    data = write_folder(tmp_path / "data")
    experiment = load_experiment("prior", ["smoothing=2"], salt="x", limit=30)
    run = resolve_run(experiment, DataFolder(data), tmp_path / "runs")
    first = cross_validate(run)
    again = load_experiment(str(run.folder / "experiment.toml"))
    assert again.label == experiment.label == "prior+smoothing=2+salt=x+limit=30"
    log_lines.clear()
    second = cross_validate(resolve_run(again, DataFolder(data), tmp_path / "runs"))
    assert second.identity == first.identity
    assert all("used again" in line for line in log_lines)
    monkeypatch.chdir(run.folder)
    assert load_experiment("experiment.toml").label == experiment.label

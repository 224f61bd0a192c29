"""Teachers know no scored winner; their targets are those of the formula, and calibrated inside the fold."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss as sklearn_log_loss

from benchmarks import leaks
from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.data.folder import DataFolder
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.data.writing import write_battles
from pairrank.models.base import build
from pairrank.runs import cross_validation, training_rows
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.fold_models import load_fold_models
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run, is_reusable
from pairrank.runs.teaching import Teacher, Teaching, fit_teaching
from pairrank.runs.training_rows import attach_predictions
from tests.support.battles import tiny_battles
from tests.support.runs import complaint, load_run, write_experiment

TAUGHT = '{}\n[model]\nname = "memory"\nsoft_targets = true'


def normalised(values: np.ndarray) -> np.ndarray:
    return values / values.sum(axis=1, keepdims=True)


def mean_of(*members: np.ndarray) -> np.ndarray:
    return normalised(np.prod(members, axis=0) ** (1 / len(members)))


@pytest.fixture(scope="module")
def known() -> tuple[Battles, dict[str, np.ndarray]]:
    """600 battles with winners from known probabilities, and two distortions of these: one sharper, one flatter."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([1.5, 1.5, 1.0], 600)
    winner = np.array([rng.choice(3, p=row) for row in truth])
    return replace(tiny_battles(600), winner=winner), {
        "sharp": normalised(truth**1.6),
        "flat": normalised(truth**0.65),
    }


def taught_by(train: Battles, given: dict[str, np.ndarray], weight: float) -> Teaching:
    teachers = [Teacher(name, Path("none"), Predictions(train.id, proba)) for name, proba in given.items()]
    return fit_teaching(teachers, weight, train)


def best_temperature(proba: np.ndarray, winner: np.ndarray) -> float:
    def loss(temperature: float) -> float:
        return sklearn_log_loss(winner, normalised(proba ** (1 / temperature)), labels=[0, 1, 2])

    return float(minimize_scalar(loss, bounds=(0.5, 2.0), method="bounded", options={"xatol": 1e-8}).x)


def test_targets_mix_the_winners_with_the_geometric_mean_of_calibrated_teachers(known):
    train, given = known
    calibrated = [normalised(p ** (1 / best_temperature(p, train.labels))) for p in given.values()]
    expected = 0.4 * np.eye(3)[train.labels] + 0.6 * mean_of(*calibrated)
    assert best_temperature(given["sharp"], train.labels) > 1.2
    assert best_temperature(given["flat"], train.labels) < 0.85
    assert taught_by(train, given, 0.6).targets(train) == pytest.approx(expected, abs=1e-4)


def test_a_temperature_stays_within_its_bounds(known):
    train, given = known
    teaching = taught_by(train, {"certain": np.clip(given["sharp"] ** 8, 1e-12, None)}, 0.5)
    assert [model.report()["temperature"] for model in teaching.calibrations] == [pytest.approx(2.0, abs=1e-6)]


def test_the_cross_entropy_of_a_mixture_is_that_of_the_winners_plus_a_divergence(known):
    train, given = known
    weight, decided = 0.7, np.eye(3)[train.labels]
    targets = taught_by(train, given, weight).targets(train)
    teachers = (targets - (1 - weight) * decided) / weight
    constants = []
    for seed in range(3):
        q = np.random.default_rng(seed).dirichlet([2, 2, 2], len(train))
        divergence = (teachers * np.log(teachers / q)).sum(axis=1)
        parts = -(1 - weight) * (decided * np.log(q)).sum(axis=1) + weight * divergence
        constants.append(-(targets * np.log(q)).sum(axis=1) - parts)
    assert np.ptp(constants, axis=0).max() < 1e-9


def test_a_single_teacher_of_full_weight_is_used_to_the_last_digit(known):
    train, given = known
    rounded = given["sharp"].round(9)
    teaching = taught_by(train, {"sharp": rounded}, 1.0)
    assert np.array_equal(teaching.targets(train), rounded)
    assert teaching.calibrations == ()


def test_soft_winners_take_the_place_of_winners(known):
    train, given = known
    votes = np.random.default_rng(5).dirichlet([1, 1, 1], len(train))
    both = taught_by(train, given, 0.25)
    difference = both.targets(replace(train, soft=votes)) - both.targets(train)
    assert difference == pytest.approx(0.75 * (votes - np.eye(3)[train.labels]), abs=1e-12)


# --- In a run


@pytest.fixture
def taught(workspace: Path) -> Path:
    """The workspace with a student of two teachers."""
    write_experiment(
        workspace, "taught", TAUGHT.format('teacher = ["memory", "frequencies"]\nteacher_weight = 0.7')
    )
    return workspace


def soft_of(run: Run) -> dict[str, list[float]]:
    return json.loads((run.folder / "soft.json").read_text())


def test_students_learn_from_teachers_that_are_trained_and_calibrated_inside_the_fold(taught):
    run = load_run(taught, "taught")
    cross_validate(run, [1])
    train = run.battles.take(run.fold_index != 1)
    calibrated = []
    for name in ("memory", "frequencies"):
        given = read_predictions(run.folder / "inner" / "fold1" / name / "oof.csv")
        assert sorted(given.id) == sorted(train.id)
        rows = attach_predictions(train, {name: given})
        calibrated.append(build("pool", weights="temperature").fit(rows).predict_proba(rows))
    expected = 0.3 * np.eye(3)[train.labels] + 0.7 * mean_of(*calibrated)
    soft = soft_of(run)
    assert list(soft) == train.id.tolist()
    assert list(soft.values()) == pytest.approx(expected, abs=1e-9)


def with_other_winners(folder: Path, fold: int) -> Path:
    """A copy of the data in which other sides have won the battles of one fold."""
    run = load_run(folder, "memory")
    winner = np.where(run.fold_index == fold, (run.battles.labels + 1) % 3, run.battles.labels)
    other = folder / "other"
    other.mkdir()
    write_battles(replace(run.battles, winner=winner), other / "train.csv")
    return other


@pytest.mark.parametrize("is_leaky", [False, True])
def test_targets_do_not_depend_on_scored_winners(taught, monkeypatch, is_leaky):
    """Planted: teachers that are trained on all battles, whose targets then do depend on them."""
    if is_leaky:
        monkeypatch.setattr(cross_validation, "inner_run", leaks.leaky_inner_run)
    other = with_other_winners(taught, 1)
    first = load_run(taught, "taught")
    second = resolve_run(first.experiment, DataFolder(other), taught / "again")
    for run in (first, second):
        cross_validate(run, [1])
    assert (soft_of(first) == soft_of(second)) is not is_leaky


def test_a_finished_run_of_several_teachers_is_used_again(taught, log_lines):
    cross_validate(load_run(taught, "taught"))
    log_lines.clear()
    cross_validate(load_run(taught, "taught"))
    assert len([line for line in log_lines if "used again" in line]) == 5
    write_experiment(taught, "taught", TAUGHT.format('teacher = ["memory", "frequencies"]\nteacher_weight = 0.6'))
    assert not is_reusable(load_run(taught, "taught"))


def test_a_run_of_one_teacher_by_an_earlier_version_is_still_reusable(workspace):
    """Its record has no weight of the teacher, and names the teacher as a string."""
    write_experiment(workspace, "taught", TAUGHT.format('teacher = "frequencies"'))
    run = load_run(workspace, "taught")
    cross_validate(run)
    metrics = run.folder / "metrics.json"
    values = json.loads(metrics.read_text())
    assert values["experiment"]["teacher"] == "frequencies"
    del values["experiment"]["teacher_weight"]
    metrics.write_text(json.dumps(values))
    assert is_reusable(load_run(workspace, "taught"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('teacher = ["memory", "memory"]', "teacher: memory is named more than once"),
        ("teacher = [3]", "teacher: 3: expected the name of an experiment"),
        ("teacher = 3", "teacher = 3: expected the name of an experiment, or a list of names"),
        ('teacher = "memory"\nteacher_weight = 0', "teacher_weight = 0: expected a number above 0"),
        ('teacher = "memory"\nteacher_weight = 1.5', "teacher_weight = 1.5: expected a number above 0"),
        ("teacher_weight = 0.5", "teacher_weight is given, but no teacher"),
        ('teacher = ["mine"]', "form a circle"),
        ('extra = [{path = "x.csv", labels = "teacher"}]', 'labels = "teacher" needs a `teacher`'),
        ('extra = [{path = "x.csv", labels = "guess"}]', "expected one of"),
    ],
)
def test_wrong_teachers_are_refused(workspace, text, expected):
    write_experiment(workspace, "mine", TAUGHT.format(text))
    assert expected in complaint(lambda: load_run(workspace, "mine"))


# --- Battles without winners


PSEUDO = 'teacher = "{}"\nextra = [{{path = "{}", labels = "teacher", weight = 0.5}}]'


def write_test(folder: Path, *parts: Battles) -> None:
    """Write a test file of these battles, one after the other, with ids of their own."""
    whole = concatenate([replace(part, winner=None, model_a=None, model_b=None) for part in parts])
    ids = object_array([f"t{i}" for i in range(len(whole))])
    write_battles(replace(whole, id=ids), folder / "data" / "test.csv")


def learned(run: Run, fold: int) -> list[str]:
    """Return the ids that the student of a fold was last trained on."""
    lines = [json.loads(line) for line in (run.folder / "fits.txt").read_text().splitlines()]
    return [ids for name, ids in lines if name == f"fold{fold}"][-1]


def test_battles_of_the_test_file_are_learned_with_the_predictions_of_the_teachers_inner_models(workspace):
    """The teacher predicts frequencies, which are counted here by hand for each of its four models."""
    write_experiment(workspace, "pseudo", TAUGHT.format(PSEUDO.format("frequencies", "test")))
    run = load_run(workspace, "pseudo")
    cross_validate(run, [1])
    tests = [f"test/{name}" for name in run.data.test.id]
    assert learned(run, 1) == [*run.battles.id[run.fold_index != 1], *tests]
    models = []
    for inner in (0, 2, 3, 4):
        counts = np.bincount(run.battles.labels[~np.isin(run.fold_index, (1, inner))], minlength=3) + 1.0
        models.append(counts[None] / counts.sum())
    soft = soft_of(run)
    assert [soft[name] for name in tests] == pytest.approx(np.repeat(mean_of(*models), len(tests), axis=0))
    assert soft[run.battles.id[run.fold_index != 1][0]] != soft[tests[0]]


def test_a_run_that_learns_from_test_texts_says_so_and_so_does_what_builds_on_it(workspace):
    write_experiment(workspace, "pseudo", TAUGHT.format(PSEUDO.format("frequencies", "test")))
    write_experiment(workspace, "above", 'inputs = ["pseudo"]\n[model]\nname = "echo"')
    write_experiment(workspace, "taught", TAUGHT.format('teacher = "frequencies"'))
    for name, expected in (("pseudo", True), ("above", True), ("taught", False)):
        record = cross_validate(load_run(workspace, name))
        assert (cross_validation.TEST_TEXTS in record.warnings) is expected, name


def test_only_the_test_file_itself_may_have_prompts_of_the_test_file(workspace):
    write_test(workspace, tiny_battles(4, first=700, word="new"), tiny_battles(2, first=800, word="other"))
    write_battles(tiny_battles(6, first=700, word="new"), workspace / "more.csv")
    both = (
        'teacher = "frequencies"\n'
        'extra = [{path = "test", labels = "teacher"}, {path = "more.csv", labels = "teacher"}]'
    )
    write_experiment(workspace, "pseudo", TAUGHT.format(both))
    run = load_run(workspace, "pseudo")
    cross_validate(run, [0])
    added = [name for name in learned(run, 0) if "/" in name]
    assert added == [*(f"test/t{i}" for i in range(6)), "more/1704", "more/1705"]
    usage = json.loads((run.folder / "fold0" / "fold.json").read_text())["extra"]
    assert [(each["in_test"], each["in_fold"], each["used"]) for each in usage] == [(0, 0, 6), (4, 0, 2)]


@pytest.mark.parametrize("source", ["test", "copy.csv"])
@pytest.mark.parametrize(
    ("knows_winners", "keeps_scored", "expected"),
    [(False, False, np.log(3)), (True, False, np.log(3)), (False, True, None), (True, True, -np.log(0.9))],
)
def test_scored_battles_in_a_source_without_winners_do_not_change_the_score(
    workspace, monkeypatch, source, knows_winners, keeps_scored, expected
):
    """The source holds every scored battle. A student that memorises prompts shows each planted leak.

    If scored battles are kept, it is sure of what the teacher guesses; if the teacher knows the winners as well, it
    is right.
    """
    run = load_run(workspace, "memory")
    (write_test if source == "test" else lambda folder, rows: write_battles(rows, folder / source))(
        workspace, run.battles
    )
    write_experiment(workspace, "pseudo", TAUGHT.format(PSEUDO.format("memory", source)))
    if knows_winners:
        monkeypatch.setattr(cross_validation, "inner_run", leaks.leaky_inner_run)
    if keeps_scored:
        monkeypatch.setattr(training_rows, "add_extra", leaks.add_everything)
    found = cross_validate(load_run(workspace, "pseudo")).log_loss
    if expected is None:
        assert abs(found - np.log(3)) > 0.1
    else:
        assert found == pytest.approx(expected, abs=1e-6)


def test_a_student_inside_a_fold_learns_no_test_text_with_a_prompt_of_the_outer_fold(workspace):
    """The test file repeats every training prompt."""
    write_test(workspace, load_run(workspace, "memory").battles)
    write_experiment(workspace, "pseudo", TAUGHT.format(PSEUDO.format("frequencies", "test")))
    write_experiment(workspace, "nested", 'inputs = ["pseudo"]\n[model]\nname = "echo"\n[split]\nnested = true')
    run = load_run(workspace, "nested")
    cross_validate(run, [2])
    scored = {prompt for prompt, fold in zip(run.battles.prompt, run.fold_index, strict=True) if fold == 2}
    prompt_of = dict(zip(run.data.test.id, run.data.test.prompt, strict=True))
    lines = (run.folder / "inner" / "fold2" / "pseudo" / "fits.txt").read_text().splitlines()
    assert len(lines) == 4
    for _, ids in map(json.loads, lines):
        texts = [prompt_of[name.removeprefix("test/")] for name in ids if name.startswith("test/")]
        assert texts
        assert not scored & set(texts)


def test_a_source_that_is_the_test_file_needs_one(workspace):
    (workspace / "data" / "test.csv").unlink()
    write_experiment(workspace, "pseudo", TAUGHT.format(PSEUDO.format("frequencies", "test")))
    assert "the data have no test file" in complaint(lambda: cross_validate(load_run(workspace, "pseudo")))


def test_students_are_trained_again_if_the_texts_of_the_test_file_change(workspace):
    write_experiment(workspace, "pseudo", TAUGHT.format(PSEUDO.format("frequencies", "test")))
    cross_validate(load_run(workspace, "pseudo"), [0])
    cross_validate(load_run(workspace, "pseudo"), [0])
    fits = workspace / "runs" / "pseudo" / "fits.txt"
    assert len(fits.read_text().splitlines()) == 1
    write_battles(tiny_battles(4, first=900, word="newer", labelled=False), workspace / "data" / "test.csv")
    run = load_run(workspace, "pseudo")
    cross_validate(run, [0])
    assert sum(name.startswith("test/") for name in learned(run, 0)) == 4


# --- Inputs with changes


def test_an_input_may_have_changes_and_has_a_column_and_a_folder_of_its_own(workspace):
    write_experiment(workspace, "mine", 'inputs = ["memory", "memory+sureness=0.6"]\n[model]\nname = "pool"')
    run = load_run(workspace, "mine")
    cross_validate(run)
    assert [each.folder.name for each in run.inputs] == ["memory", "memory+sureness=0.6"]
    assert run.train.input_names == ("memory", "memory+sureness=0.6")
    weights = json.loads((run.folder / "fold0" / "pool.json").read_text())
    assert weights["inputs"] == ["memory", "memory+sureness=0.6"]
    assert is_reusable(load_run(workspace, "mine"))
    # A prompt of training, which all models but one know with .9 and .6.
    known = run.battles.take(slice(0, 1))
    fold = int(run.fold_index[0])
    other = (fold + 1) % 5
    found = load_fold_models(run.folder).predict_fold(other, known).proba
    ends = [np.full((1, 3), (1 - sure) / 2) for sure in (0.9, 0.6)]
    for end, sure in zip(ends, (0.9, 0.6), strict=True):
        end[0, run.battles.labels[0]] = sure
    assert found == pytest.approx(mean_of(*ends), abs=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('inputs = ["memory+sureness=much"]', "expected a number"),
        ('inputs = ["memory+sure=0.5"]', "no parameter is called 'sure'"),
        ('inputs = ["memory+salt=2"]', "no parameter is called 'salt'"),
        ('inputs = ["mine+seed=1"]', "form a circle"),
        ('inputs = ["memory+seed=1", "memory+seed=1"]', "named more than once"),
    ],
)
def test_wrong_changes_of_inputs_are_refused(workspace, text, expected):
    write_experiment(workspace, "mine", f'{text}\n[model]\nname = "pool"')
    assert expected in complaint(lambda: load_run(workspace, "mine"))


def test_the_message_about_a_missing_input_shows_how_to_train_it(workspace):
    write_experiment(workspace, "mine", 'inputs = ["memory+seed=4"]\n[model]\nname = "pool"')
    message = complaint(lambda: load_run(workspace, "mine").train)
    assert "run memory --set seed=4" in message


def test_the_column_of_an_input_leaves_out_changes_of_the_split(workspace):
    run = load_run(workspace, salt="9", limit=30)
    assert [each.experiment.column for each in run.inputs] == ["memory", "frequencies"]

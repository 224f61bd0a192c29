"""What wins a search is written down only where the untouched fold agrees or is neutral, with how it was found."""

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.metrics import log_loss as sklearn_log_loss

from pairrank.cli import tune_results
from pairrank.data.folder import DataFolder
from pairrank.data.predictions import read_predictions
from pairrank.errors import UserError
from pairrank.evaluation.intervals import Difference
from pairrank.models.base import build
from pairrank.models.corrected import WithEvidence
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run
from pairrank.tuning import worker as working
from pairrank.tuning.plots import PLOTS, draw_study
from pairrank.tuning.search import best_trial, settings_in
from pairrank.tuning.storage import finished
from pairrank.tuning.verdict import (
    importances_of,
    judge,
    run_with_chosen,
    tuned_experiment,
    tuned_file,
    write_record,
    write_tuned,
)
from pairrank.tuning.worker import work
from tests.support.command_line import refused
from tests.support.studies import SMALL, some_search, write_experiment

pytestmark = pytest.mark.slow

TUNE = ("tune", "small", "--data", "arena", "--trials", "6", "--pruner", "none")


def searched(**changes):
    search = some_search(**({"pruner": "none"} | changes))
    return search, work(search, None)


def lucky_value(*arguments):
    """The value of a trial of which only the number counts: 3 is the best, the experiment's own the second."""
    return {0: 1.05, 3: 1.01}.get(int(arguments[2].name), 1.1)


@pytest.fixture
def lucky(monkeypatch):
    """Searches in which trial 3 is the best and the experiment's own setting the second."""
    monkeypatch.setattr(working, "evaluate", lucky_value)


@pytest.fixture(scope="module")
def lucky_folder(arena_template, tmp_path_factory):
    """A folder with a lucky search of six trials, for tests that only read it, and the verdict on it."""
    folder = tmp_path_factory.mktemp("lucky") / "folder"
    shutil.copytree(arena_template, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(working, "evaluate", lucky_value)
        search, study = searched()
        return folder, judge(search, study)


@pytest.fixture
def lucky_search(lucky_folder, monkeypatch):
    """The search and the study of that folder, which is the current one."""
    monkeypatch.chdir(lucky_folder[0])
    return searched()


@pytest.fixture
def undrawn(monkeypatch):
    """No plots, where they are not what a test is about."""
    monkeypatch.setattr(tune_results, "draw_study", lambda *_: [])


def test_both_settings_are_compared_on_the_untouched_fold(lucky_search, lucky_folder):
    (search, study), (_, verdict) = lucky_search, lucky_folder
    assert (verdict.best.number, verdict.own.number) == (3, 0)
    battles, member = search.run.battles, search.run.fold_index
    seen, scored = battles.take(member != 4), battles.take(member == 4)
    losses = []
    for setting in (settings_in(study.trials[3]), {}):
        model = WithEvidence(build("structure", learner="logistic", groups=["length"], **setting)).fit(seen)
        losses.append(sklearn_log_loss(scored.labels, model.predict_proba(scored), labels=[0, 1, 2]))
    assert verdict.battles == len(scored)
    assert verdict.difference.mean == pytest.approx(losses[0] - losses[1], abs=1e-9)
    assert verdict.difference.low <= verdict.difference.mean <= verdict.difference.high


@pytest.mark.parametrize(
    ("low", "high", "holds"), [(-0.02, -0.01, True), (-0.01, 0.01, True), (0.0, 0.01, True), (0.001, 0.01, False)]
)
def test_a_setting_is_rejected_only_if_the_whole_interval_is_above_0(lucky_folder, low, high, holds):
    verdict = replace(lucky_folder[1], difference=Difference((low + high) / 2, low, high))
    assert verdict.is_accepted is holds


@pytest.mark.slow
def test_inputs_of_the_verdict_have_not_seen_the_untouched_winners(arena_here, lucky):
    write_experiment(
        "both",
        'inputs = ["small", "prior"]\n[model]\nname = "pool"\n[search]\nweights = ["equal", "greedy", "fitted"]',
    )
    search, study = searched(name="both", trials=4)
    judge(search, study)
    hidden = set(search.run.battles.take(search.run.fold_index == 4).id.tolist())
    for name in ("tuned", "own"):
        made = list((search.folder / name / "inner" / "fold4").glob("*/oof.csv"))
        assert len(made) == 2
        for file in made:
            assert not {line.split(",")[0] for line in file.read_text().splitlines()} & hidden


def test_if_no_setting_is_better_nothing_is_trained(arena_here, monkeypatch):
    monkeypatch.setattr(working, "evaluate", lambda *args: 1.0 + (args[2].name != "0"))
    search, study = searched()
    verdict = judge(search, study)
    assert verdict.difference is None
    assert not verdict.is_accepted
    assert not (search.folder / "own").exists()


def test_without_a_value_of_the_own_setting_the_reasons_are_listed(arena_here, monkeypatch):
    def failing(*args):
        raise UserError("too large for this machine.")

    monkeypatch.setattr(working, "evaluate", failing)
    search = some_search()
    for _ in range(2):  # the second call need not try again to know
        with pytest.raises(UserError, match=r"own setting has failed.*too large for this machine"):
            work(search, None)
    study = search.open()
    assert len(study.trials) == 1
    with pytest.raises(UserError, match=r"has no value(.|\n)*\n  - 1 times: UserError: too large"):
        judge(search, study)


def test_the_tuned_file_is_an_experiment_that_says_how_it_was_found(arena_here, lucky):
    write_experiment("small", SMALL.replace("[search]", "[split]\nfolds = 4\n[search]"))
    search, study = searched(untouched=1, folds=(0, 2, 3))
    verdict = judge(search, study)
    file = write_tuned(search, study, verdict)
    assert file == Path("experiments/small-tuned.toml")
    text = file.read_text()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert "6 trials (0 pruned, 0 failed)" in comments[0]
    assert "On folds 0, 2, 3 of 4: 1.0100, with small's own setting 1.0500." in comments[1]
    assert (
        f"On fold 1, which the search never used ({verdict.battles} battles): {verdict.difference.mean:+.4f}"
        in text
    )
    table = tomllib.loads(text)
    assert table["tuned_on"] == [0, 2, 3]
    assert "search" not in table
    again = load_experiment("small-tuned")
    assert again.parameters == tuned_experiment(search, study.trials[3]).parameters
    assert again.parameters["penalty"] == settings_in(study.trials[3])["penalty"]
    assert (again.folds, again.tuned_on, again.label) == (4, (0, 2, 3), "small-tuned")
    # Only what differs from the defaults.
    assert table["model"].keys() == {"name", "learner", "groups", "penalty", "clip"}
    assert table["split"] == {"folds": 4}
    assert write_tuned(search, study, verdict) == file  # its own file may be written again


def test_the_tuned_file_keeps_inputs_teachers_and_nested_splits(arena_here, lucky):
    write_experiment(
        "stack",
        'submittable = false\ninputs = ["small"]\nseconds = 7\n[model]\nname = "gbdt"\nlearner = "multinomial"\n'
        'groups = ["length"]\nidentity = "true"\n[split]\nnested = true\n'
        "[search]\npenalty = {low = 1.0, high = 1000.0, log = true}\ntrees.leaves = {low = 2, high = 9}\n",
    )
    search, study = searched(name="stack", trials=4)
    file = write_tuned(search, study, judge(search, study))
    again, own = load_experiment(str(file)), load_experiment("stack")
    for key in ("inputs", "nested", "submittable", "seconds", "salt", "folds"):
        assert getattr(again, key) == getattr(own, key), key
    assert again.parameters["trees"]["leaves"] == settings_in(best_trial(study))["trees.leaves"]


def test_a_file_of_another_study_is_never_overwritten(arena_here):
    write_experiment("small-tuned", '[model]\nname = "prior"')
    assert tuned_file(some_search()) == Path("experiments/small-tuned-arena.toml")
    write_experiment("small-tuned-arena", '[model]\nname = "prior"')
    with pytest.raises(UserError, match=r"small-tuned-arena.toml: both files belong to other studies"):
        tuned_file(some_search())


@pytest.mark.slow
def test_a_longer_search_may_remove_the_tuned_file(arena_here, call, lucky, monkeypatch, undrawn):
    from pairrank.tuning import verdict

    assert call(*TUNE).code == 0
    assert Path("experiments/small-tuned.toml").exists()
    monkeypatch.setattr(verdict, "paired_difference", lambda *_: Difference(0.02, 0.01, 0.03))
    ended = call(*TUNE, "--trials", "8")
    assert "Removed: experiments/small-tuned.toml, which an earlier verdict of this study had written." in ended.out
    assert not Path("experiments/small-tuned.toml").exists()


def test_a_second_search_needs_a_fold_that_no_search_has_used(arena_here):
    write_experiment("small", "tuned_on = [0, 1]\n" + SMALL)
    search, study = searched(trials=1)
    assert tuned_experiment(search, study.trials[0]).tuned_on == (0, 1, 2, 3)
    with pytest.raises(UserError, match="an earlier search for the setting of small has used it"):
        some_search(untouched=1, folds=(0, 2))


def test_the_record_has_every_trial(lucky_search, lucky_folder):
    (search, study), (_, verdict) = lucky_search, lucky_folder
    record = json.loads(write_record(search, study, verdict, {"clip": 1.0}).read_text())
    assert [trial["log_loss"] for trial in record["trials"]] == [1.05, 1.1, 1.1, 1.01, 1.1, 1.1]
    assert record["trials"][record["best"]]["settings"] == dict(settings_in(study.trials[3]))
    assert record["untouched"]["fold"] == 4
    assert record["binding"] == search.binding


@pytest.mark.slow
def test_importances_and_plots_are_optunas(arena_here):
    search, study = searched(trials=12)
    shares = importances_of(study)
    assert shares.keys() == {"penalty", "clip"}
    assert sum(shares.values()) == pytest.approx(1)
    drawn = draw_study(study, search.folder)
    assert {file.stem for file in drawn} == set(PLOTS)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in drawn)


@pytest.mark.slow
def test_a_plot_that_optuna_cannot_draw_is_left_out(arena_here, monkeypatch):
    from optuna.visualization import matplotlib as plots

    def too_few(study):
        raise RuntimeError("Evaluator cannot be applied")

    monkeypatch.setattr(plots, "plot_slice", too_few)
    search, study = searched(trials=9)
    assert importances_of(study) == {}
    assert {file.stem for file in draw_study(study, search.folder)} == {*PLOTS} - {"slice"}
    # Without any finished trial it draws empty ones.
    assert draw_study(some_search(home=Path("none")).open(), search.folder)


# --- The nested figure


@pytest.mark.slow
def test_every_fold_has_the_setting_that_its_own_search_chose(arena_here, call, undrawn):
    ended = call(*TUNE, "--nested")
    assert ended.code == 0, ended.err
    folder = Path("runs/arena/small+tuned=nested")
    run = resolve_run(load_experiment("small"), DataFolder(Path("arena")), Path("runs/arena"))
    oof = read_predictions(folder / "oof.csv").align(run.battles.id)
    chosen = set()
    for fold in range(5):
        others = tuple(f for f in range(5) if f != fold)
        home = Path("runs/arena/small+tuning")
        best = best_trial(some_search(untouched=fold, folds=others, home=home).open())
        setting = dict(settings_in(best))
        kept = json.loads((folder / f"fold{fold}" / "model.json").read_text())["parameters"]
        assert {key: kept[key] for key in setting} == setting
        chosen.add(tuple(setting.values()))
        seen, scored = run.battles.take(run.fold_index != fold), run.fold_index == fold
        model = WithEvidence(build("structure", learner="logistic", groups=["length"], **setting)).fit(seen)
        assert oof.proba[scored] == pytest.approx(model.predict_proba(run.battles.take(scored)), abs=1e-9)
    assert len(chosen) > 1  # or the test above says nothing
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["log_loss"] == pytest.approx(sklearn_log_loss(run.battles.labels, oof.proba, labels=[0, 1, 2]))
    assert "tuned_on" not in metrics
    assert metrics["chosen"].keys() == {"0", "1", "2", "3", "4"}
    assert f"small+tuned=nested {metrics['log_loss']:.4f}" in ended.out
    assert not Path("experiments/small-tuned.toml").exists()
    # It is a run like others.
    assert call("submit", "small+tuned=nested", "--data", "arena", "--out", "out.csv").code == 0
    assert "small+tuned=nested" in call("compare", "--data", "arena").out
    again = call(*TUNE, "--nested")
    assert again.out.count("used again") == 10
    # No file that, run again, would make the plain experiment under this name.
    assert not (folder / "experiment.toml").exists()


def test_other_chosen_settings_are_another_run(arena_here):
    run = some_search().run
    study = work(some_search(pruner="none"), None)
    one, two = (run_with_chosen(run, dict.fromkeys(range(5), study.trials[i]), Path("runs")) for i in (1, 2))
    from pairrank.runs.identity import identity_of

    assert len({identity_of(each) for each in (run, one, two)}) == 3


# --- The command


@pytest.mark.slow
def test_tune_from_the_beginning_to_the_end(arena_here, call):
    ended = call(*TUNE)
    assert ended.code == 0, ended.err
    assert "fold 4 is kept out of the search" in ended.out
    assert "6 of 6 trials: 6 complete, 0 pruned, 0 failed; 0 were interrupted and repeated." in ended.out
    assert "On fold 4, which the search never used" in ended.out
    folder = Path("runs/arena/small+tuning")
    assert {"tuning.json", "slice.png", "optimization_history.png"} <= {
        f.name for f in (folder / "fold4").iterdir()
    }
    # The original's own run is left alone, and the study's folder is no run.
    assert not Path("runs/arena/small").exists()
    assert call("list", "--data", "arena").code == 0
    again = call(*TUNE)
    assert again.code == 0
    assert "trial 0 (" not in again.out


def test_tuned_experiments_are_scored_on_unused_folds_only(arena_here, call, lucky, undrawn):
    assert call(*TUNE).code == 0
    assert Path("experiments/small-tuned.toml").is_file()
    ended = call("run", "small-tuned", "--data", "arena")
    assert ended.code == 0, ended.err
    assert (
        "small-tuned: its setting was tuned on folds 0, 1, 2, 3; this row covers only the other battles"
        in ended.out
    )
    run = resolve_run(load_experiment("small-tuned"), DataFolder(Path("arena")), Path("runs/arena"))
    unseen = run.fold_index == 4
    oof = read_predictions(run.folder / "oof.csv").align(run.battles.id)
    expected = sklearn_log_loss(run.battles.labels[unseen], oof.proba[unseen], labels=[0, 1, 2])
    board = json.loads(Path("runs/arena/leaderboard.json").read_text())
    row = next(row for row in board["rows"] if row["label"] == "small-tuned")
    assert row["log_loss"] == pytest.approx(expected)
    assert row["battles"] == unseen.sum()
    assert row["tuned_on"] == [0, 1, 2, 3]
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["log_loss"] == pytest.approx(expected)
    hits = oof.proba[unseen].argmax(axis=1) == run.battles.labels[unseen]
    assert metrics["accuracy"] == pytest.approx(hits.mean())
    # And so is what builds on it.
    write_experiment("above", 'inputs = ["small-tuned", "prior"]\n[model]\nname = "pool"')
    assert call("run", "above", "--data", "arena").code == 0
    board = json.loads(Path("runs/arena/leaderboard.json").read_text())
    rows = {row["label"]: row for row in board["rows"]}
    assert rows["above"]["tuned_on"] == [0, 1, 2, 3]
    assert rows["above"]["battles"] == unseen.sum()
    assert rows["prior"]["battles"] == len(unseen)


def test_a_run_of_used_folds_only_has_no_row(arena_here, call):
    write_experiment("small-tuned", "tuned_on = [0, 1, 2, 3]\n" + SMALL)
    ended = call("run", "small-tuned", "--data", "arena", "--fold", "0")
    assert ended.code == 0, ended.err
    assert "small-tuned: not in the table, because it has predicted only folds" in ended.out
    assert call("list", "--data", "arena").code == 0
    assert json.loads(Path("runs/arena/small-tuned/metrics.json").read_text())["log_loss"] is None


def test_the_untouched_fold_may_reject_a_setting(arena_here, call, lucky, monkeypatch, undrawn):
    from pairrank.tuning import verdict

    monkeypatch.setattr(verdict, "paired_difference", lambda *_: Difference(0.02, 0.01, 0.03))
    ended = call(*TUNE)
    assert ended.code == 0
    assert "the whole interval is above 0. No experiment is written" in ended.out
    assert not Path("experiments/small-tuned.toml").exists()


@pytest.mark.slow
def test_importances_are_shown_once_there_are_enough_trials(arena_here, call, undrawn):
    assert "Importance of the parameters" not in call(*TUNE).out
    assert "Importance of the parameters" in call(*TUNE, "--trials", "12").out


def test_an_incomplete_study_is_judged_on_its_finished_trials(arena_here, call, undrawn):
    assert call(*TUNE).code == 0
    ended = call("tune", "small", "--data", "arena", "--trials", "50", "--pruner", "none", "--timeout", "0")
    assert ended.code == 0
    assert "6 of 50 trials" in ended.out
    assert "The verdict uses the trials that have ended" in ended.out


def test_mistakes_are_refused_before_any_work(arena_here, call):
    write_experiment("plain", '[model]\nname = "prior"')
    write_experiment("wrong", SMALL.replace("penalty", "penalti").replace("clip = {low = 1.0", "clip = {low = 9.0"))
    arena = ("--data", "arena")
    assert refused(call("tune", "smal", *arena), "Did you mean 'small'?")
    assert refused(call("tune", "plain", *arena), "nothing to tune", "[search]")
    assert refused(
        call("tune", "wrong", *arena), "2 complaints", "Did you mean 'penalty'?", "low = 9.0, high = 6.0"
    )
    assert refused(call("tune", "small", *arena, "--fold", "9"), "fold 9: small has the folds 0 to 4")
    assert refused(call("tune", "small", *arena, "--fold", "4"), "fold 4 is kept out of the search")
    assert refused(call("tune", "small", *arena, "--nested", "--untouched", "1"), "--nested keeps every fold out")
    assert refused(call("tune", "small", *arena, "--storage", "study.db"), "expected the URL of a database")
    assert refused(call("tune", "small", "--data", "nowhere"), "no such folder")
    assert refused(
        call("tune", "small", *arena, "--set", "penalty=5000"), "own value 5000.0, where the search begins"
    )
    assert not list(Path().rglob("*.csv.tmp"))
    assert not list(Path().rglob("oof.csv"))


def test_a_parameter_of_set_is_fixed_for_the_whole_search(arena_here, call, undrawn):
    assert call(*TUNE, "--set", "trees.threads=2").code == 0
    home = Path("runs/arena/small+trees.threads=2+tuning")
    assert (home / "study.db").is_file()
    assert len(finished(_study(home))) == 6


@pytest.mark.parametrize("key", ["penalty", "trees.leaves", "leaves"])
def test_set_may_not_fix_a_parameter_that_the_search_changes(arena_here, call, key):
    search = "\n[search]\npenalty = {low = 1.0, high = 900.0}\ntrees.leaves = {low = 2, high = 6}\n"
    write_experiment("small", '[model]\nname = "structure"' + search)
    assert refused(call(*TUNE, "--set", f"{key}=4"), f"--set {key}=4", "the search changes this parameter")


def _study(home: Path):
    import optuna

    url = f"sqlite:///{(home / 'study.db').as_posix()}"
    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url)

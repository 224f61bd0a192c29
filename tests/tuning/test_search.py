"""None lost, none doubled: however workers begin, die and begin again, a study has the trials it was asked for."""

import errno
import functools
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from pairrank.cli.messages import messages_to
from pairrank.data.predictions import Predictions
from pairrank.errors import UserError
from pairrank.files import write_json
from pairrank.tuning import database, sampling, storage
from pairrank.tuning import search as searching
from pairrank.tuning import worker as working
from pairrank.tuning.search import best_trial, own_trial, settings_in
from pairrank.tuning.storage import (
    count_requeued,
    finished,
    has_room,
    open_study,
    position_of,
    requeue_all,
    requeue_stale,
    running,
)
from pairrank.tuning.worker import work
from tests.support.command_line import run_python, start_python
from tests.support.studies import SMALL, some_search, write_experiment

# Trials are asked for by hand here, where `study.optimize` would give signs of life for them.
pytestmark = [pytest.mark.filterwarnings("ignore:Heartbeat of storage"), pytest.mark.slow]


WORKER = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
from pathlib import Path
from pairrank.tuning import database, storage, worker
database.HEARTBEAT, database.GRACE = 1, 3
evaluate = worker.evaluate
def evaluate_when_allowed(*args):
    Path(f"at-work-{os.getpid()}").touch()
    while not Path("go-on").exists():
        time.sleep(0.02)
    return evaluate(*args)
worker.evaluate = evaluate_when_allowed
from pairrank.cli.app import main
main()
"""
"""The command line in a process of its own, whose trials wait for a file; dead workers are given up after 3 s."""


def quietly(search, deadline=None):
    lines = []
    with messages_to(lines.append):
        return work(search, deadline), lines


def start_worker(*arguments):
    return start_python("-c", WORKER, *arguments)


def wait_until_at_work(worker, patience=60):
    end = time.monotonic() + patience
    while not Path(f"at-work-{worker.pid}").exists():
        assert worker.poll() is None, worker.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def ended(worker):
    try:
        out, _ = worker.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        worker.kill()  # and not left to the tests that follow
        out, _ = worker.communicate()
        raise AssertionError(f"still at it: {out}") from None
    return worker.returncode, out


@pytest.fixture(scope="module")
def undisturbed(arena_template, tmp_path_factory):
    """A function that returns the settings and losses of a search of so many trials that nothing disturbs."""

    @functools.cache
    def search(trials):
        folder = tmp_path_factory.mktemp("undisturbed") / "arena"
        shutil.copytree(arena_template, folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            study, _ = quietly(some_search(trials=trials))
            return settings(study), [trial.value for trial in finished(study)]

    return search


def settings(study):
    return [tuple(sorted(settings_in(trial).items())) for trial in finished(study)]


def everybody_is_dead(monkeypatch):
    """No worker has given a sign of life for long."""

    def all_running(self, study_id):
        return [t._trial_id for t in self.get_all_trials(study_id, states=(TrialState.RUNNING,))]

    monkeypatch.setattr(RDBStorage, "_get_stale_trial_ids", all_running)


# --- One worker


def test_a_study_has_the_requested_trials_and_begins_with_the_own_setting(arena_here):
    study, lines = quietly(some_search())
    assert len(finished(study)) == len(study.trials) == 6
    assert own_trial(study).number == 0
    assert dict(settings_in(study.trials[0])) == {"penalty": 100.0, "clip": 3.0}
    assert len(set(settings(study))) == 6
    assert sum(line.startswith("trial ") for line in lines) == 6
    values = [trial.value for trial in finished(study) if trial.state == TrialState.COMPLETE]
    assert best_trial(study).value == min(values)
    # More are asked for: it goes on.
    study, _ = quietly(some_search(trials=8))
    assert len(finished(study)) == 8
    study, lines = quietly(some_search(trials=8))
    assert len(finished(study)) == 8
    assert not lines


@pytest.mark.slow
def test_another_seed_tries_other_settings_and_the_same_seed_the_same(arena_here):
    one, _ = quietly(some_search(home=Path("one"), pruner="none"))
    two, _ = quietly(some_search(home=Path("two"), pruner="none"))
    other, _ = quietly(some_search(home=Path("other"), pruner="none", seed=1))
    assert settings(one) == settings(two)
    assert [trial.value for trial in one.trials] == [trial.value for trial in two.trials]
    assert settings(one)[0] == settings(other)[0]
    assert not set(settings(one)[1:]) & set(settings(other)[1:])


@pytest.mark.slow
def test_killed_and_restarted_equals_never_killed(arena_here, monkeypatch):
    whole, _ = quietly(some_search(home=Path("whole"), trials=14, pruner="none"))
    plain, calls = working.evaluate, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) in (3, 9, 10, 13):
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(working, "evaluate", interrupted)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            quietly(some_search(home=Path("cut"), trials=14, pruner="none"))
    study, _ = quietly(some_search(home=Path("cut"), trials=14, pruner="none"))
    assert count_requeued(study) == 4
    assert len(study.trials) == 18
    assert settings(study) == settings(whole)
    assert [trial.value for trial in finished(study)] == [trial.value for trial in finished(whole)]


def test_a_failed_trial_reports_its_reason_and_the_study_continues(arena_here, monkeypatch):
    plain, calls = working.evaluate, []

    def failing(*args):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError("not enough of it")
        if len(calls) == 3:
            raise UserError("training diverged: try a smaller learning_rate.")
        return plain(*args)

    monkeypatch.setattr(working, "evaluate", failing)
    study, lines = quietly(some_search(pruner="none"))
    assert [trial.state.name for trial in finished(study)] == ["COMPLETE", "FAIL", "FAIL", *["COMPLETE"] * 3]
    assert study.trials[1].user_attrs["reason"] == "MemoryError: not enough of it"
    assert "failed: MemoryError: not enough of it" in lines[1]
    assert "training diverged" in lines[2]
    assert count_requeued(study) == 0


def test_a_loss_that_is_not_finite_fails_its_trial(arena_here, add_model):
    add_model("memory")
    add_model("not_a_number")
    write_experiment("diverging", '[model]\nname = "not_a_number"\n[search]\nsureness = {low = 0.5, high = 0.95}')
    with pytest.raises(UserError, match=r"own setting has failed.*not finite numbers"):
        quietly(some_search("diverging", trials=2))
    study = some_search("diverging", trials=2).open()
    assert [trial.state for trial in finished(study)] == [TrialState.FAIL]
    assert best_trial(study) is None


def test_no_trial_begins_after_the_deadline(arena_here):
    study, _ = quietly(some_search(), deadline=time.time() - 1)
    assert not finished(study)


@pytest.mark.slow
def test_pruning_stops_bad_trials_and_never_the_own_setting(arena_here, monkeypatch):
    told = {0: 9.0}
    monkeypatch.setattr(
        working,
        "evaluate",
        lambda experiment, cuts, folder, hear: hear(1, told.get(int(folder.name), 1.0)) or 1.0,
    )
    told |= dict.fromkeys(range(8, 12), 5.0)
    study, lines = quietly(some_search(trials=12))
    states = [trial.state.name for trial in finished(study)]
    assert states == ["COMPLETE"] * 8 + ["PRUNED"] * 4
    assert "pruned at step 1, at 5.0000 on the first fold" in lines[8]
    study, _ = quietly(some_search(trials=12, home=Path("all"), pruner="none"))
    assert {trial.state.name for trial in finished(study)} == {"COMPLETE"}


def test_the_own_setting_is_not_pruned_even_if_it_is_repeated_last(arena_here, monkeypatch):
    calls = []

    def first_interrupted(experiment, cuts, folder, hear):
        calls.append(folder.name)
        if len(calls) == 1:
            raise KeyboardInterrupt
        loss = 9.0 if folder.name == "0" else 1.0
        hear(1, loss)
        return loss

    monkeypatch.setattr(working, "evaluate", first_interrupted)
    monkeypatch.setattr(searching, "requeue_all", lambda _: None)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(working, "requeue", lambda *_: None)  # the one that was cut off is put back later
        with pytest.raises(KeyboardInterrupt):
            quietly(some_search(trials=11))
    monkeypatch.setattr(working, "_refuse_failed_reference", lambda _: None)
    quietly(some_search(trials=11))
    study = some_search(trials=11).open()
    storage.requeue(study, 0)
    study, _ = quietly(some_search(trials=11))
    assert own_trial(study).value == 9.0
    assert calls[-1] == "0"  # it goes on in the folder of the trial that was cut off


def test_a_repeated_trial_keeps_the_reported_losses(arena_here, monkeypatch):
    def cut_off(experiment, cuts, folder, hear):
        hear(1, 1.5)
        raise KeyboardInterrupt

    monkeypatch.setattr(working, "evaluate", cut_off)
    with pytest.raises(KeyboardInterrupt):
        quietly(some_search())
    assert some_search().open().trials[1].intermediate_values == {1: 1.5}


def test_a_database_that_is_lost_is_one_message(arena_here, monkeypatch):
    def lost(study):
        raise optuna.exceptions.StorageInternalError("gone\nSELECT something")

    monkeypatch.setattr(working, "requeue_stale", lost)
    with pytest.raises(UserError, match=r"^the study's database was lost \(gone\)\. The same command resumes\.$"):
        quietly(some_search())


@pytest.mark.slow
def test_hyperband_prunes_too(arena_here, monkeypatch):
    def learning(experiment, cuts, folder, hear):
        loss = abs(np.log10(experiment.parameters["penalty"]) - 1)
        for step in range(1, 9):
            hear(step, loss)
        return loss

    monkeypatch.setattr(working, "evaluate", learning)
    study, _ = quietly(some_search(trials=24, pruner="hyperband"))
    states = [trial.state.name for trial in finished(study)]
    assert states.count("PRUNED") > 4
    assert states[0] == "COMPLETE"
    assert len(states) == 24


@pytest.mark.slow
def test_hyperbands_brackets_share_no_seed(arena_here, monkeypatch):
    monkeypatch.setattr(working, "evaluate", lambda *args: args[3](1, 1.0) or 1.0)
    study, _ = quietly(some_search(trials=10, pruner="hyperband"))
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 10


def test_ctrl_c_while_optuna_writes_a_result_is_an_interruption_too(arena_here, monkeypatch):
    def slip(*_, **__):
        try:
            raise KeyboardInterrupt
        finally:
            raise UnboundLocalError("updated_state")

    monkeypatch.setattr(optuna.Study, "optimize", slip)
    with pytest.raises(KeyboardInterrupt):
        quietly(some_search())


def test_the_folder_of_a_finished_trial_is_removed(arena_here):
    search = some_search()
    quietly(search)
    assert not list((search.folder / "trials").iterdir())


def leave_behind(search, trial):
    """Finished folds of a trial, whose predictions are all alike."""
    place = search.folder / "trials" / "0"
    write_json(place / "trial.json", trial)
    for cut in working.tuning_folds(search.inside, search.folds):
        Predictions(cut.scored.id, np.full((len(cut.scored), 3), 1 / 3)).write(place / f"fold{cut.fold}.csv")


def test_files_of_a_deleted_study_are_not_used_by_the_next(arena_here):
    search = some_search(trials=1)
    own = {"penalty": 100.0, "clip": 3.0}
    leave_behind(search, {"binding": search.binding, "settings": own})
    study, _ = quietly(search)
    assert study.trials[0].value == pytest.approx(np.log(3))  # its own folds are used again
    for trial in ({"binding": search.binding, "settings": own | {"clip": 2.0}}, {"binding": {}, "settings": own}):
        leave_behind(search, trial)
        study, _ = quietly(some_search(trials=1, storage=f"sqlite:///{len(trial['binding'])}.db"))
        assert abs(study.trials[0].value - np.log(3)) > 1e-4


# --- Several workers


@pytest.mark.slow
def test_two_workers_one_killed_in_the_middle_and_started_again(arena_here):
    """The study ends with the asked number of finished trials, none lost, none doubled."""
    command = ["tune", "small", "--data", "arena", "--runs", "runs", "--trials", "8", "--pruner", "none"]
    doomed, steady = start_worker(*command), start_worker(*command)
    wait_until_at_work(doomed)
    wait_until_at_work(steady)
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.communicate()
    study = some_search().open()
    (cut_off,) = [t for t in running(study) if t.user_attrs.get("worker", [0, "", 0])[2] == doomed.pid]
    again = start_worker(*command)
    wait_until_at_work(again)
    Path("go-on").touch()
    for worker in (steady, again):
        code, out = ended(worker)
        assert code == 0, out
        assert "8 of 8 trials" in out
    done = finished(study)
    assert len(done) == 8
    assert {trial.state for trial in done} == {TrialState.COMPLETE}
    assert len(set(settings(study))) == 8  # none doubled
    assert count_requeued(study) == 1
    assert study.trials[cut_off.number].state == TrialState.FAIL
    successor = [trial for trial in done if trial.system_attrs.get("failed_trial") == cut_off.number]
    assert [trial.params for trial in successor] == [cut_off.params]  # none lost
    assert len({trial.user_attrs["worker"][2] for trial in done}) >= 2  # both had a share
    assert not running(study)
    assert (
        Path("experiments/small-tuned.toml").exists() or "no experiment is written" in out or "is the best" in out
    )


@pytest.mark.slow
def test_ctrl_c_puts_the_trial_back_and_says_how_to_resume(arena_here):
    command = ["tune", "small", "--data", "arena", "--runs", "runs", "--trials", "5", "--pruner", "none"]
    worker = start_worker(*command)
    wait_until_at_work(worker)
    os.killpg(worker.pid, signal.SIGINT)
    code, out = ended(worker)
    assert code == 130
    assert "Traceback" not in out
    assert "To resume it, or to join it elsewhere: tune small --trials 5 --data arena --runs runs" in out
    study = some_search().open()
    assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING"]
    study, _ = quietly(some_search(trials=5, pruner="none"))
    assert len(finished(study)) == 5
    assert own_trial(study).number == 1


@pytest.mark.slow
def test_several_processes_of_one_command_share_a_study(arena_here):
    command = ["tune", "small", "--data", "arena", "--runs", "runs", "--trials", "4", "--jobs", "2"]
    done = run_python("-m", "pairrank.experiments", *command)
    assert done.returncode == 0, done.stderr
    study = some_search().open()
    assert len(finished(study)) == 4
    assert not running(study)


def test_workers_that_ask_at_the_same_moment_do_not_exceed_the_trials(arena_here, monkeypatch):
    """Both see a place for one more; the later of them gives its trial back."""
    quietly(some_search(trials=5))
    with some_search(trials=6).joined() as study:
        other = study.ask()
        monkeypatch.setattr(working, "has_room", lambda study, wanted: len(study.trials) < 7)
        monkeypatch.setattr(working, "running", lambda study: [])
        study, lines = quietly(some_search(trials=6))
        assert study.trials[6].user_attrs["surplus"]
        assert not [line for line in lines if line.startswith("trial")]
        study.tell(other, 1.0)
        assert len(finished(study)) == 6


def test_a_worker_waits_for_the_last_trials_of_others(arena_here, monkeypatch):
    quietly(some_search(trials=5))
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            study.tell(other, 1.0)

    monkeypatch.setattr(working.time, "sleep", sleep)
    with some_search(trials=6).joined() as study:
        other = study.ask()
        _, lines = quietly(some_search(trials=6))
    assert len(slept) == 3
    assert lines == ["All trials are taken. Waiting for the last 1, which other workers are running."]


def test_a_trial_whose_worker_always_dies_counts_as_failed(arena_here, monkeypatch):
    everybody_is_dead(monkeypatch)
    study = some_search().open()
    for _ in range(1 + database.RETRIES):
        study.ask()
        requeue_stale(study)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * (1 + database.RETRIES)
    assert [trial.number for trial in finished(study)] == [database.RETRIES]
    assert count_requeued(study) == database.RETRIES


def test_a_worker_that_dies_before_its_first_heartbeat_loses_no_trial(arena_here, monkeypatch):
    study = some_search().open()
    study.ask()
    requeue_stale(study)
    assert len(running(study)) == 1  # it may yet come
    monkeypatch.setattr(database, "GRACE", 0)
    requeue_stale(study)
    assert not running(study)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING"]
    # And again, though it now has the attributes of its forerunner.
    study.ask().set_user_attr("worker", [0, "elsewhere", 1])
    requeue_stale(study)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL", "WAITING"]


def test_a_worker_without_heartbeats_loses_its_trial_to_another(arena_here, monkeypatch):
    search = some_search(trials=2)
    plain, calls = working.evaluate, []

    def sleepy(*args):
        calls.append(1)
        if len(calls) == 1:
            with monkeypatch.context() as elsewhere:
                everybody_is_dead(elsewhere)
                requeue_stale(search.open())  # as another worker would
        return plain(*args)

    monkeypatch.setattr(working, "evaluate", sleepy)
    study, lines = quietly(search)
    assert "was given to another worker" in lines[0]
    assert len(finished(study)) == 2


def test_a_worker_that_is_killed_after_its_first_heartbeat_becomes_stale(arena_here):
    """A trial that is signed has a sign of life, even if Optuna's own thread never got to give one."""
    study = some_search().open()
    storage.record_worker(study, study.ask())
    with study._storage._backend.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM trial_heartbeats").scalar() == 1


def test_positions_leave_out_interrupted_trials(arena_here):
    study = some_search().open()
    assert has_room(study, 1)
    first = study.ask()
    assert not has_room(study, 1)
    assert position_of(study, first.number) == 0
    second = study.ask()
    assert position_of(study, second.number) == 1
    study.tell(first, state=TrialState.FAIL)
    storage.requeue(study, first.number)
    assert position_of(study, second.number) == 0
    assert not finished(study)


# --- Which study it is


def other_battles():
    from pairrank.data.simulation import write_arena

    write_arena(Path("arena"), 210, 30, seed=1)


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (other_battles, {}, "was made with other battles, so"),
        (
            lambda: write_experiment("small", SMALL.replace("low = 1.0", "low = 1.5")),
            {},
            "other search tables, so",
        ),
        (
            lambda: write_experiment("small", SMALL.replace("groups", "threads = 2\ngroups")),
            {},
            "other settings, code",
        ),
        (lambda: None, {"folds": (0, 1)}, "other tuning folds, so"),
    ],
)
def test_a_study_with_another_binding_is_refused(arena_here, change, more, message):
    some_search().open()
    change()
    with pytest.raises(UserError) as caught:
        some_search(**more).open()
    assert message in str(caught.value)
    assert "optuna delete-study --storage sqlite:///runs/small+tuning/study.db" in str(caught.value)


def test_another_untouched_fold_is_another_study_in_the_same_database(arena_here):
    one = some_search().open()
    two = some_search(untouched=3, folds=(0, 1, 2, 4)).open()
    assert one.study_name != two.study_name
    assert len(optuna.get_all_study_names("sqlite:///runs/small+tuning/study.db")) == 2


def test_a_study_of_another_program_is_refused(arena_here, monkeypatch):
    monkeypatch.setattr(storage.time, "sleep", lambda _: None)
    url = "sqlite:///foreign.db"
    theirs = optuna.create_study(storage=url, study_name=some_search().name)
    theirs.tell(theirs.ask(), 1.0)
    with pytest.raises(UserError, match="was not created completely by `tune`"):
        some_search(storage=url).open()


def test_a_database_with_other_tables_is_refused_and_stays_as_it_was(arena_here):
    with closing(sqlite3.connect("theirs.db")) as database:
        database.execute("CREATE TABLE studies (x)")
    before = Path("theirs.db").read_bytes()
    with pytest.raises(UserError, match=r"theirs\.db: this database has other tables"):
        some_search(storage="sqlite:///theirs.db").open()
    assert Path("theirs.db").read_bytes() == before


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xaa" * 5000])
def test_a_damaged_database_is_one_message(arena_here, content: bytes):
    search = some_search()
    search.home.mkdir(parents=True)
    (search.home / "study.db").write_bytes(content)
    with pytest.raises(UserError, match=r"study\.db: this database cannot be used"):
        search.open()


def test_a_database_that_is_damaged_inside_is_one_message(arena_here):
    search = some_search(trials=2)
    quietly(search)
    content = bytearray((search.home / "study.db").read_bytes())
    content[4096 * 3 : 4096 * 12] = b"\xaa" * 4096 * 9
    (search.home / "study.db").write_bytes(content)
    with pytest.raises(UserError, match=r"study"):
        quietly(search)


@pytest.mark.parametrize("name", ["p%41q", "a b", "{x}", "a?b#c", "ü"])
def test_the_study_lies_in_a_folder_of_any_name(arena_here, name: str):
    home = Path(name) / "small+tuning"
    some_search(home=home).open()
    assert (home / "study.db").is_file()
    assert {path.name for path in Path().iterdir() if path.is_dir()} >= {name}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it."""


@pytest.mark.parametrize("commits", range(1, 4))
def test_a_study_whose_creation_was_interrupted_is_completed(arena_here, monkeypatch, commits: int):
    search, calls = some_search(), []

    def die_at(function):
        def counted(*args, **options):
            calls.append(0)
            if len(calls) == commits:
                raise Killed
            return function(*args, **options)

        return counted

    with monkeypatch.context() as patch:
        patch.setattr(optuna, "create_study", die_at(optuna.create_study))
        patch.setattr(optuna.study.Study, "enqueue_trial", die_at(optuna.study.Study.enqueue_trial))
        patch.setattr(optuna.study.Study, "set_user_attr", die_at(optuna.study.Study.set_user_attr))
        with pytest.raises(Killed):
            search.open()
    study = search.open(alone=True)
    assert study.user_attrs["binding"] == search.binding
    assert [trial.user_attrs for trial in study.trials] == [{"own": True}]


@pytest.mark.parametrize("killed_in", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 12))])
def test_a_killed_worker_is_succeeded_by_one_that_tries_the_same_settings(
    arena_here, monkeypatch, undisturbed, killed_in: int
):
    search, plain, calls = some_search(trials=14), working.evaluate, []

    def die(*args, **options):
        calls.append(0)
        if len(calls) == killed_in:
            raise Killed
        return plain(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(working, "evaluate", die)
        # A killed worker does not even record that its trial has failed.
        patch.setattr(RDBStorage, "set_trial_state_values", keep_running(RDBStorage.set_trial_state_values))
        with pytest.raises(Killed):
            quietly(search)
    study, _ = quietly(search)
    assert (settings(study), [trial.value for trial in finished(study)]) == undisturbed(14)


@pytest.mark.parametrize("killed_in", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_worker_that_is_killed_while_it_puts_a_trial_back_loses_no_trial(
    arena_here, monkeypatch, undisturbed, killed_in
):
    search, plain, calls = some_search(trials=5), working.evaluate, []

    def interrupt(*args, **options):
        calls.append(0)
        if len(calls) == killed_in:
            raise KeyboardInterrupt
        return plain(*args, **options)

    def die(*args, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(working, "evaluate", interrupt)
        patch.setattr(working, "requeue", die)  # the trial has been marked as failed
        with pytest.raises(Killed):
            quietly(search)
    study, _ = quietly(search)
    assert (settings(study), [trial.value for trial in finished(study)]) == undisturbed(5)


def test_a_setting_that_kills_every_worker_is_given_up_but_not_the_own_one(arena_here):
    study = some_search().open()
    for attempt in range(2 * database.RETRIES):
        assert "own" in study.ask().user_attrs, attempt
        requeue_all(study)
    study.tell(study.ask().number, 1.0)
    for _ in range(1 + database.RETRIES):
        study.ask()
        requeue_all(study)
    assert not study.get_trials(states=(TrialState.WAITING, TrialState.RUNNING))
    requeue_all(study)  # by the next worker that is alone
    assert not study.get_trials(states=(TrialState.WAITING,))
    assert len(finished(study)) == 2


def test_a_file_system_without_hard_links_can_hold_a_study(arena_here, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    study, _ = quietly(some_search(trials=2))
    assert len(finished(study)) == 2


def test_the_proposed_command_is_quoted_for_a_shell(arena_here, monkeypatch):
    (folder := Path("a b$(id)")).mkdir()
    open_study(folder / "study.db", "it's", {"battles": "some"}, {})
    with pytest.raises(UserError) as caught:
        open_study(folder / "study.db", "it's", {"battles": "others"}, {})
    proposed = str(caught.value).rpartition("remove the study: ")[2]
    assert shlex.split(proposed)[-3:] == [f"sqlite:///{folder}/study.db", "--study-name", "it's"]


def keep_running(function):
    def unless_failed(self, trial_id, state, values=None):
        return True if state == TrialState.FAIL else function(self, trial_id, state, values)

    return unless_failed


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "expected the URL of a database"),
        ("sqlite:///:memory:", "expected the URL of a database"),
        ("study.db", "expected the URL of a database, such as sqlite:///study.db"),
        ("postgresql+nonsense://user:secret@nowhere/x", "needs a driver that is not installed"),
        ("sqlite:////no/such/folder/study.db", "cannot be used"),
        ("sqlite:///broken.db", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_opened_is_one_message(arena_here, url, message):
    Path("broken.db").write_text("this is no database, and is long enough to be told from one. " * 20)
    with pytest.raises(UserError) as caught:
        some_search(storage=url).open()
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def at_one_moment(code, count):
    """What each of several processes prints after READY, where all wait for each other."""
    wait = "import sys; print('ready', flush=True); sys.stdin.readline()"
    workers = [start_python("-W", "ignore", "-c", code.replace("READY", wait)) for _ in range(count)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n", worker.stdout.read()
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    done = [ended(worker) for worker in workers]
    assert [code for code, _ in done] == [0] * count, done
    return [out.split() for _, out in done]


@pytest.mark.slow
def test_workers_that_create_the_database_at_the_same_moment_all_open_it(arena_here):
    """Optuna's own making of tables is a race that only the first of them wins."""
    code = (
        "from pairrank.tuning.storage import open_study\nREADY\n"
        "print(open_study('sqlite:///new.db', 's', {'battles': 'x'}, {'a': 1}).study_name)"
    )
    assert at_one_moment(code, count=4) == [["s"]] * 4
    study = optuna.load_study(study_name="s", storage="sqlite:///new.db")
    assert [(trial.state.name, trial.user_attrs) for trial in study.trials] == [("WAITING", {"own": True})]


CROWD = """
from pairrank.tuning import database, storage
from pairrank.tuning.database import quiet_optuna
from pairrank.tuning.storage import open_study, requeue_stale
study = open_study("sqlite:///crowd.db", "s", {"battles": "x"}, {"a": 1.0})
READY
with quiet_optuna():
    ACT
"""


def crowd(act):
    """What each of three workers of one study prints that do the same at one moment."""
    return at_one_moment(CROWD.replace("ACT", act), count=3)


@pytest.mark.slow
def test_no_queued_trial_is_taken_by_two_workers(arena_here):
    study = storage.open_study("sqlite:///crowd.db", "s", {"battles": "x"}, {"a": 1.0})
    for number in range(89):
        study.enqueue_trial({"a": number})
    taken = [number for numbers in crowd("print(*(study.ask().number for _ in range(30)))") for number in numbers]
    assert len(taken) == len(set(taken)) == 90


@pytest.mark.slow
def test_no_stale_trial_is_requeued_twice(arena_here):
    study = storage.open_study("sqlite:///crowd.db", "s", {"battles": "x"}, {"a": 1.0})
    for _ in range(20):
        study.ask()
    crowd("database.GRACE = 0; requeue_stale(study)")
    assert count_requeued(study) == 20
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 20 + ["WAITING"] * 20


def test_a_repeated_trial_without_a_setting_keeps_its_position(arena_here, monkeypatch):
    """Else the retry, which has a later number, would try what a later trial tries."""
    search = some_search(trials=5, pruner="none")
    plain, calls = sampling.PositionSeededTPE.infer_relative_search_space, []

    def interrupted(self, study, trial):
        calls.append(trial.number)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(self, study, trial)

    with monkeypatch.context() as patch:
        patch.setattr(sampling.PositionSeededTPE, "infer_relative_search_space", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quietly(search)
        # Without a sign of life it is no trial of Optuna's dead.
        patch.setattr(database, "GRACE", 0)
        requeue_stale(optuna.load_study(study_name=search.name, storage=f"sqlite:///{search.place}"))
    study, _ = quietly(search)
    whole, _ = quietly(some_search(trials=5, pruner="none", home=Path("whole")))
    assert set(settings(study)) == set(settings(whole))
    assert len(finished(study)) == 5


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@h/x", "postgresql://me:***@h/x"),
        ("postgresql://me:a:b@h/x", "postgresql://me:***@h/x"),
        ("postgresql://me:se/cret@h/x", "postgresql://me:***@h/x"),
        ("postgresql://h/x?user=me&password=secret", "postgresql://h/x?password=***&user=me"),
        ("sqlite:///runs/study.db", "sqlite:///runs/study.db"),
    ],
)
def test_a_password_is_never_shown(url, shown):
    assert database.without_password(url) == shown

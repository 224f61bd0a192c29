"""Tracked numbers are read back from the trackers' own files; each client runs in a fresh process."""

import os
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

import pytest

from pairrank.cli import ray
from pairrank.evaluation.run_record import read_run_record
from pairrank.training import tracking
from pairrank.training.tracking import Tracker, run_name, track_with, tracked, tracker, untracked
from tests.support.architectures import write_checkpoint
from tests.support.battles import write_folder
from tests.support.command_line import refused, run_python

TUNED = ["--set", "max_tokens=32", "--set", "training.epochs=2", "--set", "training.hold_out=0.3", "--fold", "0"]
POOL = 'inputs = ["prior", "lengths"]\n\n[model]\nname = "pool"\n'


COMMANDS = """
import sys
from pairrank.cli.app import main
for command in {commands}:
    sys.argv = ["pairrank", *command]
    print("COMMAND", flush=True)
    try:
        main()
    except SystemExit as end:
        assert not end.code, command
"""
"""Several commands in one process, which loads torch and the trackers once."""


@dataclass(frozen=True)
class Tracked:
    """A folder of runs that both trackers recorded, and what the last two commands printed."""

    folder: Path
    finished: str
    """Of the command that tracked a finished run."""
    listed: str
    """Of `list` in a folder of runs with a tracker's files."""


@pytest.fixture(scope="module")
def tracked_runs(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """Battles, a pool and a tiny encoder, and runs of three kinds of model, recorded by both trackers."""
    folder = tmp_path_factory.mktemp("tracked")
    write_folder(folder / "data", n=60)
    (folder / "experiments").mkdir()
    (folder / "experiments" / "mine.toml").write_text(POOL)
    write_checkpoint(folder / "tiny", "bert")
    tuned = ["siamese", "--set", f'encoder=["{folder / "tiny"}"]', *TUNED]
    places = {kind: ["--data", "data", "--runs", f"{kind}-runs"] for kind in ("mlflow", "tensorboard")}
    commands = [
        ["run", "mine", *places["mlflow"], "--track", "mlflow"],
        ["run", *tuned, *places["mlflow"], "--track", "mlflow"],
        ["run", *tuned, *places["tensorboard"], "--track", "tensorboard"],
        ["run", "mine", *places["mlflow"], "--track", "tensorboard"],
        ["list", *places["tensorboard"]],
    ]
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    done = run_python("-c", COMMANDS.format(commands=commands), cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return Tracked(folder, *done.stdout.split("COMMAND\n")[-2:])


@pytest.fixture
def folder(tracked_runs: Tracked) -> Path:
    return tracked_runs.folder


def score(folder: Path, name: str) -> float:
    return read_run_record(folder / name).log_loss


def tuned_run(runs: Path) -> str:
    [label] = [path.name for path in runs.glob("siamese*")]
    return label


@pytest.mark.slow
def test_tracking_a_finished_run_records_its_scores_but_not_its_folds(folder: Path, tracked_runs: Tracked):
    """The message says how to view the tracked runs."""
    assert "tensorboard --logdir" in tracked_runs.finished
    recorded = {path.name for path in (folder / "mlflow-runs" / "tensorboard").iterdir()}
    assert recorded == {"mine, all folds", "prior, all folds"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_has_settings_scores_and_steps(folder: Path):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    [experiment] = [e for e in client.search_experiments() if e.name == "pairrank"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    label = tuned_run(folder / "mlflow-runs")
    folds = [f"{name}, fold {fold}" for name in ("mine", "prior", "lengths") for fold in range(5)]
    whole = [f"{name}, all folds" for name in ("mine", "prior", "lengths", label)]
    assert sorted(runs) == sorted([*folds, *whole, f"{label}, fold 0"])
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for name in ("mine", "lengths", label):
        assert runs[f"{name}, all folds"].data.metrics["log_loss"] == pytest.approx(
            score(folder / "mlflow-runs", name)
        )
    assert runs["mine, fold 0"].data.params["model.name"] == "pool"
    recorded = runs[f"{label}, fold 0"].data
    assert recorded.params["model.training.epochs"] == "2"
    # The Trainer's own steps are in the run of their fold.
    assert {"loss", "eval_log_loss", "log_loss"} <= set(recorded.metrics)
    history = client.get_metric_history(runs[f"{label}, fold 0"].info.run_id, "eval_log_loss")
    kept = read_run_record(folder / "mlflow-runs" / label).history
    assert [m.value for m in history] == pytest.approx([row["Log Loss"] for row in kept])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_tensorboard_has_scores_and_steps(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def scalars(name: str) -> dict[str, list[float]]:
        events = EventAccumulator(str(folder / "tensorboard-runs" / "tensorboard" / name))
        events.Reload()
        return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    label = tuned_run(folder / "tensorboard-runs")
    whole = scalars(f"{label}, all folds")["log_loss"]
    assert whole == pytest.approx([score(folder / "tensorboard-runs", label)], rel=1e-5)
    steps = scalars(f"{label}, fold 0")
    assert len(steps["eval/log_loss"]) == len(steps["train/loss"]) == 2
    assert len(steps["log_loss"]) == 1


@pytest.mark.slow
def test_a_folder_of_tracking_files_is_no_run(tracked_runs: Tracked):
    assert "siamese" in tracked_runs.listed
    assert "tensorboard " not in tracked_runs.listed
    assert "Left out" not in tracked_runs.listed


def test_nothing_is_tracked_unless_requested(call):
    assert call("run", "prior", "--data", "data").code == 0
    assert not list(Path().rglob("*tfevents*"))
    with tracked("x", {}, Path()) as log:
        log({"log_loss": 1.0})
    assert tracker() is None


def test_a_tracker_that_is_not_installed_or_unknown_is_refused_before_any_work(call, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    assert refused(call("run", "prior", "--data", "data", "--track", "wandb"), "pip install wandb")
    assert not Path("runs").exists()
    ended = call("run", "prior", "--data", "data", "--track", "paper")
    assert ended.code == 2
    assert "'mlflow', 'trackio', 'tensorboard', 'wandb'" in " ".join(ended.err.split())


def test_tracked_names_the_open_run_for_the_trainer(tmp_path, monkeypatch):
    def check() -> None:
        track_with("tensorboard")
        assert run_name() is None
        with tracked("mine, fold 3", {"a": {"b": [1]}}, tmp_path):
            assert run_name() == "mine, fold 3"
            assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "tensorboard" / "mine, fold 3")
        assert run_name() is None
        assert "TENSORBOARD_LOGGING_DIR" not in os.environ

    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    copy_context().run(check)  # the choice of a tracker ends with the copy


def test_untracked_turns_tracking_off_for_runs_within_a_run():
    def check() -> None:
        track_with("mlflow")
        with untracked():
            assert tracker() is None
            with tracked("inner", {}, Path()) as log:
                log({"log_loss": 1.0})
        assert tracker() == "mlflow"

    copy_context().run(check)
    assert tracker() is None


def test_a_ray_worker_uses_the_tracker_of_its_work(monkeypatch):
    made = []
    monkeypatch.setattr(ray, "make_fold", lambda run, fold: made.append((run, fold, tracker())))
    work = ray.RemoteFold(run=None, fold=2, working_folder=Path.cwd(), tracker=Tracker.TENSORBOARD)
    copy_context().run(ray._train_fold, work)
    assert made == [(None, 2, Tracker.TENSORBOARD)]
    assert tracker() is None

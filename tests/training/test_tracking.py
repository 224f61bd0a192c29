"""Tracked numbers are read back from the trackers' own files; each client runs in a fresh process."""

import os
import subprocess
import sys
from contextvars import copy_context
from pathlib import Path

import pytest

from pairrank.evaluation.run_record import read_run_record
from pairrank.training import tracking
from pairrank.training.tracking import run_name, track_with, tracked, tracker, untracked
from tests.support.battles import write_folder
from tests.support.command_line import refused
from tests.support.encoders import write_encoder

ROOT = Path(__file__).parents[2]
TUNED = ["--set", "max_tokens=32", "--set", "training.epochs=2", "--set", "training.hold_out=0.3", "--fold", "0"]
POOL = 'inputs = ["prior", "lengths"]\n\n[model]\nname = "pool"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Battles, a pool and a tiny encoder, and runs of three kinds of model, tracked by both trackers."""
    folder = tmp_path_factory.mktemp("tracked")
    write_folder(folder / "data", n=60)
    (folder / "experiments").mkdir()
    (folder / "experiments" / "mine.toml").write_text(POOL)
    write_encoder(folder / "tiny")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }
    tuned = ["siamese", "--set", f'encoder=["{folder / "tiny"}"]', *TUNED]
    for kind, names in (("mlflow", ["mine"]), ("mlflow", tuned), ("tensorboard", tuned)):
        command = ["-m", "pairrank.experiments", "run", *names, "--data", "data", "--track", kind]
        done = subprocess.run(
            [sys.executable, *command, "--runs", f"{kind}-runs"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def score(folder: Path, name: str) -> float:
    return read_run_record(folder / name).log_loss


def tuned_run(runs: Path) -> str:
    [label] = [path.name for path in runs.glob("siamese*")]
    return label


def test_tracking_a_finished_run_records_its_scores_but_not_its_folds(folder: Path):
    """The message says how to view the tracked runs."""
    command = ["-m", "pairrank.experiments", "run", "mine", "--data", "data", "--track", "tensorboard"]
    done = subprocess.run(
        [sys.executable, *command, "--runs", "mlflow-runs"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "tensorboard --logdir" in done.stdout
    recorded = {path.name for path in (folder / "mlflow-runs" / "tensorboard").iterdir()}
    assert recorded == {"mine, all folds", "prior, all folds"}


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
        assert runs[f"{name}, all folds"].data.metrics.log_loss == pytest.approx(
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


def test_a_folder_of_tracking_files_is_no_run(folder: Path, monkeypatch: pytest.MonkeyPatch):
    done = subprocess.run(
        [sys.executable, "-m", "pairrank.experiments", "list", "--data", "data", "--runs", "tensorboard-runs"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "tensorboard " not in done.stdout
    assert "Left out" not in done.stdout


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

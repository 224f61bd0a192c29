"""The same command on several processes or machines: the same battles, the same numbers, in any case one file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from pairrank.data.predictions import read_predictions
from pairrank.data.reading import read_battles
from pairrank.evaluation.run_record import read_run_record
from pairrank.evaluation.scoring import log_loss
from tests.support.architectures import write_checkpoint

SAMPLE = Path(__file__).parents[2] / "Dataset" / "sample"
SMALL = ("--fold", "0", "--fold", "1", "--set", "max_tokens=48", "--set", "training.frozen_layers=0")
# One thread, as a worker of two has: the sums of two threads end otherwise in their last digits.
ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "RAY_USAGE_STATS_ENABLED": "0"}


def command(*arguments: str | Path, runner: tuple[str, ...] = (sys.executable,)) -> list[str]:
    return [*runner, "-m", "pairrank.experiments", *map(str, arguments)]


def call(*arguments: str | Path, runner: tuple[str, ...] = (sys.executable,)) -> str:
    done = subprocess.run(
        command(*arguments, runner=runner), env=os.environ | ALONE, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_two_processes_of_torchrun_train_one_model_and_write_each_battle_once(tmp_path: Path):
    """minilm on the sample, one fold: as many steps of as many battles, shared out between two."""
    what = ("run", "siamese", "--fold", "0", "--set", "max_tokens=48", "--set", "hidden_dropout=0.1")
    what += ("--set", "training.hold_out=0.2", "--limit", "400")
    two = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    call(*what, "--runs", tmp_path / "one")
    told = call(*what, "--runs", tmp_path / "two", runner=two)
    [one], [both] = ([*(tmp_path / name).glob("siamese*")] for name in ("one", "two"))
    assert told.count("Leaderboard: sample") == 1
    assert told.count(f"{both.name}, fold 0: training on") == 1
    assert "2 processes" in read_run_record(both).device
    battles = read_battles(SAMPLE / "train.csv")
    for name, least in (("oof.csv", 80), ("test.csv", 150)):
        single, double = (read_predictions(folder / "test" / "fold0.csv" if name == "test.csv" else folder / name)
                          for folder in (one, both))  # fmt: skip
        assert double.id.tolist() == single.id.tolist()
        assert len(set(double.id.tolist())) == len(double) >= least
        assert np.abs(double.proba - single.proba).max() < 0.1
    winners = dict(zip(battles.id.tolist(), battles.labels.tolist(), strict=True))
    losses = [
        log_loss(kept.proba, np.array([winners[name] for name in kept.id]))
        for kept in (read_predictions(folder / "oof.csv") for folder in (one, both))
    ]
    # Three seeds of one configuration differ by .013 on real battles ; half of that is noise.
    assert losses[1] == pytest.approx(losses[0], abs=0.0065)


@pytest.mark.slow
def test_folds_on_ray_survive_a_lost_worker_and_equal_those_made_here(tmp_path: Path):
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    encoder = write_checkpoint(tmp_path / "encoder", "bert")
    what = ("run", "siamese", *SMALL, "--set", f"encoder={encoder}", "--set", "training.epochs=6")
    call(*what, "--runs", tmp_path / "here")
    [here] = (tmp_path / "here").glob("siamese*")
    with subprocess.Popen(
        command(*what, "--engine", "ray", "--task-cpus", "1", "--runs", tmp_path / "far"),
        env=os.environ | ALONE | {"RAY_ADDRESS": "local"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as far:
        try:
            killed = kill_a_worker_in_mid_fold(far, tmp_path / "far" / here.name)
            told, _ = far.communicate(timeout=400)
        finally:
            far.kill()
    assert far.returncode == 0, told
    assert not psutil.pid_exists(killed)
    assert "Ray: " in told
    for file in ("oof.csv", "test/fold0.csv", "test/fold1.csv"):
        assert (tmp_path / "far" / here.name / file).read_bytes() == (here / file).read_bytes()
    # The models are there, too: shards of new battles, scored there and here, in the file's order.
    many, header, *rows = tmp_path / "many.csv", *(SAMPLE / "test.csv").read_text().splitlines(keepends=True)
    many.write_text(header + "".join(f"{copy}{row}" for copy in range(100, 108) for row in rows))
    for engine in ("ray", "local"):
        asked = ("predict", here.name, many, "--runs", tmp_path / "far", "--engine", engine)
        call(*asked, "--out", tmp_path / f"{engine}.csv")
    scored = (tmp_path / "ray.csv").read_bytes()
    assert scored == (tmp_path / "local.csv").read_bytes()
    assert scored.count(b"\n") == 1 + 8 * len(rows)


def kill_a_worker_in_mid_fold(driver: subprocess.Popen, run: Path) -> int:
    """Kill a worker when the first checkpoint is there and no fold is finished; returns its process number."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        assert driver.poll() is None, driver.communicate()[0]
        workers = [each for each in psutil.Process(driver.pid).children(recursive=True) if makes_a_fold(each)]
        if workers and any(run.glob("fold*/checkpoints/checkpoint-*/complete.json")):
            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait(30)
            assert not any(run.glob("fold*/fold.json"))  # otherwise it may have been done
            return workers[0].pid
        time.sleep(0.02)
    raise AssertionError("no worker wrote a checkpoint")


def makes_a_fold(process: psutil.Process) -> bool:
    try:
        return "ray::_train_fold" in " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return False

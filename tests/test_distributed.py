"""Alone, several processes are one; the others of several say nothing and wait to be asked."""

import sys
import time

import numpy as np
import pytest

from pairrank import distributed
from pairrank.cli import app, console, ray
from pairrank.errors import UserError
from pairrank.progress import shows_progress


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")


def test_alone_there_is_one_who_does_all_the_work_and_waits_for_nobody():
    assert (distributed.world_size(), distributed.rank()) == (1, 0)
    distributed.connect()
    distributed.stop_helpers()
    with distributed.collective({"fold": 0}):
        assert not distributed.in_collective()
        distributed.barrier()
        assert list(distributed.own_share(3)) == [0, 1, 2]
        rows = distributed.gather_rows(np.array([[1.0], [2.0]]), np.array([1, 0]), 2)
    assert rows.tolist() == [[2.0], [1.0]]


@pytest.mark.usefixtures("second")
def test_the_second_does_every_other_piece_of_what_is_shared(monkeypatch: pytest.MonkeyPatch):
    assert list(distributed.own_share(5)) == [0, 1, 2, 3, 4]  # nobody has asked for help with it
    with distributed.collective(None):
        assert distributed.in_collective()
        assert list(distributed.own_share(5)) == [1, 3]
    assert not distributed.in_collective()


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("command", ["list", "compare", "tune", "report"])
def test_the_second_leaves_all_commands_but_run_to_the_first(command: str, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pairrank", command, "--nonsense"])
    app.main()
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("second")
def test_the_second_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    console.say("hello")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert not shows_progress()
    monkeypatch.setattr(sys, "argv", ["pairrank", "run", "nonsense"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: process 1: ")


def test_without_ray_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'pairrank\[ray\]'"):
        ray.make_folds([], None, ray.Cluster(), print)


class Ray:
    """The machines of a cluster, and nothing else of Ray."""

    def __init__(self, *machines: tuple[int, int]) -> None:
        self.machines = machines

    def nodes(self) -> list[dict]:
        gone = {"Alive": False, "Resources": {"CPU": 999, "GPU": 9}}
        resources = [{"CPU": cpus} | ({"GPU": gpus} if gpus else {}) for cpus, gpus in self.machines]
        return [gone, *({"Alive": True, "Resources": there} for there in resources)]


@pytest.mark.parametrize(
    ("machines", "asked", "pieces", "given", "room"),
    [
        ([(16, 0)], {}, 5, (3, 0), 5),
        ([(2, 0)], {}, 5, (1, 0), 2),
        ([(16, 0)], {}, None, (1, 0), 16),
        ([(16, 0), (16, 0)], {}, 1, (16, 0), 2),  # not 32: no machine has as many
        ([(2, 0), (2, 0), (2, 0)], {}, 3, (2, 0), 3),
        ([(64, 8)], {}, 5, (12, 1), 5),
        ([(64, 8)], {}, None, (1, 1), 8),  # 64 would wait for a GPU for ever
        ([(64, 8)], {"cpus": 4, "gpus": 0.5}, 5, (4, 0.5), 16),
        ([(64, 8), (4, 0)], {"gpus": 0}, 5, (13, 0), 4),
    ],
)
def test_a_piece_of_work_is_given_its_share_of_one_machine(machines, asked, pieces, given, room, capsys):
    needs = ray._needs(Ray(*machines), ray.Cluster(**asked), pieces)
    assert (needs["num_cpus"], needs["num_gpus"]) == given
    assert ray._room(Ray(*machines), needs) == room
    cpus, gpus = (sum(column) for column in zip(*machines, strict=True))
    expected = f"Ray: {cpus} CPUs and {gpus} GPUs; a piece of work takes {given[0]} and {given[1]:g}.\n"
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("asked", [{"cpus": 3}, {"gpus": 1}])
def test_more_than_any_machine_has_is_refused_at_once(asked):
    with pytest.raises(UserError, match="no machine has as many: the largest has 2 and 0"):
        ray._needs(Ray((2, 0), (2, 0)), ray.Cluster(**asked), 5)


def test_ray_under_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", ["pairrank", "run", "prior", "--engine", "ray"])
    with pytest.raises(SystemExit):
        app.main()
    assert "--engine ray under torchrun" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_told_of_at_once(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    begun = time.monotonic()
    with pytest.raises(UserError, match="no cluster can be reached"):
        ray.make_folds([], None, ray.Cluster(), print)
    assert time.monotonic() - begun < 60  # Ray itself tries for minutes; most of this is its import

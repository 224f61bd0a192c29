"""Pieces of work are placed on the machines of a cluster, and what no machine can do is refused."""

import sys

import pytest

from pairrank.cli import app, ray
from pairrank.errors import UserError


def test_without_ray_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
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
def test_each_piece_of_work_gets_its_share_of_one_machine(machines, asked, pieces, given, room, capsys):
    needs = ray._resources(Ray(*machines), ray.Cluster(**asked), pieces)
    assert (needs["num_cpus"], needs["num_gpus"]) == given
    assert ray._capacity(Ray(*machines), needs) == room
    cpus, gpus = (sum(column) for column in zip(*machines, strict=True))
    expected = f"Ray: {cpus} CPUs and {gpus} GPUs; a task takes {given[0]} and {given[1]:g}.\n"
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("asked", [{"cpus": 3}, {"gpus": 1}])
def test_a_request_larger_than_any_machine_is_refused(asked):
    with pytest.raises(UserError, match="no machine has as many: the largest has 2 and 0"):
        ray._resources(Ray((2, 0), (2, 0)), ray.Cluster(**asked), 5)


def test_ray_under_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch, capsys):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["pairrank", "run", "prior", "--engine", "ray"])
    with pytest.raises(SystemExit):
        app.main()
    assert "--engine ray under torchrun" in capsys.readouterr().err


def test_a_cluster_that_cannot_be_reached_is_reported(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    # Ray itself would try for minutes.
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was asked"))
    with pytest.raises(UserError, match="no cluster can be reached"):
        ray.make_folds([], None, ray.Cluster(), print)

"""Alone, several processes are one; the others of several say nothing and wait to be asked."""

import sys

import numpy as np
import pytest

from pairrank import processes
from pairrank.errors import UserError
from pairrank.experiments import cli, console, on_ray
from pairrank.terminal import shows_progress


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")


def test_alone_there_is_one_who_does_all_the_work_and_waits_for_nobody():
    assert (processes.count(), processes.rank()) == (1, 0)
    processes.join()
    processes.dismiss()
    with processes.together({"fold": 0}):
        assert not processes.are_together()
        processes.wait()
        assert list(processes.share_out(3)) == [0, 1, 2]
        rows = processes.gather(np.array([[1.0], [2.0]]), np.array([1, 0]), 2)
    assert rows.tolist() == [[2.0], [1.0]]


@pytest.mark.usefixtures("second")
def test_the_second_does_every_other_piece_of_what_is_shared(monkeypatch: pytest.MonkeyPatch):
    assert list(processes.share_out(5)) == [0, 1, 2, 3, 4]  # nobody has asked for help with it
    with processes.together(None):
        assert processes.are_together()
        assert list(processes.share_out(5)) == [1, 3]
    assert not processes.are_together()


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("command", ["list", "compare", "tune", "report"])
def test_the_second_leaves_all_commands_but_run_to_the_first(command: str, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pairrank", command, "--nonsense"])
    cli.main()
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("second")
def test_the_second_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    console.say("hello")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert not shows_progress()
    monkeypatch.setattr(sys, "argv", ["pairrank", "run", "nonsense"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", "")


def test_without_ray_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'pairrank\[ray\]'"):
        on_ray.make_folds([], None, on_ray.Cluster(), print, print)


class Ray:
    def __init__(self, **there: float) -> None:
        self.there = there

    def cluster_resources(self) -> dict[str, float]:
        return self.there


@pytest.mark.parametrize(
    ("there", "asked", "at_once", "given"),
    [
        ({"CPU": 16}, {}, 5, (3, 0)),
        ({"CPU": 2}, {}, 5, (1, 0)),
        ({"CPU": 16}, {}, None, (1, 0)),
        ({"CPU": 64, "GPU": 8}, {}, 5, (12, 1)),
        ({"CPU": 64, "GPU": 8}, {"cpus": 4, "gpus": 0.5}, 5, (4, 0.5)),
        ({"CPU": 64, "GPU": 8}, {"gpus": 0}, 5, (12, 0)),
    ],
)
def test_a_piece_of_work_is_given_its_share_and_says_so(there, asked, at_once, given):
    said = []
    needs = on_ray._needs(Ray(**there), on_ray.Cluster(**asked), at_once, said.append)
    assert (needs["num_cpus"], needs["num_gpus"]) == given
    cpus, gpus = there["CPU"], there.get("GPU", 0)
    assert said == [f"Ray: {cpus} CPUs and {gpus} GPUs; a piece of work takes {given[0]} and {given[1]:g}."]


@pytest.mark.parametrize("asked", [{"cpus": 3}, {"gpus": 1}])
def test_more_than_the_cluster_has_is_refused_at_once(asked):
    with pytest.raises(UserError, match="the cluster has 2 and 0 in all"):
        on_ray._needs(Ray(CPU=2), on_ray.Cluster(**asked), 5, print)

"""A single process does all the work; of several, the helpers are silent and wait for tasks."""

import json
import os
import socket
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch.distributed

from pairrank import distributed
from pairrank.cli import app, console
from pairrank.progress import shows_progress


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("value", ["", " ", None])
def test_an_empty_number_of_processes_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, value: str | None):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    assert (distributed.world_size(), distributed.rank()) == (1, 0)
    distributed.refuse_incomplete_environment()
    assert shows_progress() == sys.stderr.isatty()


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"RANK": "x"}, "RANK='x': expected a whole number"),
        ({"RANK": "-1"}, "RANK='-1'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE='0'"),
        ({"RANK": "9" * 5000}, "RANK='999"),
        ({"RANK": "1"}, "WORLD_SIZE, MASTER_ADDR, MASTER_PORT is not set"),
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT is not set"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "h", "MASTER_PORT": "1"}, "RANK=2: expected less"),
    ],
)
def test_an_environment_that_torchrun_did_not_make_is_refused_in_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], complaint: str
):
    for name in distributed.SET_BY_TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["pairrank", "compare"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.count("\n") == 1


def test_a_single_process_does_all_the_work_and_waits_for_no_other():
    assert (distributed.world_size(), distributed.rank()) == (1, 0)
    with distributed.connected(), distributed.collective({"fold": 0}):
        assert not distributed.in_collective()
        distributed.barrier()
        assert list(distributed.own_share(3)) == [0, 1, 2]
        rows = distributed.gather_rows(np.array([[1.0], [2.0]]), np.array([1, 0]), 2)
        distributed.stop_helpers()
    assert rows.tolist() == [[2.0], [1.0]]


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize(("ends", "expected"), [("return", ["open", "closed"]), ("error", ["open"])])
def test_the_connection_is_closed_after_a_return_but_not_after_an_error(
    monkeypatch: pytest.MonkeyPatch, ends: str, expected: list[str]
):
    seen = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: seen.append("open"))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: seen.append("closed"))

    def work() -> None:
        with distributed.connected():
            if ends == "error":
                raise KeyboardInterrupt
            return

    with pytest.raises(KeyboardInterrupt) if ends == "error" else nullcontext():
        work()
    assert seen == expected


@pytest.mark.usefixtures("second")
def test_own_share_of_the_second_of_two_processes_is_every_other_piece(monkeypatch: pytest.MonkeyPatch):
    assert list(distributed.own_share(5)) == [0, 1, 2, 3, 4]  # outside a collective block
    with distributed.collective(None):
        assert distributed.in_collective()
        assert list(distributed.own_share(5)) == [1, 3]
    assert not distributed.in_collective()


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("command", ["list", "compare", "tune", "report"])
def test_a_helper_executes_no_command_except_run(command: str, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pairrank", command, "--nonsense"])
    app.main()
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("second")
def test_a_helper_prints_nothing_but_errors_with_its_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
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


TOGETHER = """
import json
import numpy as np
import torch.distributed
from pairrank import distributed as d

def own():
    share = np.array(d.own_share(5))
    rows = d.gather_rows(share[:, None] * 10.0, share, 5)
    return rows[:, 0].tolist(), d.from_first(lambda: {"rank": d.rank(), "share": share.tolist()})

found = []
with d.connected():
    if d.rank() == 0:
        for task in ({"fold": 3}, {"fold": 4}):
            with d.collective(task):
                found.append((task, own()))
        d.stop_helpers()
    else:
        while (task := d.next_task()) is not None:
            with d.collective(task):
                found.append((task, own()))
print(json.dumps([found, d.from_first(d.rank), torch.distributed.is_initialized()]))
"""


@pytest.mark.slow
def test_processes_share_rows_and_what_the_first_has_chosen():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = []
    try:
        for rank in range(3):
            together = {"RANK": rank, "WORLD_SIZE": 3, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
            environment = os.environ | {name: str(value) for name, value in together.items()}
            command = [sys.executable, "-c", TOGETHER]
            processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        printed = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0, 0]
    first = {"rank": 0, "share": [0, 3]}
    expected = [[{"fold": fold}, [[0.0, 10.0, 20.0, 30.0, 40.0], first]] for fold in (3, 4)]
    # Outside a collective block, each process decides for itself. A connection that is left open would sometimes
    # abort the interpreter at its end.
    assert [json.loads(text.splitlines()[-1]) for text in printed] == [[expected, rank, False] for rank in range(3)]

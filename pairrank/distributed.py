"""Processes that torchrun starts work on one run together: the first assigns tasks, the others are its helpers.

They exchange JSON and numbers, never pickled objects.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pairrank.errors import UserError, excerpt

if TYPE_CHECKING:  # the command line calls `rank` before it loads numpy
    import numpy as np
    import numpy.typing as npt

T = TypeVar("T")

SET_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The environment variables that processes need to find each other."""

HELPER_TIMEOUT = timedelta(days=7)
"""How long helpers wait for the first process, which may count features or boost trees for hours."""

_in_collective = False


def world_size() -> int:
    """Return the number of processes: 1 unless torchrun started this one."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Return the number of this process, from 0."""
    return _number("RANK", 0)


def refuse_incomplete_environment() -> None:
    """Raise UserError if this process would wait for others although torchrun did not start it.

    A shell or a cluster may set RANK or WORLD_SIZE for another program.
    """
    if world_size() == 1 and rank() == 0:
        return
    if missing := [name for name in SET_BY_TORCHRUN if not os.environ.get(name, "").strip()]:
        raise UserError(
            f"RANK and WORLD_SIZE say that this is process {rank()} of {world_size()}, but {', '.join(missing)} is "
            "not set. Start several processes with torchrun, or unset RANK and WORLD_SIZE."
        )
    if rank() >= world_size():
        raise UserError(f"RANK={rank()}: expected less than WORLD_SIZE, which is {world_size()}.")


def _number(name: str, default: int) -> int:
    """Return the value of an environment variable; an empty one counts as not set."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) < default:
        raise UserError(f"{name}={excerpt(text)}: expected a whole number of at least {default}, as torchrun sets.")
    return int(text)


@contextmanager
def connected() -> Iterator[None]:
    """Mark a block in which this process is connected to the others, if there are any.

    After an error the connection stays open, because closing it may wait for processes that still use it; the
    interpreter may then abort at its end.
    """
    if world_size() == 1:
        yield  # before torch is imported, because most experiments do not need it
        return
    import torch
    from torch import distributed

    # Messages are tensors on the CPU, which need gloo even if there are GPUs.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=HELPER_TIMEOUT)
    yield
    # Otherwise the interpreter sometimes aborts at its end, with the threads of the connection still running.
    distributed.destroy_process_group()


@contextmanager
def collective(task: Any) -> Iterator[None]:
    """Mark a block that all processes execute together.

    On entry the first process sends `task`, any JSON value, to the helpers, which receive it from `next_task`.
    """
    global _in_collective
    if world_size() > 1 and rank() == 0:
        _broadcast(task)
    _in_collective = world_size() > 1
    try:
        yield
    finally:
        _in_collective = False


def in_collective() -> bool:
    """Return whether all processes are executing one block, and can therefore share its work."""
    return _in_collective


def next_task() -> Any:
    """Wait for the next task of the first process and return it; None if there are no more."""
    return _broadcast(None)


def stop_helpers() -> None:
    """Tell the helpers that there are no more tasks."""
    if world_size() > 1:
        _broadcast(None)


def barrier() -> None:
    """Wait until all processes of a collective block have reached this point."""
    if _in_collective:
        from torch import distributed

        distributed.barrier()


def own_share(n: int) -> range:
    """Return the indices of the pieces, of n in all, that this process works on: all outside a collective block."""
    return range(rank(), n, world_size()) if _in_collective else range(n)


def from_first(work: Callable[[], T]) -> T:
    """Return what `work` returns, a JSON value; in a collective block, what it returns in the first process."""
    if not _in_collective:
        return work()
    value: T = _broadcast(work() if rank() == 0 else None)
    return value


def gather_rows(
    rows: "npt.NDArray[np.float64]", places: "npt.NDArray[np.int64]", n: int
) -> "npt.NDArray[np.float64]":
    """Return the (n, k) array that all processes computed together.

    `rows` are those of this process and `places` their indices in the result. Every index from 0 to n - 1 must come
    from exactly one process. A process without rows passes an array of any width.
    """
    import numpy as np

    if not _in_collective:
        result = np.empty((n, rows.shape[1]))
        result[places] = rows
        return result
    import torch
    from torch import distributed

    width = torch.tensor(rows.shape[1])
    distributed.all_reduce(width, distributed.ReduceOp.MAX)  # a process without rows does not know the width
    total = torch.zeros((n, int(width)), dtype=torch.float64)
    if len(rows):
        total[torch.from_numpy(places)] = torch.from_numpy(rows)
    # Every other process has 0 at these places, so the sum is exact.
    distributed.all_reduce(total)
    return total.numpy()


def _broadcast(message: Any) -> Any:
    """Return the message of the first process, a JSON value, in every process."""
    import torch
    from torch import distributed

    text = json.dumps(message).encode()
    length = torch.tensor(len(text))
    distributed.broadcast(length, 0)
    content = torch.empty(int(length), dtype=torch.uint8)
    if rank() == 0:
        content = torch.tensor(list(text), dtype=torch.uint8)
    distributed.broadcast(content, 0)
    return json.loads(bytes(content.tolist()))

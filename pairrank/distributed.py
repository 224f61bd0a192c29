"""Several processes of one run, as torchrun starts them: the first leads, the others help it train and predict.

What they tell each other is JSON and numbers, never a pickle.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line asks which process it is before it loads anything
    import numpy as np
    import numpy.typing as npt

HELPER_TIMEOUT = timedelta(days=7)
"""How long helpers wait for the first process, which may count features or boost trees for hours before it asks."""

_in_collective = False


def world_size() -> int:
    """How many there are; 1 where torchrun has not started this."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which one this is, from 0."""
    return int(os.environ.get("RANK", "0"))


def connect() -> None:
    """Find the others; does nothing where there are none, or they are found already."""
    if world_size() == 1:
        return  # without loading torch, which most experiments have no use for
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        # gloo carries what the processes say to each other, on a GPU too.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=HELPER_TIMEOUT)


@contextmanager
def collective(task: Any) -> Iterator[None]:
    """A block that all processes go through: the first says in JSON what it is about, the others `next_task` it."""
    global _in_collective
    if world_size() > 1 and rank() == 0:
        _broadcast(task)
    _in_collective = world_size() > 1
    try:
        yield
    finally:
        _in_collective = False


def in_collective() -> bool:
    """Whether all processes are in one block, and so may share its work."""
    return _in_collective


def next_task() -> Any:
    """What the first process wants help with; None where there is no more."""
    return _broadcast(None)


def stop_helpers() -> None:
    """Tell the others that there is no more."""
    if world_size() > 1:
        _broadcast(None)


def barrier() -> None:
    """Until all processes of the block are here."""
    if _in_collective:
        from torch import distributed

        distributed.barrier()


def own_share(n: int) -> range:
    """Which of n equal pieces of work this process does: all of them, outside a block."""
    return range(rank(), n, world_size()) if _in_collective else range(n)


def gather_rows(
    mine: "npt.NDArray[np.float64]", places: "npt.NDArray[np.int64]", n: int
) -> "npt.NDArray[np.float64]":
    """(n, k) rows of all processes, each of which knows those at its `places`; every row from one of them, once."""
    import numpy as np

    if not _in_collective:
        whole = np.empty((n, mine.shape[1]))
        whole[places] = mine
        return whole
    import torch
    from torch import distributed

    width = torch.tensor(mine.shape[1])
    distributed.all_reduce(width, distributed.ReduceOp.MAX)  # a process without rows does not know it
    summed = torch.zeros((n, int(width)), dtype=torch.float64)
    if len(mine):
        summed[torch.from_numpy(places)] = torch.from_numpy(mine)
    # All others have 0 there, so the sum is exact.
    distributed.all_reduce(summed)
    return summed.numpy()


def _broadcast(message: Any) -> Any:
    import torch
    from torch import distributed

    text = json.dumps(message).encode()
    length = torch.tensor(len(text))
    distributed.broadcast(length, 0)
    letters = (
        torch.tensor(list(text), dtype=torch.uint8) if rank() == 0 else torch.empty(int(length), dtype=torch.uint8)
    )
    distributed.broadcast(letters, 0)
    return json.loads(bytes(letters.tolist()))

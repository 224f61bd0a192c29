"""The trained experiments are pooled with the fixed weights of the experiment `ensemble`."""

from collections.abc import Sequence
from pathlib import Path

import tomli_w

from pairrank.api.automation.plan import ORDER
from pairrank.api.sources import Source
from pairrank.files import write_text
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run

POOL = "auto-pool"
"""Name of the experiment that is generated, and of its file in the folder of the runs."""
FLOORS = ("prior", "lengths")
"""Experiments that others are compared with. They are no members of the pool."""
SHARES = {"counted": 3, "frozen": 1, "fine-tuned": 1}
"""Weight of each family, as in the experiment `ensemble`: with few battles, an encoder is weaker.

They were kept after a comparison of pools on arena (docs/how-to/auto.md), so scores of arena with them are slightly
optimistic.
"""


def members_of(finished: Sequence[str]) -> list[str]:
    """Return the members of the pool: all finished experiments but the floors."""
    return [name for name in finished if name not in FLOORS]


def write_pool(finished: Sequence[str], source: Source, home: Path) -> Run | None:
    """Write the experiment file of the pool of these experiments, and return its run; None below two members.

    No weight is fitted, so the out-of-fold predictions of the members can be used as they are: no scored winner
    enters the pool. Which experiments are members depends on the time alone, and never on a score.
    """
    members = members_of(finished)
    if len(members) < 2:
        return None
    file = home / f"{POOL}.toml"
    write_text(file, tomli_w.dumps(_table(members)))
    return resolve_run(load_experiment(str(file)), source, home)


def _table(members: Sequence[str]) -> dict[str, object]:
    """Return the experiment as a table for TOML."""
    shares = [SHARES[ORDER[name][0]] for name in members]
    return {
        "about": f"{listed(members)}, pooled by `auto`. No weight is fitted, and no score chose the members.",
        "inputs": list(members),
        "seconds": 2,
        "model": {"name": "pool", "shares": shares if len(set(shares)) > 1 else []},
    }


def listed(names: Sequence[str]) -> str:
    """Return two or more names as `a, b and c`."""
    return ", ".join(names[:-1]) + f" and {names[-1]}"

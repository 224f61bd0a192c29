"""The share that guessing recovers is a ratio of two mean gains, undefined where there is nothing to recover."""

import re
import runpy
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.predictions import Predictions
from pairrank.data.writing import write_battles
from tests.support.battles import tiny_battles

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "recovered.py"


def sure(winner: np.ndarray, share: float) -> np.ndarray:
    """(n, 3) probabilities that give the winner `share`, the others the rest alike."""
    proba = np.full((len(winner), 3), (1 - share) / 2)
    proba[np.arange(len(winner)), winner] = share
    return proba


def told(folder: Path, shares: dict[str, float]) -> str:
    battles = tiny_battles(40)
    write_battles(battles, folder / "data" / "train.csv")
    for name, share in shares.items():
        file = folder / "published" / "predictions" / "data" / f"{name}.csv"
        Predictions(battles.id, sure(battles.labels, share)).write(file)
    out, arguments = StringIO(), ["--data", folder / "data", "--published", folder / "published"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.setattr(sys, "argv", [str(PROGRAM), *map(str, arguments)])
        runpy.run_path(str(PROGRAM), run_name="__main__")
    return out.getvalue()


@pytest.mark.parametrize("guessed", [0.45, 0.35])
def test_gains_and_their_ratio_are_those_of_plain_logarithms(tmp_path: Path, guessed: float):
    out = told(tmp_path, {"stack+identity=none": 0.4, "stack": guessed, "stack-identity": 0.5})
    worth, gain = np.log(0.5 / 0.4), np.log(guessed / 0.4)
    assert f"true names are worth        {worth:+.4f} [{worth:+.4f}, {worth:+.4f}]" in out
    assert f"guessed names are worth     {gain:+.4f}" in out
    assert re.search(rf"share recovered by guessing +{re.escape(f'{gain / worth:+.0%}')} ", out)


def test_a_share_of_nothing_is_undefined(tmp_path: Path):
    out = told(tmp_path, {"stack+identity=none": 0.4, "stack": 0.45, "stack-identity": 0.4})
    assert "share recovered by guessing  undefined" in out

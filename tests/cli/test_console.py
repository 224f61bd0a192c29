"""Tables in a terminal."""

import numpy as np
import pytest

from pairrank.cli.console import show_board
from pairrank.data.predictions import Predictions
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.leaderboard import build_leaderboard
from tests.support.entries import BATTLES, entry


def test_a_leaderboard_of_80_columns_shows_rank_loss_and_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    sure = Predictions(BATTLES.id, 0.7 * np.eye(3)[BATTLES.labels] + 0.1)
    board = build_leaderboard("d", BATTLES, [entry("prior"), Entry("a-name-of-more-than-twenty-letters", sure)])
    show_board(board)
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line[:1] in "┏┃┡│└"]
    assert len({len(line) for line in table}) == 1
    assert len(table[0]) <= 80
    assert [name.strip() for name in table[1].split("┃")][1:5] == [
        "experiment",
        "rank",
        "log loss",
        "Δ prior [95 %]",
    ]
    assert "│ 1 " in table[3]
    assert any("skill" in line for line in lines)

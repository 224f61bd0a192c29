"""The table of seeds has mean and standard deviation of the single runs beside the score of their average."""

from dataclasses import asdict, replace

import pytest

from pairrank.evaluation.leaderboard import build_leaderboard
from pairrank.evaluation.leaderboard_table import markdown
from tests.support.entries import BATTLES, entry, plain_losses


def with_seed(label, seed, **model):
    found = entry(label, seed)
    experiment = {"name": "m", "model": {"name": "m", "seed": seed, **model}, "split": {"folds": 5}}
    return replace(found, record=replace(found.record, experiment=experiment))


def average(*members, rows=slice(None)):
    found = entry("mean", 9, rows)
    return replace(found, record=replace(found.record, inputs={each.label: None for each in members}))


SINGLE = [with_seed("m", 0), with_seed("m+seed=1", 1), with_seed("m+seed=2", 2)]


def test_mean_and_standard_deviation_are_those_of_pandas():
    board = build_leaderboard("d", BATTLES, [*SINGLE, average(*SINGLE)], ["m"])
    [spread] = board.seeds
    losses = [plain_losses(each.predictions).mean() for each in SINGLE]
    mean = sum(losses) / 3
    variance = sum((loss - mean) ** 2 for loss in losses) / 2
    assert asdict(spread) == {
        "label": "mean",
        "members": ("m", "m+seed=1", "m+seed=2"),
        "mean": pytest.approx(mean),
        "deviation": pytest.approx(variance**0.5),
        "log_loss": next(row.log_loss for row in board.rows if row.label == "mean"),
    }
    line = markdown(board).split("## Seeds")[1].splitlines()[4]
    assert line.startswith(f"| mean | m, m+seed=1, m+seed=2 | {mean:.4f} ± {variance**0.5:.4f} |")


@pytest.mark.parametrize(
    "members",
    [
        SINGLE[:1],
        [SINGLE[0], with_seed("m+seed=0", 0)],
        [SINGLE[0], with_seed("m+size=2+seed=1", 1, size=2)],
        [SINGLE[0], entry("other", 4)],
    ],
    ids=["one", "equal seeds", "another setting", "another experiment"],
)
def test_other_averages_have_no_row(members):
    board = build_leaderboard("d", BATTLES, [*members, average(*members)], [members[0].label])
    assert board.seeds == ()
    assert "Seeds" not in markdown(board)


def test_missing_and_partial_members_have_no_row():
    assert build_leaderboard("d", BATTLES, [*SINGLE[:2], average(*SINGLE)], ["m"]).seeds == ()
    partial = average(*SINGLE, rows=slice(0, 30))
    assert build_leaderboard("d", BATTLES, [*SINGLE, partial], ["m"]).seeds == ()

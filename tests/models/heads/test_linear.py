"""Each head gets its training rows, and a linear head uses their weights."""

import numpy as np
import pytest

from pairrank.data.battles import Battles
from pairrank.models.heads.linear import Task, fit_linear_head, margin_task, outcome_task, tie_task
from tests.support.battles import plain_battles
from tests.support.tasks import some_task


@pytest.fixture
def three() -> Battles:
    return plain_battles(("p", "x", "y"), ("q", "x", "y"), ("r", "x", "y"), winner=[0, 1, 2])


def test_each_task_has_its_rows_of_a_win_a_loss_and_a_tie(three: Battles):
    """The battles have one column, 1 to 3, whose sign a swap changes; their weights are 10, 20 and 30."""
    battles = type(three)(**(vars(three) | {"weight": np.array([10.0, 20.0, 30.0])}))
    x = np.array([[1.0], [2.0], [3.0]])
    rows = {
        task: [(float(row[0]), int(t), float(w)) for row, t, w in zip(*learned, strict=True)]
        for task, learned in (
            ("tie", tie_task(x, battles)),
            ("margin", margin_task(x, -x, battles)),
            ("outcome", outcome_task(x, -x, battles)),
        )
    }
    assert rows["tie"] == [(1, 0, 10), (2, 0, 20), (3, 1, 30)]
    assert rows["margin"] == [(1, 1, 10), (2, 0, 20), (-1, 0, 10), (-2, 1, 20)]
    assert rows["outcome"] == [(1, 0, 10), (2, 1, 20), (3, 2, 30), (-1, 1, 10), (-2, 0, 20), (-3, 2, 30)]


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_an_outcome_without_battles_gets_one_average_battle(three: Battles, winner: int):
    battles = type(three)(**(vars(three) | {"winner": np.full(3, winner)}))
    x = np.array([[1.0], [2.0], [6.0]])
    for task, classes in (
        (tie_task(x, battles), 2),
        (margin_task(x, -x, battles), 2),
        (outcome_task(x, -x, battles), 3),
    ):
        assert set(task.target.tolist()) == set(range(classes))
        assert len({len(part) for part in task}) == 1
    tie = tie_task(x, battles)
    assert (tie.x[-1, 0], tie.target[-1], tie.weight[-1]) == (3.0, int(winner != 2), 1.0)


@pytest.mark.parametrize(("classes", "odd"), [(2, False), (2, True), (3, False)])
def test_a_weight_of_2_equals_the_row_twice_for_a_linear_head(classes: int, odd: bool):
    task = some_task(80, classes=classes, weighted=False)
    doubled = np.arange(80) % 3 == 0
    twice = Task(*(np.concatenate([part, part[doubled]]) for part in task))
    weighed = task._replace(weight=np.where(doubled, 2.0, 1.0))
    one, other = (fit_linear_head(each, 3.0, 2.5, odd) for each in (weighed, twice))
    assert one.logits(task.x) == pytest.approx(other.logits(task.x), abs=1e-4)
    assert np.abs(one.logits(task.x) - fit_linear_head(task, 3.0, 2.5, odd).logits(task.x)).max() > 1e-3

"""The columns of a stack: predictions of other experiments, and strengths of the answering models."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles
from pairrank.data.probabilities import FloatArray, margin_and_tie
from pairrank.features.counting import Features
from pairrank.features.model_strengths import ModelStrengths, NameSource, fit_model_strengths
from pairrank.memo import memoise
from pairrank.models.heads.linear import HeadName, Task, margin_task, tie_task

Mask = npt.NDArray[np.bool_]


def input_columns(battles: Battles) -> list[Features]:
    """Return the margin and the tie logit of every input as columns, in a list that is empty without inputs."""
    if battles.inputs is None:
        return []
    margin, tie = margin_and_tie(battles.inputs)
    even_names = [f"{name}.{what}" for what in ("tie", "margin.size") for name in battles.input_names]
    odd_names = [f"{name}.margin" for name in battles.input_names]
    return [Features(margin, np.hstack([tie, np.abs(margin)]), tuple(odd_names), tuple(even_names))]


@memoise
def fit_strength_columns(train: Battles, source: NameSource, salt: str) -> tuple[Features, ModelStrengths]:
    """Return the strengths of training battles, each from inner folds without it, and those fitted on all.

    `salt` is that of the inner folds.
    """
    return fit_model_strengths(train, source, salt=salt)


@memoise
def strength_columns(strengths: ModelStrengths, battles: Battles) -> Features:
    """Return the strengths of the models of battles that were not trained on."""
    return strengths.columns(battles)


def all_columns(columns: Features) -> FloatArray:
    """Return the odd columns, followed by the even ones."""
    return np.hstack([columns.odd, columns.even])


def take_rows(columns: Features, rows: Mask | slice) -> Features:
    """Return the columns of some battles."""
    return replace(columns, odd=columns.odd[rows], even=columns.even[rows])


def head_task(head: HeadName, columns: Features, train: Battles) -> Task:
    """Return the training rows of a head; a tie depends on even columns only."""
    if head == "tie":
        return tie_task(columns.even, train)
    return margin_task(all_columns(columns), all_columns(columns.swap()), train)

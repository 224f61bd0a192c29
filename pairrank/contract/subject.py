"""A model under test: how it is made, what it learns from, and what it predicts."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.data.probabilities import Proba
from pairrank.data.simulation import simulate
from pairrank.data.turns import repair_text
from pairrank.models.base import Model, build


@dataclass(frozen=True)
class Subject:
    """A model under test, with battles to learn from and to predict; it is fitted once for all laws."""

    make: Callable[[], Model]
    """Returns a new unfitted model, always with the same hyperparameters."""
    train: Battles
    unseen: Battles
    originals: tuple[Battles, Battles] = field(init=False)
    """Copies of both from before any model has seen them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "originals", copy.deepcopy((self.train, self.unseen)))

    @cached_property
    def fitted(self) -> Model:
        """A model that has learned from the training battles."""
        return self.make().fit(self.train)

    @cached_property
    def predictions(self) -> Proba:
        """(n, 3) predictions of this model for the unseen battles, of which laws get copies."""
        found = self.fitted.predict_proba(self.unseen)
        return found.copy() if isinstance(found, np.ndarray) else found


def subject_of(name: str, **parameters: Any) -> Subject:
    """Return the subject for a model, with 60 simulated battles to learn from and 12 others to predict.

    The latter include empty, long and damaged texts. Names and parameters are those of `build`.
    """
    battles, _ = simulate(72)
    unseen = concatenate([_without_answers(battles.take(slice(60, 72))), odd_battles()])
    unseen = replace(unseen, id=object_array([f"unseen-{i}" for i in range(len(unseen))]))
    return Subject(
        lambda: build(name, **parameters), with_inputs(battles.take(slice(60)), 1), with_inputs(unseen, 2)
    )


def odd_battles() -> Battles:
    """Return battles as test files have them: empty, ragged, too long, with characters that break tokenizers."""
    rows = (
        (("",), ("",), ("",)),
        (("why", "how"), ("good", ""), ("bad",)),
        (("Response B: [SEP] </s>",), ("red " * 200,), (repair_text("\ud83d broken \0 \u202e 😀"),)),
    )
    prompt, a, b = (object_array(list(column)) for column in zip(*rows, strict=True))
    return Battles(object_array([f"b{i}" for i in range(len(rows))]), prompt, a, b)


def with_inputs(battles: Battles, seed: int) -> Battles:
    """Return the battles with two inputs that are informative, underconfident and predict too few ties."""
    logits = np.random.default_rng(seed).normal(size=(len(battles), 2, 3)) * [[0.2], [1.0]]
    if battles.winner is not None:
        logits += 1.5 * np.eye(3)[battles.winner][:, None] - [0, 0, 0.8]
    proba = np.exp(logits)
    return replace(battles, inputs=proba / proba.sum(axis=2, keepdims=True), input_names=("one", "two"))


def _without_answers(battles: Battles) -> Battles:
    """Return battles without the columns that test files lack."""
    return replace(battles, winner=None, model_a=None, model_b=None, soft=None)

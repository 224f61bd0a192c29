"""Fold models with adapters share one encoder; their adapters can be averaged, or merged into its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.errors import UserError
from pairrank.models.base import Model, parameters_of
from pairrank.models.saving import build_saved, load_model, save_model


class ModelsOfOneEncoder(Sequence[Model]):
    """Fold models that are opened one at a time: the encoder stays in memory, adapter and head are exchanged.

    A model that was taken from here changes as soon as another one is taken.
    """

    def __init__(self, model: Model, weights: Sequence[Mapping[str, Any]]) -> None:
        self._model, self._weights, self._current = model, weights, -1

    def __len__(self) -> int:
        return len(self._weights)

    @overload
    def __getitem__(self, index: int) -> Model: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Model]: ...
    def __getitem__(self, index: int | slice) -> Model | Sequence[Model]:
        if isinstance(index, slice):
            return ModelsOfOneEncoder(self._model, self._weights[index])
        place = range(len(self))[index]
        if place != self._current:
            self._model.set_trained_weights(self._weights[place])
            self._current = place
        return self._model


def load_models(folders: Sequence[Path]) -> Sequence[Model]:
    """Return the saved models of a run's folds; with adapters, they share one encoder.

    Raises UserError if a model is missing or damaged.
    """
    first = load_model(folders[0])
    if not first.has_adapter:
        return [first, *map(load_model, folders[1:])]
    return ModelsOfOneEncoder(first, _read_weights(first, folders))


def load_average(folders: Sequence[Path]) -> Model:
    """Return one model whose adapter and head are the mean of those of a run's folds.

    Each number of A, of B and of the head is averaged on its own. All folds start from the same values, which are
    drawn from the experiment's seed. Raises UserError for models without adapters.
    """
    model = load_model(folders[0])
    if not model.has_adapter:
        raise UserError(
            f"{folders[0].parent}: its models have no adapters to average. Predict without --average-adapters, or "
            "train with adapter.rank."
        )
    weights = _read_weights(model, folders)
    model.set_trained_weights({name: sum(each[name] for each in weights) / len(weights) for name in weights[0]})
    return model


def _read_weights(model: Model, folders: Sequence[Path]) -> list[Mapping[str, Any]]:
    """Return adapter and head of each fold; raises UserError unless all models have the same hyperparameters."""
    for folder in folders:
        if parameters_of(build_saved(folder)) != parameters_of(model):
            raise UserError(f"{folder}: its model has other settings than that of {folders[0]}. Run it again.")
    return [model.read_trained_weights(folder) for folder in folders]


@dataclass(frozen=True)
class Merged:
    """A fold's model after its adapter was merged into the encoder."""

    folder: Path
    """Folder of the merged model, which needs no other files."""
    battles: int
    """Number of battles that were predicted before and after."""
    largest_change: float
    """Largest absolute change of a probability."""


def merge_fold(source: Path, target: Path, battles: Battles) -> Merged:
    """Write the merged model of a fold, and compare its predictions with those that the fold has made.

    `battles` are any that contain the scored battles of the fold. Raises UserError for a model without an adapter.
    """
    save_model(build_saved(source).load_merged(source), target)
    before = read_predictions(source / "oof.csv")
    place = {name: i for i, name in enumerate(battles.id.tolist())}
    scored = battles.take(np.array([place[name] for name in before.id.tolist()], dtype=np.int64))
    after = Predictions(scored.id, load_model(target).predict_proba(scored))
    change = np.abs(after.proba - before.proba).max() if len(scored) else 0.0
    return Merged(target, len(scored), float(change))

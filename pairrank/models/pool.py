"""A weighted mean of several predictions of one battle, usually of their logarithms; no features."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from scipy.optimize import LinearConstraint, minimize

from pairrank.data.battles import Battles
from pairrank.data.folds import assign_folds, split_keys
from pairrank.data.probabilities import SMALLEST, FloatArray, Labels, Proba, normalise, softmax
from pairrank.errors import UserError
from pairrank.evaluation.intervals import standard_error
from pairrank.evaluation.scoring import battle_losses
from pairrank.files import write_json
from pairrank.models.base import Model, UseOfInputs, register, require_battles
from pairrank.training.monitor import Monitor

SHARPEST, FLATTEST = 0.5, 2.0
"""Bounds of the fitted temperature."""
MOST_OFFSET = 2.0
"""Bound of the fitted tie offset, in either direction."""


@dataclass(frozen=True)
class Weighting:
    """How k predictions are combined into one."""

    weights: list[float]
    """(k,) weights of the logarithms (in linear space: probabilities), 0 or more; they sum to 1 / temperature."""
    tie_offset: float = 0.0
    """Number that is added to the logit of a tie."""

    @property
    def temperature(self) -> float:
        """Above 1 the pool is flatter than the mean of its inputs, below 1 sharper."""
        return 1 / sum(self.weights)


@register("pool")
@dataclass
class Pool(Model):
    """The weighted geometric mean of the inputs (a log-linear pool); with one input, temperature scaling.

    Equal weights need no fit. A fit is used only if it is better than equal weights by more than one standard error
    in an inner cross-validation by prompt, inside the training battles.
    """

    weights: Literal["equal", "temperature", "fitted", "greedy"] = "equal"
    """Equal; equal with a fitted temperature; fitted for each input; or forward selection (Caruana et al. 2004)."""
    shares: tuple[float, ...] = ()
    """Weights before any fit, in the order of the inputs; () for equal ones. Choose them before seeing results."""
    space: Literal["log", "linear"] = "log"
    """What is averaged: logarithms (a geometric mean), or the probabilities themselves."""
    tie_offset: bool = False
    """Fit a number that is added to every tie logit."""
    inner_folds: int = 5
    """Folds of the inner cross-validation that decides whether a fit is used."""
    steps: int = 30
    """Steps of the forward selection."""

    inputs: ClassVar[UseOfInputs] = "needed"
    symmetric: ClassVar[bool] = True
    """True if the inputs are symmetric, since a weight applies to A, B and tie alike."""

    def __post_init__(self) -> None:
        complaints = []
        if self.inner_folds < 2:
            complaints.append(f"inner_folds = {self.inner_folds}: expected 2 or more.")
        if self.steps < 1:
            complaints.append(f"steps = {self.steps}: expected 1 or more.")
        if self.shares and not (min(self.shares) >= 0 and sum(self.shares) > 0):
            complaints.append(f"shares = {list(self.shares)}: expected 0 or more each, and not all of them 0.")
        if self.space == "linear" and (self.tie_offset or self.weights == "temperature"):
            complaints.append(
                'space = "linear": probabilities have no temperature or tie offset. Set space = "log".'
            )
        if self.weights == "greedy" and self.tie_offset:
            complaints.append('weights = "greedy": forward selection fits no tie offset. Set weights = "fitted".')
        if complaints:
            raise UserError(" ".join(complaints))

    @property
    def averages_inputs(self) -> bool:
        """A pool is a mean of its inputs, possibly sharpened."""
        return True

    @property
    def learns(self) -> bool:
        """False for equal weights without a tie offset."""
        return self.weights != "equal" or self.tie_offset

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Fit the weighting, and use it only if it is better on held-out training prompts."""
        inputs = _inputs_of(train)
        self.names_ = train.input_names
        if self.shares and len(self.shares) != inputs.shape[1]:
            raise UserError(f"shares = {list(self.shares)}: expected one for each of {', '.join(self.names_)}.")
        self.weighting_ = self._unfitted(inputs.shape[1])
        self.inner_gain_: tuple[float, float] | None = None
        if self.learns:
            require_battles(train)
            fitted = self._fit(inputs, train.labels, train.weights)
            self.inner_gain_ = self._inner_gain(inputs, train)
            gain, error = self.inner_gain_
            if gain > error:
                self.weighting_ = fitted
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities; raises UserError unless the battles carry the inputs of the training."""
        inputs = _inputs_of(battles)
        if battles.input_names != self.names_:
            raise UserError(
                f"the model was fitted on the inputs {', '.join(self.names_)}, but the battles carry "
                f"{', '.join(battles.input_names)}."
            )
        return self._pool(inputs, self.weighting_)

    def save(self, folder: Path) -> None:
        """Write pool.json."""
        fitted = self.weighting_
        saved = {"inputs": self.names_, "weights": fitted.weights, "tie_offset": fitted.tie_offset}
        write_json(folder / "pool.json", saved | {"inner_gain": self.inner_gain_})

    def load(self, folder: Path) -> Self:
        """Read pool.json."""
        saved = json.loads((folder / "pool.json").read_text(encoding="utf-8"))
        self.names_ = tuple(saved["inputs"])
        self.weighting_ = Weighting(saved["weights"], saved["tie_offset"])
        self.inner_gain_ = None if saved["inner_gain"] is None else (saved["inner_gain"][0], saved["inner_gain"][1])
        return self

    def report(self) -> dict[str, Any]:
        """Return weights, temperature, tie offset, and the gain of the fit in the inner cross-validation."""
        used = self.weighting_
        report: dict[str, Any] = {
            "parameters": 0,
            "weights": dict(zip(self.names_, used.weights, strict=True)),
            "temperature": used.temperature,
            "tie_offset": used.tie_offset,
        }
        if self.inner_gain_ is not None:
            gain, error = self.inner_gain_
            report["inner_gain"] = {"mean": gain, "standard_error": error}
            if gain > error:
                common = {"equal": 0, "temperature": 1}
                report["parameters"] = common.get(self.weights, len(used.weights)) + self.tie_offset
            else:
                unfitted = "given" if self.shares else "equal"
                report["warnings"] = [
                    f"{unfitted} weights and temperature 1 are kept: on held-out training prompts the fit gained "
                    f"{gain:+.4f} ± {error:.4f}, no more than its standard error."
                ]
        return report

    def _unfitted(self, count: int) -> Weighting:
        """Return the weighting without a fit: `shares`, or equal weights."""
        shares = self.shares or (1.0,) * count
        return Weighting([share / sum(shares) for share in shares])

    def _inner_gain(self, inputs: FloatArray, train: Battles) -> tuple[float, float]:
        """Return how much a fit decreases the log loss on held-out training prompts, and the standard error."""
        fold_index = assign_folds(train, self.inner_folds, salt="pool")
        fitted = np.empty((len(train), 3))
        for fold in np.unique(fold_index):
            held = fold_index == fold
            if held.all():
                return 0.0, 0.0
            weighting = self._fit(inputs[~held], train.labels[~held], train.weights[~held])
            fitted[held] = self._pool(inputs[held], weighting)
        without_fit = battle_losses(self._pool(inputs, self._unfitted(inputs.shape[1])), train.labels)
        gains = without_fit - battle_losses(fitted, train.labels)
        gain = float(np.average(gains, weights=train.weights))
        # The contribution of each battle to the weighted mean; with equal weights, the battle's gain.
        contributions = (gains - gain) * train.weights / train.weights.mean()
        return gain, standard_error(contributions, split_keys(train))

    def _pool(self, inputs: FloatArray, weighting: Weighting) -> Proba:
        """Combine (n, k, 3) predictions into (n, 3) probabilities."""
        weights = np.array(weighting.weights)[None, :, None]
        if self.space == "linear":
            return normalise((inputs * weights).sum(axis=1))
        logits = (np.log(np.clip(inputs, SMALLEST, None)) * weights).sum(axis=1)
        logits[:, 2] += weighting.tie_offset
        return softmax(logits)

    def _loss(self, inputs: FloatArray, winner: Labels, weight: FloatArray, weighting: Weighting) -> float:
        """Return the weighted mean log loss of a weighting."""
        return float(np.average(battle_losses(self._pool(inputs, weighting), winner), weights=weight))

    def _fit(self, inputs: FloatArray, winner: Labels, weight: FloatArray) -> Weighting:
        """Return the weighting with the lowest log loss on these battles, within the bounds."""
        if self.weights == "greedy":
            return self._select(inputs, winner, weight)
        count = inputs.shape[1]
        # The free numbers are one weight per input or one for all, and then the tie offset. The loss is convex in
        # them (a softmax of a linear function), so the method of minimisation does not matter.
        common = self.weights in ("equal", "temperature")
        initial = np.array(self._unfitted(count).weights)
        spread = initial[:, None] if common else np.eye(count)
        lowest, highest = (
            (1.0, 1.0) if self.weights == "equal" or self.space == "linear" else (1 / FLATTEST, 1 / SHARPEST)
        )

        def weighting(free: FloatArray) -> Weighting:
            offset = free[-1] if self.tie_offset else 0.0
            return Weighting((spread @ free[: spread.shape[1]]).tolist(), float(offset))

        def loss(free: FloatArray) -> float:
            return self._loss(inputs, winner, weight, weighting(free))

        start = np.concatenate([np.ones(1) if common else initial, np.zeros(int(self.tie_offset))])
        sums = np.concatenate([spread.sum(axis=0), np.zeros(int(self.tie_offset))])
        found = minimize(
            loss,
            start,
            method="SLSQP",
            bounds=[(0.0, highest)] * spread.shape[1] + [(-MOST_OFFSET, MOST_OFFSET)] * int(self.tie_offset),
            constraints=LinearConstraint(sums[None, :], lowest, highest),
            options={"ftol": 1e-10, "maxiter": 500},
        )
        # A rounding error may exceed the bounds.
        inside = np.concatenate([np.clip(found.x[: spread.shape[1]], 0.0, None), found.x[spread.shape[1] :]])
        return weighting(inside) if np.isfinite(found.x).all() and found.fun <= loss(start) else weighting(start)

    def _select(self, inputs: FloatArray, winner: Labels, weight: FloatArray) -> Weighting:
        """Run forward selection with replacement: each step adds the input that lowers the loss most."""
        counts = np.zeros(inputs.shape[1])
        best, best_loss = self._unfitted(inputs.shape[1]), np.inf
        for step in range(1, self.steps + 1):
            candidates = [Weighting(((counts + one) / step).tolist()) for one in np.eye(len(counts))]
            losses = [self._loss(inputs, winner, weight, each) for each in candidates]
            chosen = int(np.argmin(losses))
            counts[chosen] += 1
            if losses[chosen] < best_loss:
                best, best_loss = candidates[chosen], losses[chosen]
        return best


def _inputs_of(battles: Battles) -> FloatArray:
    """Return the (n, k, 3) predictions of the inputs; raises UserError for battles without inputs."""
    if battles.inputs is None or not battles.input_names:
        raise UserError('the pool has no inputs. Name experiments to combine, such as inputs = ["structure"].')
    return battles.inputs

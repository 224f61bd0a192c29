"""Several predictions of one battle, put together where they are logits: weights, one temperature, no features."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from scipy.optimize import LinearConstraint, minimize

from pairrank.data.battles import Battles
from pairrank.data.folds import assign_folds, prompt_keys
from pairrank.data.probabilities import FloatArray, Labels, Proba, normalise, softmax
from pairrank.errors import UserError
from pairrank.evaluation.scoring import battle_losses, standard_error
from pairrank.files import write_json
from pairrank.models.base import Model, UseOfInputs, register
from pairrank.training.monitor import Monitor

SMALLEST = 1e-15
"""Probabilities are clipped here before their logarithm is taken."""
SHARPEST, FLATTEST = 0.5, 2.0
"""Bounds of the temperature."""


@dataclass(frozen=True)
class Weighting:
    """How k predictions become one."""

    weights: list[float]
    """(k) of their logarithms, none below 0, their sum 1 / temperature. In linear space, of the probabilities."""
    tie_offset: float = 0.0
    """Added to the logit of a tie."""

    @property
    def temperature(self) -> float:
        """Above 1 the pool is flatter than its inputs' mean, below 1 sharper."""
        return 1 / sum(self.weights)


@register("pool")
@dataclass
class Pool(Model):
    """The weighted geometric mean of the inputs (a log-linear pool); of one input, temperature scaling.

    Equal weights learn nothing. What is fitted is kept only where an inner cross-validation by prompt, inside the
    training battles, finds it better than equal weights by more than one standard error.
    """

    weights: Literal["equal", "temperature", "fitted", "greedy"] = "equal"
    """Equal; equal with one temperature; one each and a temperature; or forward selection (Caruana et al. 2004)."""
    shares: tuple[float, ...] = ()
    """Weights before any fit, in the order of the inputs, where equal ones are not meant. Set before looking."""
    space: Literal["log", "linear"] = "log"
    """Where they are averaged: logarithms (geometric mean), or the probabilities themselves."""
    tie_offset: bool = False
    """Fit one number that is added to every tie logit."""
    inner_folds: int = 5
    """Of the cross-validation that a fit must win."""
    steps: int = 30
    """Of the forward selection."""

    inputs: ClassVar[UseOfInputs] = "needed"
    """There is nothing to pool without them."""
    symmetric: ClassVar[bool] = True
    """By construction, if the inputs are: every weight holds for A, B and tie alike."""

    def __post_init__(self) -> None:
        wrong = []
        if self.inner_folds < 2:
            wrong.append(f"inner_folds = {self.inner_folds}: expected 2 or more.")
        if self.steps < 1:
            wrong.append(f"steps = {self.steps}: expected 1 or more.")
        if self.shares and not (min(self.shares) >= 0 and sum(self.shares) > 0):
            wrong.append(f"shares = {list(self.shares)}: expected 0 or more each, and not all of them 0.")
        if self.space == "linear" and (self.tie_offset or self.weights == "temperature"):
            wrong.append('space = "linear": probabilities have neither a temperature nor an offset; take "log".')
        if self.weights == "greedy" and self.tie_offset:
            wrong.append('weights = "greedy": the selection fits no tie offset; take "fitted".')
        if wrong:
            raise UserError(" ".join(wrong))

    @property
    def learns(self) -> bool:
        """Whether anything is fitted at all."""
        return self.weights != "equal" or self.tie_offset

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Fit what the switches say, and keep it only if unseen training prompts agree."""
        told = _inputs_of(train)
        self.names_ = train.input_names
        if self.shares and len(self.shares) != told.shape[1]:
            raise UserError(f"shares = {list(self.shares)}: expected one for each of {', '.join(self.names_)}.")
        self.weighting_ = self._start(told.shape[1])
        self.inner_gain_: tuple[float, float] | None = None
        if self.learns:
            fitted = self._fit(told, train.labels, train.weights)
            self.inner_gain_ = self._inner_gain(told, train)
            gain, error = self.inner_gain_
            if gain > error:
                self.weighting_ = fitted
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """(n, 3) probabilities; raises UserError unless the battles carry the inputs it was fitted on."""
        told = _inputs_of(battles)
        if battles.input_names != self.names_:
            raise UserError(
                f"fitted on the inputs {', '.join(self.names_)}, asked with {', '.join(battles.input_names)}."
            )
        return self._pool(told, self.weighting_)

    def save(self, folder: Path) -> None:
        """Write pool.json."""
        kept = {"inputs": self.names_, "weights": self.weighting_.weights, "tie_offset": self.weighting_.tie_offset}
        write_json(folder / "pool.json", kept | {"inner_gain": self.inner_gain_})

    def load(self, folder: Path) -> Self:
        """Read pool.json."""
        kept = json.loads((folder / "pool.json").read_text(encoding="utf-8"))
        self.names_ = tuple(kept["inputs"])
        self.weighting_ = Weighting(kept["weights"], kept["tie_offset"])
        self.inner_gain_ = None if kept["inner_gain"] is None else (kept["inner_gain"][0], kept["inner_gain"][1])
        return self

    def report(self) -> dict[str, Any]:
        """Weights, temperature, and what the inner cross-validation said of the fit."""
        kept = self.weighting_
        report: dict[str, Any] = {
            "parameters": 0,
            "weights": dict(zip(self.names_, kept.weights, strict=True)),
            "temperature": kept.temperature,
            "tie_offset": kept.tie_offset,
        }
        if self.inner_gain_ is not None:
            gain, error = self.inner_gain_
            report["inner_gain"] = {"mean": gain, "standard_error": error}
            if gain > error:
                shared = {"equal": 0, "temperature": 1}
                report["parameters"] = shared.get(self.weights, len(kept.weights)) + self.tie_offset
            else:
                begun = "given" if self.shares else "equal"
                report["warnings"] = [
                    f"{begun} weights and temperature 1 kept: on unseen training prompts the fit gained "
                    f"{gain:+.4f} ± {error:.4f}, no more than its standard error."
                ]
        return report

    def _start(self, count: int) -> Weighting:
        """What is taken before any fit, and kept where none is better."""
        shares = self.shares or (1.0,) * count
        return Weighting([share / sum(shares) for share in shares])

    def _inner_gain(self, told: FloatArray, train: Battles) -> tuple[float, float]:
        """Log loss without a fit less that with one, on prompts it was not fitted on; standard error."""
        member = assign_folds(train, self.inner_folds, salt="pool")
        fitted = np.empty((len(train), 3))
        for fold in np.unique(member):
            held = member == fold
            if held.all():
                return 0.0, 0.0
            weighting = self._fit(told[~held], train.labels[~held], train.weights[~held])
            fitted[held] = self._pool(told[held], weighting)
        plain = battle_losses(self._pool(told, self._start(told.shape[1])), train.labels)
        gains = plain - battle_losses(fitted, train.labels)
        gain = float(np.average(gains, weights=train.weights))
        # What a weighted mean owes to each battle: with equal weights, that battle's gain.
        shares = (gains - gain) * train.weights / train.weights.mean()
        return gain, standard_error(shares, prompt_keys(train))

    def _pool(self, told: FloatArray, weighting: Weighting) -> Proba:
        """(n, 3) of (n, k, 3)."""
        weights = np.array(weighting.weights)[None, :, None]
        if self.space == "linear":
            return normalise((told * weights).sum(axis=1))
        logits = (np.log(np.clip(told, SMALLEST, None)) * weights).sum(axis=1)
        logits[:, 2] += weighting.tie_offset
        return softmax(logits)

    def _fit(self, told: FloatArray, winner: Labels, weight: FloatArray) -> Weighting:
        """The weighting of least log loss on these battles, within the bounds."""
        if self.weights == "greedy":
            return self._select(told, winner, weight)
        count = told.shape[1]
        # What is free: a weight each or one for all, then the tie offset. The loss is convex in both (a softmax of
        # a linear function), so the way it is minimised does not matter.
        shared = self.weights in ("equal", "temperature")
        begin = np.array(self._start(count).weights)
        spread = begin[:, None] if shared else np.eye(count)
        lowest, highest = (
            (1.0, 1.0) if self.weights == "equal" or self.space == "linear" else (1 / FLATTEST, 1 / SHARPEST)
        )

        def weighting(free: FloatArray) -> Weighting:
            offset = free[-1] if self.tie_offset else 0.0
            return Weighting((spread @ free[: spread.shape[1]]).tolist(), float(offset))

        def loss(free: FloatArray) -> float:
            return float(np.average(battle_losses(self._pool(told, weighting(free)), winner), weights=weight))

        start = np.concatenate([np.ones(1) if shared else begin, np.zeros(int(self.tie_offset))])
        sums = np.concatenate([spread.sum(axis=0), np.zeros(int(self.tie_offset))])
        found = minimize(
            loss,
            start,
            method="SLSQP",
            bounds=[(0.0, highest)] * spread.shape[1] + [(-2.0, 2.0)] * int(self.tie_offset),
            constraints=LinearConstraint(sums[None, :], lowest, highest),
            options={"ftol": 1e-10, "maxiter": 500},
        )
        # Bounds may be passed by a rounding error.
        inside = np.concatenate([np.clip(found.x[: spread.shape[1]], 0.0, None), found.x[spread.shape[1] :]])
        return weighting(inside) if np.isfinite(found.x).all() and found.fun <= loss(start) else weighting(start)

    def _select(self, told: FloatArray, winner: Labels, weight: FloatArray) -> Weighting:
        """Forward selection with replacement: each step adds the input that lowers the pool's loss most."""
        counts = np.zeros(told.shape[1])
        best, best_loss = self._start(told.shape[1]), np.inf
        for step in range(1, self.steps + 1):
            tries = [Weighting(((counts + one) / step).tolist()) for one in np.eye(len(counts))]
            losses = [np.average(battle_losses(self._pool(told, each), winner), weights=weight) for each in tries]
            chosen = int(np.argmin(losses))
            counts[chosen] += 1
            if losses[chosen] < best_loss:
                best, best_loss = tries[chosen], losses[chosen]
        return best


def _inputs_of(battles: Battles) -> FloatArray:
    """(n, k, 3) what the inputs say; raises UserError for battles without any."""
    if battles.inputs is None or not battles.input_names:
        raise UserError(
            'a pool has nothing but its inputs: name them in the experiment, e.g. inputs = ["structure"].'
        )
    return battles.inputs

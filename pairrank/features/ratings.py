"""Bradley-Terry strengths of models, with Davidson's ties, are fitted to the names and winners of battles."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

from pairrank.data.battles import MODELS, Battles, Objects, Winner
from pairrank.data.probabilities import FloatArray, Labels, Proba
from pairrank.errors import UserError

NO_NAMES = "no training battle names both of its models, so no strengths were learned."
"""The warning in the record of a model without strengths."""
PENALTY = 2.0
"""Default penalty, from cross-validation on the real battles: strengths have a prior standard deviation of 0.7."""
MAX_STEPS = 100
"""Largest number of Newton steps. A fit usually takes fewer than ten."""
TOLERANCE = 1e-10
"""Largest absolute gradient per battle at which a fit is finished."""


@dataclass(frozen=True)
class Ratings:
    """Strengths of k models with mean 0, and their standard errors.

    Davidson's model ("On extending the Bradley-Terry model to accommodate ties in paired comparison experiments",
    JASA 65, 1970): P(A) : P(B) : P(tie) = exp(a) : exp(b) : nu exp((a + b) / 2) for strengths a and b. The margin
    is m = (a - b) / 2, the tie logit is log nu, and the logits of the outcomes are (m, -m, log nu). The field names
    are keys of ratings.json.
    """

    models: tuple[str, ...]
    """(k,) names, in alphabetical order."""
    strength: tuple[float, ...]
    """(k,) logarithms of Davidson's pi: a model wins exp(difference) times as often as it loses."""
    error: tuple[float, ...]
    """(k,) standard errors of `strength` relative to the mean, from the curvature of the penalised likelihood."""
    log_nu: float | None
    """Logarithm of Davidson's nu: equal models tie with probability nu / (2 + nu). None without ties."""
    battles: tuple[int, ...]
    """(k,) numbers of battles per model."""
    wins: tuple[int, ...]
    """(k,) numbers of battles that the model won."""
    ties: tuple[int, ...]
    """(k,) numbers of ties of the model."""
    penalty: float
    """Penalty of the fit: the prior of a strength is normal with variance 1 / penalty."""

    def strengths_of(self, names: Iterable[str]) -> tuple[FloatArray, FloatArray]:
        """Return the (n,) strengths and (n,) standard errors of the models with these names.

        An unknown model has strength 0 and the standard deviation of the prior, which is infinite without a
        penalty.
        """
        known = dict(zip(self.models, zip(self.strength, self.error, strict=True), strict=True))
        nothing = (0.0, self.penalty**-0.5 if self.penalty else float("inf"))
        found = np.array([known.get(name, nothing) for name in names], dtype=np.float64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def proba(self, model_a: Iterable[str], model_b: Iterable[str]) -> Proba:
        """Return (n, 3) probabilities for battles between named models. Ties have 0 if the fit left them out."""
        margin = (self.strengths_of(model_a)[0] - self.strengths_of(model_b)[0]) / 2
        return np.exp(_log_proba(margin, -np.inf if self.log_nu is None else self.log_nu))


def has_both_names(battles: Battles) -> npt.NDArray[np.bool_]:
    """Return the (n,) mask of battles that name both models."""
    both = np.ones(len(battles), dtype=bool)
    for side in MODELS:
        both &= names_of(battles, side) != ""
    return both


def names_of(battles: Battles, column: str) -> Objects:
    """Return the (n,) names in the column model_a or model_b, "" for unknown ones."""
    names: Objects | None = getattr(battles, column)
    return np.full(len(battles), "", dtype=object) if names is None else names


def fit_ratings(battles: Battles, penalty: float = PENALTY, ties: bool = True) -> Ratings:
    """Return the strengths that maximise the weighted log-likelihood minus the penalty.

    The penalty is penalty / 2 times the sum of squares of the strengths and log nu. It pulls strengths towards
    their mean, so that a model that has only won has a finite strength. Battles that do not name both models are
    left out. With `ties=False` ties are left out as well, which is the plain Bradley-Terry model. Raises UserError
    for a negative penalty, and without a penalty if a strength is infinite or if groups of models never met.
    """
    if not (np.isfinite(penalty) and penalty >= 0):
        raise UserError(f"penalty = {penalty}: expected 0 or more.")
    rows = has_both_names(battles)
    if not ties:
        rows &= battles.labels != Winner.TIE
    fitted = battles.take(rows)
    sides = [names_of(fitted, side) for side in MODELS]
    models, index = np.unique(np.concatenate(sides), return_inverse=True)
    a, b = index.reshape(2, -1)
    likelihood = DavidsonLikelihood(_design(a, b, len(models)), fitted.labels, fitted.weights, penalty, ties)
    if not penalty:
        _refuse_infinite_strengths(models, likelihood)
    point = _maximise(likelihood, len(models) + ties)
    spread = np.linalg.pinv(likelihood.curvature(point), hermitian=True) if len(point) else np.empty((0, 0))
    strength = point[: len(models)]
    # Battles determine differences only, so the errors are relative to the mean, without a common shift.
    about_mean = np.eye(len(models)) - 1 / max(len(models), 1)
    spread = about_mean @ spread[: len(models), : len(models)] @ about_mean
    tied = fitted.labels == Winner.TIE
    return Ratings(
        models=tuple(models.tolist()),
        strength=tuple((strength - strength.mean() if len(models) else strength).tolist()),
        error=tuple(np.sqrt(np.diag(spread)).tolist()),
        log_nu=float(point[-1]) if ties else None,
        battles=_count(models, *sides),
        wins=_count(models, *(side[fitted.labels == i] for i, side in enumerate(sides))),
        ties=_count(models, *(side[tied] for side in sides)),
        penalty=float(penalty),
    )


def load_ratings(kept: dict[str, Any]) -> Ratings:
    """Return ratings from their `asdict` as read from JSON, where tuples have become lists."""
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}
    return Ratings(**plain)


class DavidsonLikelihood(NamedTuple):
    """The penalised log-likelihood of n battles at a point: (k,) strengths and, with ties, log nu."""

    design: csr_matrix
    """(n, k) matrix whose product with the strengths is the margin: 1/2 for the model of A, -1/2 for that of B."""
    winner: Labels
    """(n,) winners."""
    weight: FloatArray
    """(n,) weights."""
    penalty: float
    """Penalty of the squared strengths and log nu."""
    ties: bool
    """Whether ties are modelled, so that the point ends with log nu."""

    def value(self, point: FloatArray) -> float:
        """Return the weighted log-likelihood minus the penalty."""
        chosen = self._log_proba(point)[np.arange(len(self.winner)), self.winner]
        return float(self.weight @ chosen - self.penalty / 2 * (point @ point))

    def gradient(self, point: FloatArray) -> FloatArray:
        """Return the gradient of `value`."""
        residuals = self.weight[:, None] * (np.eye(3)[self.winner] - np.exp(self._log_proba(point)))
        strength = self.design.T @ (residuals[:, 0] - residuals[:, 1])
        return np.concatenate([strength, [residuals[:, 2].sum()] * self.ties]) - self.penalty * point

    def curvature(self, point: FloatArray) -> FloatArray:
        """Return the negative Hessian of `value`: the Fisher information plus the penalty."""
        a, b, tie = np.exp(self._log_proba(point)).T
        margins = self.design.multiply((self.weight * (a + b - (a - b) ** 2))[:, None]).tocsr()
        information = (self.design.T @ margins).toarray()
        if self.ties:
            shared = -(self.design.T @ (self.weight * (a - b) * tie))[:, None]
            own = np.array([[(self.weight * tie * (1 - tie)).sum()]])
            information = np.block([[information, shared], [shared.T, own]])
        return np.asarray(information + self.penalty * np.eye(len(point)))

    def _log_proba(self, point: FloatArray) -> FloatArray:
        k = self.design.shape[1]
        return _log_proba(self.design @ point[:k], point[k] if self.ties else -np.inf)


def _maximise(likelihood: DavidsonLikelihood, size: int) -> FloatArray:
    """Return the maximum by Newton's method, halving each step until the value increases.

    The value is concave, so it has one maximum.
    """
    point = np.zeros(size)
    enough = TOLERANCE * likelihood.weight.sum()
    for _ in range(MAX_STEPS):
        gradient = likelihood.gradient(point)
        if np.abs(gradient).max(initial=0) <= enough:
            return point
        # Without a penalty a common shift of all strengths changes nothing. The pseudo-inverse leaves that shift at
        # 0.
        step = np.linalg.pinv(likelihood.curvature(point), hermitian=True) @ gradient
        value = likelihood.value(point)
        # Near the maximum, values differ by rounding errors only.
        while likelihood.value(point + step) < value - 1e-12 * abs(value):
            step /= 2
        point = point + step
    raise UserError(f"strengths did not converge in {MAX_STEPS} steps. Use a larger penalty.")


def _refuse_infinite_strengths(models: Objects, likelihood: DavidsonLikelihood) -> None:
    """Raise UserError unless the likelihood has one finite maximum (Albert and Anderson, Biometrika 71, 1984).

    It has none if there is a direction in which no observed outcome becomes less likely relative to another
    outcome, which is a linear programme. It has many if there is a direction in which no probability changes.
    """
    if not len(models):
        return
    won, lost, tied = (likelihood.winner == outcome for outcome in Winner)
    design, none = likelihood.design, np.zeros((len(likelihood.winner), int(likelihood.ties)))
    margin, tie = np.hstack([design.toarray(), none]), np.hstack([0 * design.toarray(), none + 1])
    gains = [2 * margin[won], -2 * margin[lost]]
    if likelihood.ties:
        gains += [(margin - tie)[won], (-margin - tie)[lost], (tie - margin)[tied], (tie + margin)[tied]]
    steps = np.unique(np.vstack(gains), axis=0)
    found = linprog(-steps.sum(axis=0), A_ub=-steps, b_ub=np.zeros(len(steps)), bounds=(-1, 1))
    improved = steps @ found.x > 1e-6
    remedy = "Use a penalty above 0."
    if improved.any():
        # Only differences between moves matter, and most models do not move.
        moves = found.x[: len(models)] - np.median(found.x[: len(models)])
        far = [name for name, move in zip(models, moves, strict=True) if abs(move) > 1e-6]
        raise UserError(
            "without a penalty the most likely strengths are infinite: a model only won or only lost, or no battle "
            f"or every battle is a tie. Affected: {', '.join(far[:10]) or 'ties'}. {remedy}"
        )
    if np.linalg.matrix_rank(steps) < len(models) - 1 + likelihood.ties:
        raise UserError(f"the models form groups that never met, so strengths have no common scale. {remedy}")


def _design(a: Labels, b: Labels, k: int) -> csr_matrix:
    """Return the `DavidsonLikelihood.design` matrix. The two entries of a model against itself add up to 0."""
    rows = np.arange(len(a))
    values = np.repeat([0.5, -0.5], len(a))
    return csr_matrix((values, (np.concatenate([rows, rows]), np.concatenate([a, b]))), shape=(len(a), k))


def _log_proba(margin: FloatArray, tie: float) -> FloatArray:
    """Return the (n, 3) log-probabilities of the logits (m, -m, tie)."""
    logits = np.stack([margin, -margin, np.full(len(margin), tie)], axis=1)
    # `probabilities.log_softmax` differs in the last digit, which would change recorded strengths.
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def _count(models: Objects, *sides: Objects) -> tuple[int, ...]:
    """Return the (k,) numbers of times that each model is named."""
    found = np.searchsorted(models, np.concatenate(sides))
    return tuple(np.bincount(found, minlength=len(models)).tolist())

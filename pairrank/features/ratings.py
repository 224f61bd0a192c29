"""How strong each model is: Bradley-Terry strengths with Davidson's ties, from the names and winners of battles."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

from pairrank.data.battles import MODELS, Battles, Objects, Winner
from pairrank.data.probabilities import FloatArray, Proba
from pairrank.errors import UserError

Rows = npt.NDArray[np.int64]

NO_NAMES = "no training battle names both of its models: nothing was learned of who is strong."
"""What a reader of such a model's result must know."""
PENALTY = 2.0
"""By cross-validation on the real battles; a prior on strengths whose standard deviation is 0.7."""
STEPS = 100
"""Newton's steps at most; a handful is usual."""
PRECISE = 1e-10
"""The largest slope at which a fit is finished, a battle."""


@dataclass(frozen=True)
class Ratings:
    """Strengths of k models on one scale whose mean is 0, and how surely they are known.

    Davidson's model ("On extending the Bradley-Terry model to accommodate ties in paired comparison experiments",
    JASA 65, 1970): P(A) : P(B) : P(tie) = exp(a) : exp(b) : nu exp((a + b) / 2) for the strengths a and b. So the
    margin is m = (a - b) / 2, the tie logit log nu, and the logits of the outcomes are (m, -m, log nu).
    """

    models: tuple[str, ...]
    """(k) names, in alphabetical order."""
    strength: tuple[float, ...]
    """(k) logs of Davidson's pi: a model wins exp(difference) times as often as it loses."""
    error: tuple[float, ...]
    """(k) standard errors of `strength` about the mean, from the curvature of the penalised likelihood."""
    log_nu: float | None
    """The log of Davidson's tie parameter: equal models tie with P = nu / (2 + nu). None: ties were left out."""
    battles: tuple[int, ...]
    """(k) how many of the battles were the model's."""
    wins: tuple[int, ...]
    """(k) how many of them it won."""
    ties: tuple[int, ...]
    """(k) how many nobody won."""
    penalty: float
    """What it was fitted with: a strength's prior is normal with variance 1 / penalty."""

    def of(self, names: Iterable[str]) -> tuple[FloatArray, FloatArray]:
        """(n) strengths of the models called so, and (n) errors; of an unknown one 0 and its prior's spread."""
        known = dict(zip(self.models, zip(self.strength, self.error, strict=True), strict=True))
        nothing = (0.0, self.penalty**-0.5 if self.penalty else float("inf"))
        found = np.array([known.get(name, nothing) for name in names], dtype=np.float64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def proba(self, model_a: Iterable[str], model_b: Iterable[str]) -> Proba:
        """(n, 3) probabilities for battles between models of these names; a tie has 0 where ties were left out."""
        margin = (self.of(model_a)[0] - self.of(model_b)[0]) / 2
        return np.exp(_log_proba(margin, -np.inf if self.log_nu is None else self.log_nu))


def named(battles: Battles) -> npt.NDArray[np.bool_]:
    """(n,) which battles have the names of both models."""
    both = np.ones(len(battles), dtype=bool)
    for side in MODELS:
        both &= names_of(battles, side) != ""
    return both


def names_of(battles: Battles, column: str) -> Objects:
    """(n,) names of the models of one side, "" where unknown."""
    names: Objects | None = getattr(battles, column)
    return np.full(len(battles), "", dtype=object) if names is None else names


def fit_ratings(battles: Battles, penalty: float = PENALTY, ties: bool = True) -> Ratings:
    """The strengths that make weighted battles likeliest, less penalty / 2 x the squares of strengths and log nu.

    Battles that lack a name are left out; with `ties=False`, ties too, and it is plain Bradley-Terry. The penalty
    draws strengths to their mean, so a model that has only won has a finite one. Without a penalty such a model
    has none: UserError, as for models that never met, even by way of others.
    """
    if not (np.isfinite(penalty) and penalty >= 0):
        raise UserError(f"penalty = {penalty}: expected 0 or more.")
    rows = named(battles)
    if not ties:
        rows &= battles.labels != Winner.TIE
    fitted = battles.take(rows)
    sides = [names_of(fitted, side) for side in MODELS]
    models, index = np.unique(np.concatenate(sides), return_inverse=True)
    a, b = index.reshape(2, -1)
    duel = DavidsonLikelihood(_halves(a, b, len(models)), fitted.labels, fitted.weights, penalty, ties)
    if not penalty:
        _refuse_endless(models, duel)
    position = _climb(duel, len(models) + ties)
    spread = np.linalg.pinv(duel.curvature(position), hermitian=True) if len(position) else np.empty((0, 0))
    strength = position[: len(models)]
    # Only differences are told by battles: the errors are those about the mean, without the shift common to all.
    about_mean = np.eye(len(models)) - 1 / max(len(models), 1)
    spread = about_mean @ spread[: len(models), : len(models)] @ about_mean
    tied = fitted.labels == Winner.TIE
    return Ratings(
        models=tuple(models.tolist()),
        strength=tuple((strength - strength.mean() if len(models) else strength).tolist()),
        error=tuple(np.sqrt(np.diag(spread)).tolist()),
        log_nu=float(position[-1]) if ties else None,
        battles=_count(models, *sides),
        wins=_count(models, *(side[fitted.labels == i] for i, side in enumerate(sides))),
        ties=_count(models, *(side[tied] for side in sides)),
        penalty=float(penalty),
    )


def load_ratings(kept: dict[str, Any]) -> Ratings:
    """Ratings from their `asdict`, as JSON gives it back: lists for tuples."""
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}
    return Ratings(**plain)


class DavidsonLikelihood(NamedTuple):
    """The penalised log-likelihood of n battles at a position: (k) strengths and, with ties, log nu."""

    halves: csr_matrix
    """(n, k) half a strength counts for the margin of A, half of another against it."""
    winner: Rows
    """(n)."""
    weight: FloatArray
    """(n)."""
    penalty: float
    ties: bool

    def height(self, position: FloatArray) -> float:
        """The weighted log-likelihood, less the penalty."""
        chosen = self._log_proba(position)[np.arange(len(self.winner)), self.winner]
        return float(self.weight @ chosen - self.penalty / 2 * (position @ position))

    def slope(self, position: FloatArray) -> FloatArray:
        """Its gradient."""
        missed = self.weight[:, None] * (np.eye(3)[self.winner] - np.exp(self._log_proba(position)))
        strength = self.halves.T @ (missed[:, 0] - missed[:, 1])
        return np.concatenate([strength, [missed[:, 2].sum()] * self.ties]) - self.penalty * position

    def curvature(self, position: FloatArray) -> FloatArray:
        """Minus its second derivatives: the information of Fisher, and the penalty."""
        a, b, tie = np.exp(self._log_proba(position)).T
        margins = self.halves.multiply((self.weight * (a + b - (a - b) ** 2))[:, None]).tocsr()
        information = (self.halves.T @ margins).toarray()
        if self.ties:
            shared = -(self.halves.T @ (self.weight * (a - b) * tie))[:, None]
            own = np.array([[(self.weight * tie * (1 - tie)).sum()]])
            information = np.block([[information, shared], [shared.T, own]])
        return np.asarray(information + self.penalty * np.eye(len(position)))

    def _log_proba(self, position: FloatArray) -> FloatArray:
        k = self.halves.shape[1]
        return _log_proba(self.halves @ position[:k], position[k] if self.ties else -np.inf)


def _climb(duel: DavidsonLikelihood, size: int) -> FloatArray:
    """Newton's method, each step halved until it climbs: the height is concave, so there is one top."""
    position = np.zeros(size)
    enough = PRECISE * duel.weight.sum()
    for _ in range(STEPS):
        slope = duel.slope(position)
        if np.abs(slope).max(initial=0) <= enough:
            return position
        # Without a penalty a common shift of all strengths changes nothing; the pseudo-inverse makes none.
        step = np.linalg.pinv(duel.curvature(position), hermitian=True) @ slope
        height = duel.height(position)
        # Near the top, heights are alike but for rounding.
        while duel.height(position + step) < height - 1e-12 * abs(height):
            step /= 2
        position = position + step
    raise UserError(f"strengths not found in {STEPS} steps. A larger penalty makes it easier.")


def _refuse_endless(models: Objects, duel: DavidsonLikelihood) -> None:
    """Raise UserError unless the likelihood alone has one top (Albert and Anderson, Biometrika 71, 1984).

    It has none if one can walk somewhere so that no outcome that occurred loses against the others; whether one can
    is a linear programme. It has many if one can walk somewhere so that nothing changes.
    """
    if not len(models):
        return
    won, lost, tied = (duel.winner == outcome for outcome in Winner)
    halves, none = duel.halves, np.zeros((len(duel.winner), int(duel.ties)))
    margin, tie = np.hstack([halves.toarray(), none]), np.hstack([0 * halves.toarray(), none + 1])
    gains = [2 * margin[won], -2 * margin[lost]]
    if duel.ties:
        gains += [(margin - tie)[won], (-margin - tie)[lost], (tie - margin)[tied], (tie + margin)[tied]]
    steps = np.unique(np.vstack(gains), axis=0)
    walk = linprog(-steps.sum(axis=0), A_ub=-steps, b_ub=np.zeros(len(steps)), bounds=(-1, 1))
    moved = steps @ walk.x > 1e-6
    remedy = "Give a penalty above 0."
    if moved.any():
        # Only the way relative to others counts; most stay where they are.
        ways = walk.x[: len(models)] - np.median(walk.x[: len(models)])
        far = [name for name, way in zip(models, ways, strict=True) if abs(way) > 1e-6]
        raise UserError(
            "without a penalty no finite strengths are likeliest: a model only won or only lost, or nothing or "
            f"everything is a tie. Concerned: {', '.join(far[:10]) or 'ties'}. {remedy}"
        )
    if np.linalg.matrix_rank(steps) < len(models) - 1 + duel.ties:
        raise UserError(f"the models fall into groups that never met, so their strengths have no scale. {remedy}")


def _halves(a: Rows, b: Rows, k: int) -> csr_matrix:
    """(n, k) whose product with strengths is the margin; two entries in one place add up to 0."""
    rows = np.arange(len(a))
    values = np.repeat([0.5, -0.5], len(a))
    return csr_matrix((values, (np.concatenate([rows, rows]), np.concatenate([a, b]))), shape=(len(a), k))


def _log_proba(margin: FloatArray, tie: float) -> FloatArray:
    """(n, 3) log-probabilities of the logits (m, -m, tie)."""
    logits = np.stack([margin, -margin, np.full(len(margin), tie)], axis=1)
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def _count(models: Objects, *sides: Objects) -> tuple[int, ...]:
    """(k) how often each model is named."""
    found = np.searchsorted(models, np.concatenate(sides))
    return tuple(np.bincount(found, minlength=len(models)).tolist())

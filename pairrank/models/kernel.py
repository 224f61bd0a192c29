"""Similar battles have similar votes: an odd function of differences, an even function of what both sides share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression

from pairrank.atomic import atomic_path
from pairrank.data.battles import Battles, Winner
from pairrank.data.probabilities import FloatArray, Labels, Proba, from_logs, log_outcomes
from pairrank.errors import UserError, bounds_complaints
from pairrank.features.counting import Features
from pairrank.features.groups import DEFAULT_GROUPS, group_complaints
from pairrank.features.scaling import Scaling, fit_scaling
from pairrank.models.base import Model, register, require_battles
from pairrank.models.heads.kernels import (
    Kernel,
    Points,
    choose_landmarks,
    feature_map,
    kernel_product,
    mixed_kernel,
    odd_kernel,
)
from pairrank.models.heads.language_model import (
    battle_columns,
    find_language_model,
    language_model_report,
    load_language_model,
    save_language_model,
)
from pairrank.models.heads.linear import HeadName, tie_task
from pairrank.progress import with_progress
from pairrank.training.monitor import Monitor

HEADS: tuple[HeadName, ...] = ("margin", "tie")
STATE_FILE = "kernel.safetensors"
TOLERANCE = 1e-7
"""Bound on the gradient of the loss at which a fit has converged."""


@dataclass(frozen=True)
class KernelHead:
    """A logit as a weighted sum of the kernel's values between a battle and the landmarks."""

    landmarks: Points
    """m standardised training battles."""
    weights: FloatArray
    """(m, 1) weights."""
    intercept: FloatArray
    """(1,) intercept; 0 for a margin."""


@register("kernel")
@dataclass
class KernelLogistic(Model):
    """Kernel logistic regression over counted features: an odd kernel for the margin, an even one for the tie.

    It is the mode of a Gaussian process with logistic likelihood whose prior covariance is 1 / penalty times the
    kernel (Rasmussen & Williams 2006, chapter 3).
    """

    groups: tuple[str, ...] = DEFAULT_GROUPS
    """Groups of features."""
    likelihood: list[str] = field(default_factory=list)
    """Language models in order of preference; log-probabilities of the answers become columns. [] for none."""
    penalty: float = 0.5
    """Penalty on the squared norm of both functions; more makes them flatter."""
    rbf: float = 0.9
    """Share of the Gaussian kernel; the rest is linear."""
    length_scale: float = 2.0
    """Length scale of the Gaussian kernel, in standard deviations of every feature at once."""
    modulate: bool = False
    """Multiply the margin's kernel by a Gaussian one of the even features: weights may vary with the prompt."""
    clip: float = 3.0
    """Bound of each standardised feature, in standard deviations."""
    landmarks: int = 2000
    """Training battles in the kernel expansion at most; fewer are faster and coarser."""
    seed: int = 0
    """Seed that draws the landmarks if there are more training battles than that."""

    symmetric: ClassVar[bool] = True
    """Margins are odd and tie logits even by construction."""

    def __post_init__(self) -> None:
        bounds = {
            "penalty": (self.penalty > 0, "a number above 0"),
            "rbf": (0 <= self.rbf <= 1, "a share from 0 to 1"),
            "length_scale": (1e-6 <= self.length_scale <= 1e6, "a number from 0.000001 to 1,000,000"),
            "clip": (self.clip > 0, "a number above 0"),
            "landmarks": (self.landmarks >= 1, "1 or more"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        complaints = group_complaints(self.groups, needs_sides=not self.likelihood) + bounds_complaints(
            self, bounds
        )
        if complaints:
            raise UserError(" ".join(complaints))

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Fit the margin to decided battles, in one order since it is odd, and the tie to all battles."""
        require_battles(train)
        self.language_model_ = find_language_model(self.likelihood)
        counted = battle_columns(train, self.groups, self.language_model_)
        weight, decided = train.weights, (train.labels != Winner.TIE) & train.taught("margin")
        self.odd_ = fit_scaling(counted.odd[decided], weight[decided], self.clip, odd=True)
        self.even_ = fit_scaling(counted.even, weight, self.clip)
        first = (train.labels[decided] == Winner.A).astype(np.int64)
        margin_points = self._points("margin", counted).take(decided)
        task = tie_task(self.even_(counted.even), train)
        tie_points = Points(np.empty((len(task.x), 0)), task.x)
        data: dict[HeadName, tuple[Points, Labels, FloatArray]] = {
            "margin": (margin_points, first, weight[decided]),
            "tie": (tie_points, task.target, task.weight),
        }
        heads = with_progress(data, "kernel, heads")
        self.heads_: dict[HeadName, KernelHead] = {name: self._fit_head(name, *data[name]) for name in heads}
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities of A, B and tie."""
        if not len(battles):
            return np.empty((0, 3))
        counted = battle_columns(battles, self.groups, self.language_model_)
        return from_logs(log_outcomes(self._logits("tie", counted), self._logits("margin", counted)))

    def save(self, folder: Path) -> None:
        """Write kernel.safetensors, and the hash of a language model."""
        save_language_model(self.language_model_, folder)
        state: dict[str, FloatArray] = {}
        for part, scaling in (("odd", self.odd_), ("even", self.even_)):
            state |= {f"{part}.centre": scaling.centre, f"{part}.scale": scaling.scale}
        for name, head in self.heads_.items():
            state |= {f"{name}.odd": head.landmarks.odd, f"{name}.even": head.landmarks.even}
            state |= {f"{name}.weights": head.weights, f"{name}.intercept": head.intercept}
        with atomic_path(folder / STATE_FILE) as path:
            save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, path)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises UserError if the language model has changed since."""
        self.language_model_ = load_language_model(self.likelihood, folder)
        state = load_file(folder / STATE_FILE)
        self.odd_, self.even_ = (
            Scaling(state[f"{part}.centre"], state[f"{part}.scale"], self.clip) for part in ("odd", "even")
        )
        self.heads_ = {
            name: KernelHead(
                Points(state[f"{name}.odd"], state[f"{name}.even"]),
                state[f"{name}.weights"],
                state[f"{name}.intercept"],
            )
            for name in HEADS
        }
        return self

    def report(self) -> dict[str, Any]:
        """Return the number of parameters (a weight per landmark, the tie's intercept) and of landmarks."""
        sizes = {name: len(head.weights) for name, head in self.heads_.items()}
        report = {"parameters": sum(sizes.values()) + 1, "landmarks": sizes}
        return report | language_model_report(self.language_model_)

    def kernel(self, name: HeadName) -> Kernel:
        """Return the kernel of a head, a function of standardised points."""
        odd, even = odd_kernel(self.rbf, self.length_scale), mixed_kernel(self.rbf, self.length_scale)
        if name == "tie":
            return lambda one, other: even(one.even, other.even)
        if not self.modulate:
            return lambda one, other: odd(one.odd, other.odd)
        context = mixed_kernel(1.0, self.length_scale)
        return lambda one, other: odd(one.odd, other.odd) * context(one.even, other.even)

    def _points(self, name: HeadName, counted: Features) -> Points:
        """Return the points that the kernel of a head compares."""
        if name == "tie":
            return Points(counted.odd[:, :0], self.even_(counted.even))
        even = self.even_(counted.even) if self.modulate else counted.even[:, :0]
        return Points(self.odd_(counted.odd), even)

    def _fit_head(self, name: HeadName, points: Points, target: Labels, weight: FloatArray) -> KernelHead:
        """Fit a logistic regression to the columns of the kernel's feature map; the margin has no intercept."""
        odd, kernel = name == "margin", self.kernel(name)
        landmarks = points.take(choose_landmarks(len(target), self.landmarks, self.seed))
        factor = feature_map(kernel, landmarks)
        # A battle of two equal sides, won once by each: it does not affect an odd function, and it provides both
        # classes.
        x = kernel_product(kernel, points, landmarks, factor, zeros=2 if odd else 0)
        if odd:
            target, weight = np.append(target, [0, 1]), np.append(weight, [1.0, 1.0])
        if not x.shape[1]:
            x = np.zeros((len(x), 1))
            factor = np.zeros((len(factor), 1))
        fitted = LogisticRegression(C=1 / self.penalty, fit_intercept=not odd, tol=TOLERANCE, max_iter=5_000)
        fitted.fit(x, target, sample_weight=weight)
        intercept = np.zeros(1) if odd else fitted.intercept_
        return KernelHead(landmarks, factor @ fitted.coef_.T, intercept)

    def _logits(self, name: HeadName, counted: Features) -> FloatArray:
        """Return the (n,) logits of a head."""
        head, points = self.heads_[name], self._points(name, counted)
        product = kernel_product(self.kernel(name), points, head.landmarks, head.weights)
        logits: FloatArray = product[:, 0] + head.intercept
        return logits

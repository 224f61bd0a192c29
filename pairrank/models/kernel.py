"""Battles that look alike are voted alike: an odd function of differences, an even one of what is shared."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression

from pairrank.data.battles import Battles, Winner
from pairrank.data.probabilities import FloatArray, Labels, Proba, from_logs, log_outcomes
from pairrank.errors import UserError, bounds_complaints
from pairrank.features.counting import GROUPS, Features, count_features, group_complaints
from pairrank.features.scaling import Scaling, fit_scaling
from pairrank.files import atomic_path
from pairrank.models.base import Model, register
from pairrank.models.heads.kernels import (
    Kernel,
    Points,
    choose_landmarks,
    compared,
    feature_map,
    mixed,
    mixed_odd,
)
from pairrank.models.heads.linear import tie_task
from pairrank.training.monitor import Monitor

HeadName = Literal["margin", "tie"]

STATE_FILE = "kernel.safetensors"
PRECISION = 1e-7
"""The largest derivative of a finished fit's mean loss."""


@dataclass(frozen=True)
class Head:
    """A logit as a weighted sum of how alike a battle is to the landmarks."""

    landmarks: Points
    """m training battles, standardised."""
    weights: FloatArray
    """(m, 1)."""
    intercept: FloatArray
    """(1), 0 for a margin."""


@register("kernel")
@dataclass
class KernelLogistic(Model):
    """Kernel logistic regression over counted features: a margin of odd kernels, a tie of even ones.

    It is the most probable function of a Gaussian process with logistic likelihood (Rasmussen & Williams 2006,
    chapter 3), whose prior variance is 1 / penalty times the kernel.
    """

    groups: tuple[str, ...] = tuple(group for group in GROUPS if group != "style")
    """Which groups of features."""
    penalty: float = 0.5
    """Of the squared norm of both functions; more makes them flatter."""
    rbf: float = 0.9
    """The share of the Gaussian kernel; the rest is linear."""
    length_scale: float = 2.0
    """Standard deviations, in every feature at once, over which a Gaussian kernel forgets."""
    modulate: bool = False
    """Multiply the margin's kernel by a Gaussian one of the even features: what counts may vary with the prompt."""
    clip: float = 3.0
    """Standard deviations at which a feature stops growing."""
    landmarks: int = 2000
    """Training battles that all others are compared with, at most; fewer are faster and coarser."""
    seed: int = 0
    """Which battles are landmarks, where there are more than that."""

    symmetric: ClassVar[bool] = True
    """By construction: margins are odd, tie logits even."""

    def __post_init__(self) -> None:
        bounds = {
            "penalty": (self.penalty > 0, "above 0"),
            "rbf": (0 <= self.rbf <= 1, "a share from 0 to 1"),
            "length_scale": (self.length_scale > 0, "above 0"),
            "clip": (self.clip > 0, "above 0"),
            "landmarks": (self.landmarks >= 1, "1 or more"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        complaints = group_complaints(self.groups, needs_sides=True) + bounds_complaints(self, bounds)
        if complaints:
            raise UserError(" ".join(complaints))

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Learn the margin from decided battles, in one order (an odd function knows the other), ties from all."""
        if not len(train):
            raise UserError("no battles to learn from.")
        counted = count_features(train, self.groups)
        weight, decided = train.weights, train.labels != Winner.TIE
        self.odd_ = fit_scaling(counted.odd[decided], weight[decided], self.clip, odd=True)
        self.even_ = fit_scaling(counted.even, weight, self.clip, odd=False)
        first = (train.labels[decided] == Winner.A).astype(np.int64)
        task = tie_task(self.even_(counted.even), train)
        none = np.empty((len(task.x), 0))
        self.heads_ = {
            "margin": self._fit_head(
                "margin", self._points("margin", counted).take(decided), first, weight[decided]
            ),
            "tie": self._fit_head("tie", Points(none, task.x), task.target, task.weight),
        }
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """(n, 3) probabilities of A, B, tie."""
        if not len(battles):
            return np.empty((0, 3))
        counted = count_features(battles, self.groups)
        tie, margin = (self._scores(head, self._points(head, counted)) for head in ("tie", "margin"))
        return from_logs(log_outcomes(tie, margin))

    def save(self, folder: Path) -> None:
        """Write kernel.safetensors."""
        state: dict[str, FloatArray] = {}
        for part, scaling in (("odd", self.odd_), ("even", self.even_)):
            state |= {f"{part}.centre": scaling.centre, f"{part}.scale": scaling.scale}
        for name, head in self.heads_.items():
            state |= {f"{name}.odd": head.landmarks.odd, f"{name}.even": head.landmarks.even}
            state |= {f"{name}.weights": head.weights, f"{name}.intercept": head.intercept}
        with atomic_path(folder / STATE_FILE) as temporary:
            save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, temporary)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        state = load_file(folder / STATE_FILE)
        self.odd_, self.even_ = (
            Scaling(state[f"{part}.centre"], state[f"{part}.scale"], self.clip) for part in ("odd", "even")
        )
        self.heads_ = {
            name: Head(
                Points(state[f"{name}.odd"], state[f"{name}.even"]),
                state[f"{name}.weights"],
                state[f"{name}.intercept"],
            )
            for name in ("margin", "tie")
        }
        return self

    def report(self) -> dict[str, Any]:
        """A weight a landmark, and the tie's intercept."""
        sizes = {name: len(head.weights) for name, head in self.heads_.items()}
        return {"parameters": sum(sizes.values()) + 1, "landmarks": sizes}

    def kernel(self, name: HeadName) -> Kernel:
        """The kernel of a head, on standardised points."""
        odd, even = mixed_odd(self.rbf, self.length_scale), mixed(self.rbf, self.length_scale)
        if name == "tie":
            return lambda one, other: even(one.even, other.even)
        if not self.modulate:
            return lambda one, other: odd(one.odd, other.odd)
        near = mixed(1.0, self.length_scale)
        return lambda one, other: odd(one.odd, other.odd) * near(one.even, other.even)

    def _points(self, name: HeadName, counted: Features) -> Points:
        """What a head's kernel looks at."""
        if name == "tie":
            return Points(counted.odd[:, :0], self.even_(counted.even))
        even = self.even_(counted.even) if self.modulate else counted.even[:, :0]
        return Points(self.odd_(counted.odd), even)

    def _fit_head(self, name: HeadName, points: Points, target: Labels, weight: FloatArray) -> Head:
        """Logistic regression on the columns that the kernel stands for; the margin's has no intercept."""
        odd, kernel = name == "margin", self.kernel(name)
        landmarks = points.take(choose_landmarks(len(target), self.landmarks, self.seed))
        turned = feature_map(kernel, landmarks)
        x = compared(kernel, points, landmarks, turned)
        if odd:
            # A battle without any difference, won once by each: it moves no odd function, and no class is missing.
            x = np.vstack([x, np.zeros((2, x.shape[1]))])
            target, weight = np.append(target, [0, 1]), np.append(weight, [1.0, 1.0])
        if not x.shape[1]:
            x = np.zeros((len(x), 1))
            turned = np.zeros((len(turned), 1))
        fitted = LogisticRegression(C=1 / self.penalty, fit_intercept=not odd, tol=PRECISION, max_iter=5_000)
        fitted.fit(x, target, sample_weight=weight)
        intercept = np.zeros(1) if odd else fitted.intercept_
        return Head(landmarks, turned @ fitted.coef_.T, intercept)

    def _scores(self, name: HeadName, points: Points) -> FloatArray:
        """(n) logits of a head."""
        head = self.heads_[name]
        scores: FloatArray = (
            compared(self.kernel(name), points, head.landmarks, head.weights)[:, 0] + head.intercept
        )
        return scores

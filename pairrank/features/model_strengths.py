"""Who answers, as columns: the strengths of the named or the guessed models, never from a battle's own result."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.folds import assign_folds
from pairrank.data.probabilities import FloatArray
from pairrank.errors import UserError
from pairrank.features.authorship import AuthorClassifier, fit_author_classifier, load_author_classifier
from pairrank.features.counting import Features
from pairrank.features.ratings import PENALTY, Ratings, fit_ratings, load_ratings, names_of
from pairrank.files import write_json

NameSource = Literal["true", "guessed"]
"""The models' names, which test battles lack; or guesses of them from the answers."""

INNER, SALT = 5, "identity"
"""The inner folds in which the columns of training battles are made."""


@dataclass(frozen=True, eq=False)
class ModelStrengths:
    """What training battles taught of models: how strong they are and, perhaps, how they write."""

    ratings: Ratings
    guesser: AuthorClassifier | None
    """None: names are read, not guessed."""

    @property
    def kind(self) -> NameSource:
        """Where a model's name comes from."""
        return "true" if self.guesser is None else "guessed"

    def columns(self, battles: Battles) -> Features:
        """One odd column, the difference of strengths, and the even ones, for battles it was not fitted on.

        Strengths come with an uncertainty: the standard error of a named model's, the standard deviation over a
        guess. An unnamed or unknown model has strength 0 and its prior's spread.
        """
        (a, unsure_a), (b, unsure_b) = self._side(battles, "a"), self._side(battles, "b")
        even = {
            "strength.sum": a + b,
            "strength.gap": np.abs(a - b),
            "unsure.sum": unsure_a + unsure_b,
            "unsure.gap": np.abs(unsure_a - unsure_b),
        }
        if self.guesser is None:
            known = set(self.ratings.models)
            sides = zip(*(names_of(battles, f"model_{side}") for side in "ab"), strict=True)
            even["known"] = np.array([sum(name in known for name in both) for both in sides], dtype=np.float64)
        prefix = f"identity.{self.kind}"
        return Features(
            odd=(a - b)[:, None],
            even=np.stack(list(even.values()), axis=1),
            odd_names=(f"{prefix}.strength",),
            even_names=tuple(f"{prefix}.{name}" for name in even),
        )

    def save(self, folder: Path) -> None:
        """Write ratings.json and, for guesses, the guesser's files."""
        write_json(folder / "ratings.json", {"kind": self.kind, "ratings": asdict(self.ratings)})
        if self.guesser is not None:
            self.guesser.save(folder)

    def _side(self, battles: Battles, side: Literal["a", "b"]) -> tuple[FloatArray, FloatArray]:
        """(n) strengths of one side's models, and (n) how unsure they are."""
        if self.guesser is None:
            return self.ratings.strengths_of(names_of(battles, f"model_{side}"))
        classes = [self.ratings.strengths_of(members)[0] for members in self.guesser.classes]
        strength = np.array([of.mean() if len(of) else 0.0 for of in classes])
        proba = self.guesser.proba(battles, side)
        # Not a matrix product, whose last digits depend on how many rows there are.
        expected = (proba * strength).sum(axis=1)
        return expected, np.sqrt((proba * (strength - expected[:, None]) ** 2).sum(axis=1))


def load_model_strengths(folder: Path) -> ModelStrengths:
    """What `ModelStrengths.save` wrote."""
    kept = json.loads((folder / "ratings.json").read_text(encoding="utf-8"))
    return ModelStrengths(
        load_ratings(kept["ratings"]), None if kept["kind"] == "true" else load_author_classifier(folder)
    )


def fit_model_strengths(
    train: Battles, kind: NameSource, penalty: float = PENALTY, fewest: float = 10
) -> tuple[Features, ModelStrengths]:
    """The columns of the training battles, and what makes those of all others.

    A training battle's columns come from ratings and a guesser that saw only the other inner folds, whole prompts
    at a time: its own winner does not enter them, nor does its text teach whose it is. Other battles' columns come
    from a fit on all of `train`. Raises UserError for a penalty of 0.
    """
    if penalty <= 0:
        raise UserError(f"penalty = {penalty}: expected above 0, or an unknown model would be infinitely unsure.")
    whole = _fit(train, kind, penalty, fewest)
    shape = whole.columns(train.take(slice(0)))
    odd, even = (np.full((len(train), part.shape[1]), np.nan) for part in (shape.odd, shape.even))
    fold = assign_folds(train, INNER, SALT)
    for k in np.unique(fold):
        inside = fold == k
        honest = _fit(train.take(~inside), kind, penalty, fewest).columns(train.take(inside))
        odd[inside], even[inside] = honest.odd, honest.even
    return replace(shape, odd=odd, even=even), whole


def _fit(train: Battles, kind: NameSource, penalty: float, fewest: float) -> ModelStrengths:
    return ModelStrengths(
        fit_ratings(train, penalty), fit_author_classifier(train, fewest) if kind == "guessed" else None
    )

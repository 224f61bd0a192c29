"""The features of a battle include the strengths of its models, estimated without the battle's own result."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pairrank.cores import usable_threads
from pairrank.data.battles import Battles
from pairrank.data.folds import assign_folds
from pairrank.data.probabilities import FloatArray
from pairrank.errors import UserError
from pairrank.features.authorship import AuthorClassifier, Side, fit_author_classifier, load_author_classifier
from pairrank.features.counting import Features
from pairrank.features.ratings import PENALTY, Ratings, fit_ratings, load_ratings, names_of
from pairrank.files import write_json

NameSource = Literal["true", "guessed"]
"""The true names of the models, which test battles lack, or names guessed from the answers."""

INNER, SALT = 5, "identity"
"""Number and salt of the inner folds by which the features of training battles are computed."""


@dataclass(frozen=True, eq=False)
class ModelStrengths:
    """Strengths of models and, for guessed names, a classifier of their answers, fitted to training battles."""

    ratings: Ratings
    """Strengths by name."""
    classifier: AuthorClassifier | None
    """The classifier that guesses names; None if true names are used."""

    @property
    def kind(self) -> NameSource:
        """The source of the models' names."""
        return "true" if self.classifier is None else "guessed"

    def columns(self, battles: Battles) -> Features:
        """Return features of n battles that are not among the training battles.

        The odd column is the difference of strengths. The even columns are the sum and absolute difference of
        strengths and of their uncertainties and, for true names, the number of known models. The uncertainty of a
        true name is the standard error of its strength, and that of a guessed name is the standard deviation over
        the guessed models. An unknown model has strength 0 and the standard deviation of the prior.
        """
        (a, error_a), (b, error_b) = self._side(battles, "a"), self._side(battles, "b")
        even = {
            "strength.sum": a + b,
            "strength.gap": np.abs(a - b),
            "unsure.sum": error_a + error_b,
            "unsure.gap": np.abs(error_a - error_b),
        }
        if self.classifier is None:
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
        """Write ratings.json and, for guessed names, the files of the classifier."""
        write_json(folder / "ratings.json", {"kind": self.kind, "ratings": asdict(self.ratings)})
        if self.classifier is not None:
            self.classifier.save(folder)

    def _side(self, battles: Battles, side: Side) -> tuple[FloatArray, FloatArray]:
        """Return (n,) strengths of one side's models and their (n,) uncertainties."""
        if self.classifier is None:
            return self.ratings.strengths_of(names_of(battles, f"model_{side}"))
        classes = [self.ratings.strengths_of(members)[0] for members in self.classifier.classes]
        strength = np.array([of.mean() if len(of) else 0.0 for of in classes])
        proba = self.classifier.proba(battles, side)
        # Not a matrix product, whose last digits depend on the number of rows.
        expected = (proba * strength).sum(axis=1)
        return expected, np.sqrt((proba * (strength - expected[:, None]) ** 2).sum(axis=1))


def load_model_strengths(folder: Path) -> ModelStrengths:
    """Return the strengths that `ModelStrengths.save` wrote to a folder."""
    kept = json.loads((folder / "ratings.json").read_text(encoding="utf-8"))
    return ModelStrengths(
        load_ratings(kept["ratings"]), None if kept["kind"] == "true" else load_author_classifier(folder)
    )


def fit_model_strengths(
    train: Battles, kind: NameSource, penalty: float = PENALTY, fewest: float = 10, salt: str = SALT
) -> tuple[Features, ModelStrengths]:
    """Return the features of the training battles, and the strengths for the features of other battles.

    The features of a training battle come from a fit to the other inner folds, which contain none of its prompt's
    battles. They depend neither on its own winner nor, for guessed names, on its own text in training. The returned
    strengths are fitted to all of `train`. `penalty` is that of `fit_ratings`, `fewest` that of
    `fit_author_classifier`, and `salt` that of the inner folds. Raises UserError for a penalty of 0 or less.
    """
    if penalty <= 0:
        raise UserError(
            f"penalty = {penalty}: expected a number above 0, so that an unknown model has a finite error."
        )
    whole = _fit(train, kind, penalty, fewest)
    shape = whole.columns(train.take(slice(0)))
    odd, even = (np.full((len(train), part.shape[1]), np.nan) for part in (shape.odd, shape.even))
    fold = assign_folds(train, INNER, salt)

    def columns_of(k: int) -> Features:
        return _fit(train.take(fold != k), kind, penalty, fewest).columns(train.take(fold == k))

    folds = np.unique(fold).tolist()
    with ThreadPoolExecutor(usable_threads()) as pool:
        for k, columns in zip(folds, pool.map(columns_of, folds), strict=True):
            odd[fold == k], even[fold == k] = columns.odd, columns.even
    return replace(shape, odd=odd, even=even), whole


def _fit(train: Battles, kind: NameSource, penalty: float, fewest: float) -> ModelStrengths:
    return ModelStrengths(
        fit_ratings(train, penalty), fit_author_classifier(train, fewest) if kind == "guessed" else None
    )

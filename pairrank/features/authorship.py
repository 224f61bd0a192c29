"""The model that wrote an answer is predicted from counted features, the words and the opening of the answer."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression

from pairrank.atomic import atomic_path
from pairrank.data.battles import Battles, evenly_spaced
from pairrank.data.probabilities import FloatArray, Proba, softmax
from pairrank.errors import UserError
from pairrank.features.counting import count_features
from pairrank.features.groups import DEFAULT_GROUPS
from pairrank.features.ratings import names_of
from pairrank.features.scaling import Scaling, fit_scaling
from pairrank.features.tfidf import Tfidf, fit_tfidf, load_tfidf
from pairrank.files import write_json

Side = Literal["a", "b"]
"""One of the two sides of a battle."""

GROUPS = ("length", "turns", "repetition", "refusal", "style", "words", "relevance")
"""The groups of features that measure an answer, written out: another group does not change existing guesses."""
CLIP = 3.0
"""Bound of standardised measurements, in standard deviations."""
OPENING = 100
"""Number of characters of an opening. Phrases such as "Certainly!" are most informative there."""
VECTOR_LENGTH = 10.0
"""Euclidean length of word vectors. Measurements have about the same length, so neither dominates the other."""
MOST_BATTLES = 2_500
"""Largest number of battles that a classifier is fitted to: more would take hours at Kaggle's size."""
WORDS: dict[str, Any] = {"ngrams": (1, 1), "most": 1500, "min_count": 5, "lowercase": False}
"""Settings of `fit_tfidf` for the words of an answer."""
OPENINGS: dict[str, Any] = {
    "ngrams": (1, 3),
    "most": 600,
    "min_count": 3,
    "lowercase": False,
    "characters": OPENING,
}
"""Settings of `fit_tfidf` for the opening of an answer."""


@dataclass(frozen=True, eq=False)
class AuthorClassifier:
    """A multinomial logistic model of k classes over p measurements and v words of one answer."""

    classes: tuple[tuple[str, ...], ...]
    """(k,) models of each class: a single one or, in the last class, all models with too few answers."""
    words: Tfidf
    """Vocabulary of words, with case."""
    openings: Tfidf
    """Vocabulary of the words, pairs and triples of openings, with case."""
    centre: FloatArray
    """(p,) means that are subtracted from the measurements."""
    scale: FloatArray
    """(p,) standard deviations by which they are then divided."""
    weights: FloatArray
    """(p + v, k) weights."""
    intercept: FloatArray
    """(k,) intercepts."""

    def proba(self, battles: Battles, side: Side) -> Proba:
        """Return (n, k) class probabilities of the answers of one side. A row does not depend on other rows."""
        # A sparse product is computed row by row; the last digits of a dense one depend on the number of rows.
        logits = self._inputs(_measurements(battles, side), _texts(battles, side)) @ self.weights + self.intercept
        return softmax(logits)

    def save(self, folder: Path) -> None:
        """Write guesser.safetensors, guesser.json and both vocabularies."""
        arrays = {name: getattr(self, name) for name in ("centre", "scale", "weights", "intercept")}
        with atomic_path(folder / "guesser.safetensors") as temporary:
            save_file(arrays, temporary)
        write_json(folder / "guesser.json", self.classes)
        self.words.save(folder / "guesser-words.json")
        self.openings.save(folder / "guesser-openings.json")

    def _inputs(self, measurements: FloatArray, texts: list[str]) -> csr_matrix:
        """Return the (n, p + v) inputs of the logistic model."""
        scaled = Scaling(self.centre, self.scale, CLIP)(measurements)
        vectors = [words.vectors(texts) * VECTOR_LENGTH for words in (self.words, self.openings)]
        return hstack([csr_matrix(scaled), *vectors], format="csr")


def load_author_classifier(folder: Path) -> AuthorClassifier:
    """Return the classifier that `AuthorClassifier.save` wrote to a folder."""
    kept = json.loads((folder / "guesser.json").read_text(encoding="utf-8"))
    words, openings = (load_tfidf(folder / f"guesser-{part}.json") for part in ("words", "openings"))
    return AuthorClassifier(tuple(map(tuple, kept)), words, openings, **load_file(folder / "guesser.safetensors"))


def fit_author_classifier(train: Battles, fewest: float = 10, penalty: float = 50.0) -> AuthorClassifier:
    """Fit the classifier to the answers with a known model, in up to `MOST_BATTLES` battles; winners are not used.

    Of more battles, some of those with a name are used, spread over the whole table. Answers without a name
    contribute to vocabularies and scales. Models whose answers have a total weight below `fewest` share one class.
    `penalty` is the L2 penalty of the weights of standardised inputs. If no name is known, there is one class
    without models. Raises UserError for settings out of bounds.
    """
    wrong = [f"fewest = {fewest}: expected 1 or more."] if fewest < 1 else []
    wrong += [f"penalty = {penalty}: expected a number above 0."] if penalty <= 0 else []
    if wrong:
        raise UserError(" ".join(wrong))
    if len(train) > MOST_BATTLES:
        named = np.any([names_of(train, f"model_{side}") != "" for side in "ab"], axis=0)
        train = evenly_spaced(train.take(named) if named.any() else train, MOST_BATTLES)
    names = np.concatenate([names_of(train, f"model_{side}") for side in "ab"])
    weight = np.tile(train.weights, 2)
    classes = _classes(names, weight, fewest)
    measurements = np.vstack([_measurements(train, side) for side in ("a", "b")])
    texts = [text for side in ("a", "b") for text in _texts(train, side)]
    scaling = fit_scaling(measurements, weight, CLIP)
    centre, scale = scaling.centre, scaling.scale
    words, openings = (fit_tfidf(texts, **settings) for settings in (WORDS, OPENINGS))
    size = len(centre) + len(words.words) + len(openings.words)
    unfitted = AuthorClassifier(
        classes, words, openings, centre, scale, np.zeros((size, len(classes))), np.zeros(len(classes))
    )
    if len(classes) == 1:
        return unfitted
    place = {name: i for i, members in enumerate(classes) for name in members}
    known = np.flatnonzero(names != "")
    fitted = LogisticRegression(C=1 / penalty, max_iter=5_000)
    inputs = unfitted._inputs(measurements[known], [texts[i] for i in known])
    fitted.fit(inputs, [place[name] for name in names[known]], sample_weight=weight[known])
    weights, intercept = fitted.coef_, fitted.intercept_
    if len(classes) == 2:
        # For two classes scikit-learn keeps one logit only.
        weights, intercept = np.vstack([0 * weights, weights]), np.concatenate([[0.0], intercept])
    return AuthorClassifier(classes, words, openings, centre, scale, np.ascontiguousarray(weights.T), intercept)


def _classes(names: npt.NDArray[Any], weight: FloatArray, fewest: float) -> tuple[tuple[str, ...], ...]:
    """Return one class per model with enough answers, in alphabetical order, then one class of all others."""
    models = sorted(set(names) - {""})
    often = {name: weight[names == name].sum() >= fewest for name in models}
    single = [(name,) for name in models if often[name]]
    others = tuple(name for name in models if not often[name])
    return (*single, others) if others or not single else tuple(single)


def _measurements(battles: Battles, side: Side) -> FloatArray:
    """Return the (n, p) measurements of one side, from the sums and differences of both sides."""
    columns: dict[str, FloatArray] = {}
    # The groups that other models use are counted together, as they do it, so that they are counted once.
    others = tuple(group for group in GROUPS if group not in DEFAULT_GROUPS)
    for groups in (DEFAULT_GROUPS, others):
        counted = count_features(battles, groups)
        total = counted.even[:, : counted.odd.shape[1]]
        of_side = (total + counted.odd if side == "a" else total - counted.odd) / 2
        columns |= dict(zip(counted.odd_names, of_side.T, strict=True))
    return np.stack([columns[name] for group in GROUPS for name in columns if name.startswith(f"{group}.")], axis=1)


def _texts(battles: Battles, side: Side) -> list[str]:
    """Return the n answers of one side, with all turns in one text."""
    answers: Iterable[tuple[str, ...]] = getattr(battles, f"response_{side}")
    return ["\n".join(turns) for turns in answers]

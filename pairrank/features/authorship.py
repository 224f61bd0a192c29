"""Models have habits: whose answer a text looks like, told from its measures, its words and how it opens."""

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

from pairrank.data.battles import Battles
from pairrank.data.probabilities import FloatArray, Proba, softmax
from pairrank.errors import UserError
from pairrank.features.counting import count_features
from pairrank.features.ratings import names_of
from pairrank.features.scaling import Scaling, fit_scaling
from pairrank.features.sides import SIDES
from pairrank.features.tfidf import Tfidf, fit_tfidf, load_tfidf
from pairrank.files import atomic_path, write_json

Side = Literal["a", "b"]

CLIP = 3.0
"""Standard deviations at which a measure stops growing."""
OPENING = 100
"""Characters in which an answer opens: "Certainly!" and "As an AI language model" give away most there."""
LOUDNESS = 10.0
"""The length of a vector of words. Measures have about that length too, and so neither drowns the other."""
WORDS: dict[str, Any] = {"ngrams": (1, 1), "most": 1500, "min_count": 5, "lowercase": False}
OPENINGS: dict[str, Any] = {
    "ngrams": (1, 3),
    "most": 600,
    "min_count": 3,
    "lowercase": False,
    "characters": OPENING,
}


@dataclass(frozen=True, eq=False)
class AuthorClassifier:
    """A multinomial logistic model of k classes over p measures and v words of one answer."""

    classes: tuple[tuple[str, ...], ...]
    """(k) the models that each class stands for: one, or in the last class all that were seen too seldom."""
    words: Tfidf
    """Words, upper and lower case apart."""
    openings: Tfidf
    """The first words, pairs and triples of them, likewise."""
    centre: FloatArray
    """(p) subtracted from the measures."""
    scale: FloatArray
    """(p) divided by."""
    weights: FloatArray
    """(p + v, k)."""
    intercept: FloatArray
    """(k)."""

    def proba(self, battles: Battles, side: Side) -> Proba:
        """(n, k) probabilities that the answer of one side is a class's; a row does not depend on others."""
        # A sparse product goes row by row, where a dense one's last digits would depend on how many rows there are.
        logits = self._inputs(_measures(battles, side), _texts(battles, side)) @ self.weights + self.intercept
        return softmax(logits)

    def save(self, folder: Path) -> None:
        """Write guesser.safetensors, guesser.json and both vocabularies."""
        arrays = {name: getattr(self, name) for name in ("centre", "scale", "weights", "intercept")}
        with atomic_path(folder / "guesser.safetensors") as temporary:
            save_file(arrays, temporary)
        write_json(folder / "guesser.json", self.classes)
        self.words.save(folder / "guesser-words.json")
        self.openings.save(folder / "guesser-openings.json")

    def _inputs(self, measures: FloatArray, texts: list[str]) -> csr_matrix:
        """(n, p + v) what the logistic model sees."""
        scaled = Scaling(self.centre, self.scale, CLIP)(measures)
        spoken = [words.vectors(texts) * LOUDNESS for words in (self.words, self.openings)]
        return hstack([csr_matrix(scaled), *spoken], format="csr")


def load_author_classifier(folder: Path) -> AuthorClassifier:
    """What `AuthorClassifier.save` wrote."""
    kept = json.loads((folder / "guesser.json").read_text(encoding="utf-8"))
    words, openings = (load_tfidf(folder / f"guesser-{part}.json") for part in ("words", "openings"))
    return AuthorClassifier(tuple(map(tuple, kept)), words, openings, **load_file(folder / "guesser.safetensors"))


def fit_author_classifier(train: Battles, fewest: float = 10, penalty: float = 50.0) -> AuthorClassifier:
    """Learn whose answer is whose, from all answers whose model is named; winners are not looked at.

    Answers without a name serve too: they teach vocabularies and scales. Models with fewer than `fewest` answers
    (added up by weight) share one class. `penalty` is the L2 penalty on standardised inputs. Without any name there
    is one class, of no model.
    """
    wrong = [f"fewest = {fewest}: expected 1 or more."] if fewest < 1 else []
    wrong += [f"penalty = {penalty}: expected above 0."] if penalty <= 0 else []
    if wrong:
        raise UserError(" ".join(wrong))
    names = np.concatenate([names_of(train, f"model_{side}") for side in "ab"])
    weight = np.tile(train.weights, 2)
    classes = _classes(names, weight, fewest)
    measures = np.vstack([_measures(train, side) for side in ("a", "b")])
    texts = [text for side in ("a", "b") for text in _texts(train, side)]
    scaling = fit_scaling(measures, weight, CLIP)
    centre, scale = scaling.centre, scaling.scale
    words, openings = fit_tfidf(texts, **WORDS), fit_tfidf(texts, **OPENINGS)
    size = len(centre) + len(words.words) + len(openings.words)
    plain = AuthorClassifier(
        classes, words, openings, centre, scale, np.zeros((size, len(classes))), np.zeros(len(classes))
    )
    if len(classes) == 1:
        return plain
    place = {name: i for i, members in enumerate(classes) for name in members}
    known = np.flatnonzero(names != "")
    fitted = LogisticRegression(C=1 / penalty, max_iter=5_000)
    inputs = plain._inputs(measures[known], [texts[i] for i in known])
    fitted.fit(inputs, [place[name] for name in names[known]], sample_weight=weight[known])
    weights, intercept = fitted.coef_, fitted.intercept_
    if len(classes) == 2:
        # scikit-learn keeps one logit of two classes.
        weights, intercept = np.vstack([0 * weights, weights]), np.concatenate([[0.0], intercept])
    return AuthorClassifier(classes, words, openings, centre, scale, np.ascontiguousarray(weights.T), intercept)


def _classes(names: npt.NDArray[Any], weight: FloatArray, fewest: float) -> tuple[tuple[str, ...], ...]:
    """Models with enough answers, each alone, in alphabetical order; then all others together."""
    models = sorted(set(names) - {""})
    often = {name: weight[names == name].sum() >= fewest for name in models}
    alone = [(name,) for name in models if often[name]]
    others = tuple(name for name in models if not often[name])
    return (*alone, others) if others or not alone else tuple(alone)


def _measures(battles: Battles, side: Side) -> FloatArray:
    """(n, p) what is measured on the answer of one side, from its sum and its difference with the other."""
    counted = count_features(battles, tuple(SIDES))
    total = counted.even[:, : counted.odd.shape[1]]
    return np.asarray((total + counted.odd if side == "a" else total - counted.odd) / 2)


def _texts(battles: Battles, side: Side) -> list[str]:
    """(n) answers of one side, all turns together."""
    answers: Iterable[tuple[str, ...]] = getattr(battles, f"response_{side}")
    return ["\n".join(turns) for turns in answers]

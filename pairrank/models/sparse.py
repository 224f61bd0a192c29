"""Which words and letters one answer has more of than the other: tens of thousands of columns, almost all 0."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.utils.extmath import randomized_svd

from pairrank.data.battles import Battles, Winner
from pairrank.data.probabilities import FloatArray, Labels, Proba, from_logs, log_outcomes
from pairrank.errors import UserError, bounds_complaints
from pairrank.features.tfidf import Analyzer, Tfidf, fit_vectors, load_tfidf
from pairrank.files import atomic_path
from pairrank.memo import memoise
from pairrank.models.base import Model, register
from pairrank.training.monitor import Monitor

STATE_FILE = "sparse.safetensors"

Rows = npt.NDArray[np.int64]


class Inputs(NamedTuple):
    """What a head sees of n battles."""

    words: list[csr_matrix]
    """(n, v) each: blocks of columns, so many that each block is scaled and penalised as if it were one."""
    counts: FloatArray
    """(n, d) lone columns."""


@dataclass(frozen=True)
class Head:
    """A fitted linear model of both."""

    centre: FloatArray
    """(d) subtracted from the counts; a word that is not there must stay 0."""
    scale: FloatArray
    """(blocks + d) divided by: the root of a block's mean squared row norm, and of a count's mean square."""
    weights: FloatArray
    """(all columns)."""
    intercept: FloatArray
    """(1)."""

    def scores(self, inputs: Inputs, clip: float) -> FloatArray:
        """(n) logits."""
        scores: FloatArray = self.stack(inputs, clip) @ self.weights + self.intercept
        return scores

    def stack(self, inputs: Inputs, clip: float) -> csr_matrix:
        """(n, all columns) on one scale."""
        blocks = len(inputs.words)
        scaled = [block / scale for block, scale in zip(inputs.words, self.scale[:blocks], strict=True)]
        counts = np.clip((inputs.counts - self.centre) / self.scale[blocks:], -clip, clip)
        return csr_matrix(hstack([*scaled, csr_matrix(counts)]))


@register("sparse")
@dataclass
class Sparse(Model):
    """Two penalised logistic models over TF-IDF vectors of words and of letters, raw or reduced.

    The winner is told by differences of the answers, a tie by their sum and gap and by the prompt's words.
    """

    blocks: Literal["both", "word", "character"] = "both"
    """What is counted: words, runs of letters within words, or both."""
    word_ngrams: tuple[int, ...] = (1, 2)
    """The shortest and the longest run of words."""
    character_ngrams: tuple[int, ...] = (2, 4)
    """The shortest and the longest run of letters."""
    min_count: int = 3
    """Fewest training texts that hold what is counted."""
    most: int = 20_000
    """The most frequent that are kept, of words and of letters each."""
    characters: int = 2000
    """What is read of a text: its first ones. More cost more time."""
    components: int = 50
    """0: every column by itself; else each block becomes so many components of equal variance (truncated SVD)."""
    penalty: float = 10.0
    """L2 penalty of both heads, where a whole block counts as one standardised column."""
    clip: float = 3.0
    """Standard deviations at which a length or a similarity stops growing."""
    seed: int = 0
    """Of the truncated SVD."""

    symmetric: ClassVar[bool] = True
    """By construction: margins are odd, tie logits even."""

    def __post_init__(self) -> None:
        bounds = {
            "word_ngrams": (_is_range(self.word_ngrams), "two numbers, 1 <= first <= last"),
            "character_ngrams": (_is_range(self.character_ngrams), "two numbers, 1 <= first <= last"),
            "min_count": (self.min_count >= 1, "1 or more"),
            "most": (self.most >= 1, "1 or more"),
            "characters": (self.characters >= 1, "1 or more"),
            "components": (self.components >= 0, "0 or more"),
            "penalty": (self.penalty > 0, "above 0"),
            "clip": (self.clip > 0, "above 0"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        wrong = bounds_complaints(self, bounds)
        if wrong:
            raise UserError(" ".join(wrong))

    @property
    def analyzers(self) -> dict[Analyzer, tuple[int, int]]:
        """The blocks, with the shortest and longest run of each."""
        ngrams: dict[Analyzer, tuple[int, ...]] = {"word": self.word_ngrams, "char_wb": self.character_ngrams}
        left_out = {"word": "char_wb", "character": "word"}.get(self.blocks)
        return {name: (runs[0], runs[1]) for name, runs in ngrams.items() if name != left_out}

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Learn words from all training texts, then both heads; words need no winner, heads do."""
        if not len(train):
            raise UserError("no battles to learn from.")
        fitted = [
            _fitted_vectors(train, name, ngrams, self.min_count, self.most, self.characters)
            for name, ngrams in self.analyzers.items()
        ]
        self.words_, known = [words for words, _ in fitted], [vectors for _, vectors in fitted]
        self.axes_ = [self._axes(vectors) for vectors in known] if self.components else []
        odd, even = self._inputs(train, known)
        decided = train.labels != Winner.TIE
        margin = Inputs([block[decided] for block in odd.words], odd.counts[decided])
        first = (train.labels[decided] == Winner.A).astype(np.int64)
        self.heads_ = {
            "margin": self._fit_head(margin, first, train.weights[decided], odd=True),
            "tie": self._fit_head(even, (train.labels == Winner.TIE).astype(np.int64), train.weights, odd=False),
        }
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """(n, 3) probabilities of A, B, tie."""
        if not len(battles):
            return np.empty((0, 3))
        odd, even = self._inputs(battles, [_vectors(words, battles) for words in self.words_])
        tie, margin = (self.heads_[head].scores(x, self.clip) for head, x in (("tie", even), ("margin", odd)))
        return from_logs(log_outcomes(tie, margin))

    def save(self, folder: Path) -> None:
        """Write words_K.json, a block each, and the learned numbers as safetensors."""
        for i, words in enumerate(self.words_):
            words.save(folder / f"words_{i}.json")
        state = {f"{head}.{key}": value for head, kept in self.heads_.items() for key, value in vars(kept).items()}
        state |= {f"axes.{i}": axes for i, axes in enumerate(self.axes_)}
        with atomic_path(folder / STATE_FILE) as temporary:
            save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, temporary)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        state = load_file(folder / STATE_FILE)
        blocks = range(len(self.analyzers))
        self.words_ = [load_tfidf(folder / f"words_{i}.json") for i in blocks]
        self.axes_ = [state[f"axes.{i}"] for i in blocks] if self.components else []
        fields = ("centre", "scale", "weights", "intercept")
        self.heads_ = {head: Head(*(state[f"{head}.{key}"] for key in fields)) for head in ("margin", "tie")}
        return self

    def report(self) -> dict[str, Any]:
        """Weights that were fitted to winners, and how many words are known."""
        size = sum(head.weights.size for head in self.heads_.values()) + 1
        return {"parameters": size, "known_words": sum(len(words.words) for words in self.words_)}

    def _axes(self, vectors: csr_matrix) -> FloatArray:
        """(v, k) axes on which the training texts, each counted once, have variance 1 around 0."""
        most = min(self.components, *vectors.shape)
        if not most:
            return np.zeros((vectors.shape[1], 0))
        _, spread, axes = randomized_svd(vectors, most, random_state=self.seed)
        kept = spread > 1e-6 * max(spread[0], 1e-300)
        scaled: FloatArray = (axes[kept] * (np.sqrt(vectors.shape[0]) / spread[kept])[:, None]).T
        return np.ascontiguousarray(scaled)

    def _inputs(self, battles: Battles, known: list[csr_matrix]) -> tuple[Inputs, Inputs]:
        """What the margin sees (odd) and what the tie sees (even); `known` are the texts' vectors, a block each."""
        texts, rows = _texts(battles)
        length = np.log1p([len(text) for text in texts])
        prompt_length, *lengths = (length[row] for row in rows)
        odd_words, even_words = [], []
        odd_counts = [lengths[0] - lengths[1]]
        even_counts = [lengths[0] + lengths[1], np.abs(lengths[0] - lengths[1]), prompt_length]
        for i, vectors in enumerate(known):
            prompt, a, b = (vectors[row] for row in rows)
            relevance = _cosine(prompt, a), _cosine(prompt, b)
            odd_counts.append(relevance[0] - relevance[1])
            even_counts += [relevance[0] + relevance[1], _cosine(a, b)]
            if self.axes_:
                reduced = vectors @ self.axes_[i]
                prompt, a, b = (csr_matrix(reduced[row]) for row in rows)
            odd_words.append(csr_matrix(a - b))
            even_words += [csr_matrix(a + b), csr_matrix(abs(a - b)), prompt]
        return Inputs(odd_words, np.stack(odd_counts, axis=1)), Inputs(even_words, np.stack(even_counts, axis=1))

    def _fit_head(self, inputs: Inputs, target: Labels, weight: FloatArray, odd: bool) -> Head:
        """A ridge-penalised logistic model; an odd one has no intercept and needs each battle in one order only."""
        words, counts = inputs
        weight_sum = max(weight.sum(), 1e-300)
        centre = np.zeros(counts.shape[1]) if odd else weight @ counts / weight_sum
        norms = [np.asarray(block.multiply(block).sum(axis=1)).ravel() for block in words]
        squares = np.stack([*norms, *((counts - centre) ** 2).T], axis=1)
        scale = np.sqrt(weight @ squares / weight_sum)
        scale[scale < 1e-9] = 1.0
        plain = Head(centre, scale, np.empty(0), np.zeros(1))
        x = plain.stack(inputs, self.clip)
        # A row of zeros a class: it moves no odd model, and keeps an even one finite where a class has no battle.
        extra = np.array([0, 1]) if odd else np.setdiff1d([0, 1], target)
        x = csr_matrix(
            (x.data, x.indices, np.append(x.indptr, [x.nnz] * len(extra))), (x.shape[0] + len(extra), x.shape[1])
        )
        fitted = LogisticRegression(C=1 / self.penalty, fit_intercept=not odd, tol=1e-6, max_iter=5_000)
        fitted.fit(x, np.append(target, extra), sample_weight=np.append(weight, np.ones(len(extra))))
        return Head(centre, scale, fitted.coef_[0], np.zeros(1) if odd else fitted.intercept_)


@memoise
def _fitted_vectors(
    train: Battles, analyzer: Analyzer, ngrams: tuple[int, int], min_count: int, most: int, characters: int
) -> tuple[Tfidf, csr_matrix]:
    return fit_vectors(_texts(train)[0], analyzer, ngrams, min_count, most, characters)


@memoise
def _vectors(words: Tfidf, battles: Battles) -> csr_matrix:
    return words.vectors(_texts(battles)[0])


@memoise
def _texts(battles: Battles) -> tuple[list[str], list[Rows]]:
    """The texts that occur, each once, and where prompt, A and B (n) are among them."""
    columns = [["\n".join(turns) for turns in c] for c in (battles.prompt, battles.response_a, battles.response_b)]
    row = {text: i for i, text in enumerate(dict.fromkeys(chain.from_iterable(columns)))}
    return list(row), [np.array([row[text] for text in column], dtype=np.int64) for column in columns]


def _cosine(one: csr_matrix, other: csr_matrix) -> FloatArray:
    """(n) of rows that have length 1, or 0."""
    product: FloatArray = np.asarray(one.multiply(other).sum(axis=1)).ravel()
    return product


def _is_range(ngrams: tuple[int, ...]) -> bool:
    return len(ngrams) == 2 and 1 <= ngrams[0] <= ngrams[1]

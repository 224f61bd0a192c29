"""Answers are compared by TF-IDF vectors of words and character n-grams: tens of thousands of sparse columns."""

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

from pairrank.atomic import atomic_path
from pairrank.data.battles import Battles, Winner
from pairrank.data.probabilities import FloatArray, Labels, Proba, from_logs, log_outcomes
from pairrank.errors import UserError, bounds_complaints
from pairrank.features.ngrams import Analyzer
from pairrank.features.scaling import SMALLEST_SPREAD, Scaling
from pairrank.features.tfidf import Tfidf, fit_tfidf, load_tfidf
from pairrank.memo import memoise
from pairrank.models.base import Model, register, require_battles
from pairrank.models.heads.linear import HeadName
from pairrank.progress import with_progress
from pairrank.training.monitor import Monitor

STATE_FILE = "sparse.safetensors"
HEADS: tuple[HeadName, ...] = ("margin", "tie")
SMALLEST_SINGULAR_VALUE = 1e-6
"""Components below this share of the largest singular value are rounding errors."""

BLOCK = 4_096
"""Battles whose vectors are multiplied at a time, which bounds the memory."""

Rows = npt.NDArray[np.int64]


class SparseColumns(NamedTuple):
    """Columns of n battles."""

    blocks: list[csr_matrix]
    """(n, v) each; a block has many columns, and is scaled and penalised as if it were one."""
    counts: FloatArray
    """(n, d) single columns."""


@dataclass(frozen=True)
class SparseHead:
    """A fitted linear model of blocks and single columns."""

    centre: FloatArray
    """(d,) values that are subtracted from single columns. Blocks are not centred, so that they stay sparse."""
    scale: FloatArray
    """(blocks + d,) divisors: the root mean square of a block's row norm, and the spread of a single column."""
    weights: FloatArray
    """(all columns,) weights."""
    intercept: FloatArray
    """(1,) intercept."""

    def logits(self, columns: SparseColumns, clip: float) -> FloatArray:
        """Return the (n,) logits."""
        logits: FloatArray = self.stack(columns, clip) @ self.weights + self.intercept
        return logits

    def stack(self, columns: SparseColumns, clip: float) -> csr_matrix:
        """Return all columns (n, all columns), divided by their scale."""
        count = len(columns.blocks)
        scaled = [block / scale for block, scale in zip(columns.blocks, self.scale[:count], strict=True)]
        counts = Scaling(self.centre, self.scale[count:], clip)(columns.counts)
        return csr_matrix(hstack([*scaled, csr_matrix(counts)]))


@register("sparse")
@dataclass
class Sparse(Model):
    """Two penalised logistic models over TF-IDF vectors of words and character n-grams, raw or reduced.

    The winner is predicted from differences between the answers, a tie from their sum, their absolute difference
    and the words of the prompt.
    """

    blocks: Literal["both", "word", "character"] = "both"
    """What is counted: words, character n-grams within words, or both."""
    word_ngrams: tuple[int, ...] = (1, 2)
    """Lengths of the shortest and the longest n-grams of words."""
    character_ngrams: tuple[int, ...] = (2, 4)
    """Lengths of the shortest and the longest n-grams of characters."""
    min_count: int = 3
    """Minimum number of training texts that contain an n-gram."""
    most: int = 20_000
    """Maximum number of n-grams per block; the most frequent are kept."""
    characters: int = 2000
    """Characters of each text that are read, from its beginning. More take more time."""
    components: int = 50
    """Components of equal variance to which each block is reduced (truncated SVD); 0 keeps every column."""
    penalty: float = 10.0
    """L2 penalty of both heads, where a whole block counts as one standardised column."""
    clip: float = 3.0
    """Bound of each standardised length or similarity, in standard deviations."""
    seed: int = 0
    """Seed of the truncated SVD."""

    symmetric: ClassVar[bool] = True
    """Margins are odd and tie logits even by construction."""

    def __post_init__(self) -> None:
        bounds = {
            "word_ngrams": (_is_range(self.word_ngrams), "two numbers with 1 <= first <= last"),
            "character_ngrams": (_is_range(self.character_ngrams), "two numbers with 1 <= first <= last"),
            "min_count": (self.min_count >= 1, "1 or more"),
            "most": (self.most >= 1, "1 or more"),
            "characters": (self.characters >= 1, "1 or more"),
            "components": (self.components >= 0, "0 or more"),
            "penalty": (self.penalty > 0, "a number above 0"),
            "clip": (self.clip > 0, "a number above 0"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        complaints = bounds_complaints(self, bounds)
        if complaints:
            raise UserError(" ".join(complaints))

    @property
    def analyzers(self) -> dict[Analyzer, tuple[int, int]]:
        """Lengths of the shortest and the longest n-grams of each block."""
        ngrams: dict[Analyzer, tuple[int, ...]] = {"word": self.word_ngrams, "char_wb": self.character_ngrams}
        left_out = {"word": "char_wb", "character": "word"}.get(self.blocks)
        return {name: (runs[0], runs[1]) for name, runs in ngrams.items() if name != left_out}

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Learn vocabularies from all training texts, then both heads from the winners."""
        require_battles(train)
        fitted = [
            _fit_vectors(train, name, ngrams, self.min_count, self.most, self.characters)
            for name, ngrams in with_progress(self.analyzers.items(), "counting words", len(self.analyzers))
        ]
        self.words_, vectors = [words for words, _ in fitted], [each for _, each in fitted]
        self.axes_ = [self._axes(each) for each in vectors] if self.components else []
        odd, even = self._columns(train, vectors)
        decided, rows = (train.labels != Winner.TIE) & train.taught("margin"), train.taught("tie")
        margin = SparseColumns([block[decided] for block in odd.blocks], odd.counts[decided])
        first = (train.labels[decided] == Winner.A).astype(np.int64)
        ties = SparseColumns([block[rows] for block in even.blocks], even.counts[rows])
        tied = (train.labels[rows] == Winner.TIE).astype(np.int64)
        self.heads_: dict[HeadName, SparseHead] = {
            "margin": self._fit_head(margin, first, train.weights[decided], odd=True),
            "tie": self._fit_head(ties, tied, train.weights[rows], odd=False),
        }
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities of A, B and tie."""
        if not len(battles):
            return np.empty((0, 3))
        odd, even = self._columns(battles, [_vectors(words, battles) for words in self.words_])
        tie, margin = self.heads_["tie"].logits(even, self.clip), self.heads_["margin"].logits(odd, self.clip)
        return from_logs(log_outcomes(tie, margin))

    def save(self, folder: Path) -> None:
        """Write words_K.json for each block, and the learned numbers as safetensors."""
        for i, words in enumerate(self.words_):
            words.save(folder / f"words_{i}.json")
        state = {f"{name}.{key}": value for name, head in self.heads_.items() for key, value in vars(head).items()}
        state |= {f"axes.{i}": axes for i, axes in enumerate(self.axes_)}
        with atomic_path(folder / STATE_FILE) as path:
            save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, path)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        state = load_file(folder / STATE_FILE)
        blocks = range(len(self.analyzers))
        self.words_ = [load_tfidf(folder / f"words_{i}.json") for i in blocks]
        self.axes_ = [state[f"axes.{i}"] for i in blocks] if self.components else []
        fields = ("centre", "scale", "weights", "intercept")
        self.heads_ = {name: SparseHead(*(state[f"{name}.{key}"] for key in fields)) for name in HEADS}
        return self

    def report(self) -> dict[str, Any]:
        """Return the number of weights that were fitted to winners, and the size of the vocabularies."""
        size = sum(head.weights.size for head in self.heads_.values()) + 1
        return {"parameters": size, "known_words": sum(len(words.words) for words in self.words_)}

    def _axes(self, vectors: csr_matrix) -> FloatArray:
        """Return (v, k) axes on which the training texts, each counted once, have mean square 1."""
        most = min(self.components, *vectors.shape)
        if not most:
            return np.zeros((vectors.shape[1], 0))
        _, spread, axes = randomized_svd(vectors, most, random_state=self.seed)
        kept = spread > SMALLEST_SINGULAR_VALUE * max(spread[0], 1e-300)
        scaled: FloatArray = (axes[kept] * (np.sqrt(vectors.shape[0]) / spread[kept])[:, None]).T
        return np.ascontiguousarray(scaled)

    def _columns(self, battles: Battles, blocks: list[csr_matrix]) -> tuple[SparseColumns, SparseColumns]:
        """Return the margin's odd columns and the tie's even ones; `blocks` are the vectors of the texts."""
        texts, rows = _texts(battles)
        length = np.log1p([len(text) for text in texts])
        prompt_length, *lengths = (length[row] for row in rows)
        odd_blocks, even_blocks = [], []
        odd_counts = [lengths[0] - lengths[1]]
        even_counts = [lengths[0] + lengths[1], np.abs(lengths[0] - lengths[1]), prompt_length]
        for i, vectors in enumerate(blocks):
            prompts, first, second = rows
            relevance = _cosine(vectors, prompts, first), _cosine(vectors, prompts, second)
            odd_counts.append(relevance[0] - relevance[1])
            even_counts += [relevance[0] + relevance[1], _cosine(vectors, first, second)]
            if self.axes_:
                reduced = vectors @ self.axes_[i]
                prompt, a, b = (csr_matrix(reduced[row]) for row in rows)
            else:
                prompt, a, b = (vectors[row] for row in rows)
            odd_blocks.append(csr_matrix(a - b))
            even_blocks += [csr_matrix(a + b), csr_matrix(abs(a - b)), prompt]
        odd = SparseColumns(odd_blocks, np.stack(odd_counts, axis=1))
        return odd, SparseColumns(even_blocks, np.stack(even_counts, axis=1))

    def _fit_head(self, columns: SparseColumns, target: Labels, weight: FloatArray, odd: bool) -> SparseHead:
        """Fit a logistic regression with an L2 penalty; an odd one has no intercept and reads one order only."""
        centre, scale = _centre_and_scale(columns, weight, odd)
        x = SparseHead(centre, scale, np.empty(0), np.zeros(1)).stack(columns, self.clip)
        # Add a row of zeros per class. It does not affect an odd model, and keeps an even one finite where a class
        # has no battle.
        extra = np.array([0, 1]) if odd else np.setdiff1d([0, 1], target)
        shape = x.shape[0] + len(extra), x.shape[1]
        x = csr_matrix((x.data, x.indices, np.append(x.indptr, [x.nnz] * len(extra))), shape)
        fitted = LogisticRegression(C=1 / self.penalty, fit_intercept=not odd, tol=1e-6, max_iter=5_000)
        fitted.fit(x, np.append(target, extra), sample_weight=np.append(weight, np.ones(len(extra))))
        intercept = np.zeros(1) if odd else fitted.intercept_
        return SparseHead(centre, scale, fitted.coef_[0], intercept)


@memoise
def _fit_vectors(
    train: Battles, analyzer: Analyzer, ngrams: tuple[int, int], min_count: int, most: int, characters: int
) -> tuple[Tfidf, csr_matrix]:
    words = fit_tfidf(_texts(train)[0], analyzer, ngrams, min_count, most, characters)
    return words, _vectors(words, train)


@memoise
def _vectors(words: Tfidf, battles: Battles) -> csr_matrix:
    return words.vectors(_texts(battles)[0])


@memoise
def _texts(battles: Battles) -> tuple[list[str], list[Rows]]:
    """Return the distinct texts, and for prompt, A and B the (n,) indices of their texts."""
    columns = [["\n".join(turns) for turns in c] for c in (battles.prompt, battles.response_a, battles.response_b)]
    row = {text: i for i, text in enumerate(dict.fromkeys(chain.from_iterable(columns)))}
    return list(row), [np.array([row[text] for text in column], dtype=np.int64) for column in columns]


def _centre_and_scale(columns: SparseColumns, weight: FloatArray, odd: bool) -> tuple[FloatArray, FloatArray]:
    """Return `SparseHead.centre` and `SparseHead.scale` of columns whose rows have the weights (n,)."""
    blocks, counts = columns
    total = max(weight.sum(), 1e-300)
    centre = np.zeros(counts.shape[1]) if odd else weight @ counts / total
    norms = [np.asarray(block.multiply(block).sum(axis=1)).ravel() for block in blocks]
    squares = np.stack([*norms, *((counts - centre) ** 2).T], axis=1)
    scale = np.sqrt(weight @ squares / total)
    return centre, np.where(scale < SMALLEST_SPREAD, 1.0, scale)


def _cosine(vectors: csr_matrix, one: Rows, other: Rows) -> FloatArray:
    """Return (n,) products of the rows `one` and `other`, which have length 1 or 0, in blocks of battles."""
    product = np.zeros(len(one))
    for start in range(0, len(one), BLOCK):
        rows = slice(start, start + BLOCK)
        product[rows] = np.asarray(vectors[one[rows]].multiply(vectors[other[rows]]).sum(axis=1)).ravel()
    return product


def _is_range(ngrams: tuple[int, ...]) -> bool:
    return len(ngrams) == 2 and 1 <= ngrams[0] <= ngrams[1]

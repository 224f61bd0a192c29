"""A word weighs as much as it is rare: texts as sparse vectors, over words that the training texts taught."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from pairrank.data.turns import repair_text
from pairrank.errors import UserError
from pairrank.files import write_json

Analyzer = Literal["word", "char_wb"]

WORD = r"\w+"
"""One letter is a word too: "I" and "a" tell one author from another."""


@dataclass(frozen=True)
class Tfidf:
    """Known words and how rare each is: all that is learned, in plain values (`asdict`)."""

    words: tuple[str, ...]
    """(v) n-grams, the columns of `vectors`."""
    idf: tuple[float, ...]
    """(v) 1 + log((1 + texts) / (1 + texts that hold the word))."""
    analyzer: Analyzer = "word"
    """N-grams of words, or of characters within words."""
    ngrams: tuple[int, int] = (1, 1)
    """The shortest and the longest n-gram."""
    characters: int = 4000
    """A text's first ones, which are all that is read: the cost of a battle then has a bound."""
    lowercase: bool = True
    """Whether "The" and "the" are one word."""

    def vectors(self, texts: Sequence[str]) -> csr_matrix:
        """(n, v) rows of length 1, or 0 without any known word: (1 + log count) x idf, each row by itself."""
        if not self.words or not len(texts):
            return csr_matrix((len(texts), len(self.words)), dtype=np.float64)
        return csr_matrix(self._vectorizer.transform(_cut(texts, self.characters)))

    def save(self, target: Path) -> None:
        """Write JSON."""
        write_json(target, asdict(self))

    @cached_property
    def _vectorizer(self) -> TfidfVectorizer:
        vectorizer = _vectorizer(self.analyzer, self.ngrams, self.lowercase, vocabulary=list(self.words))
        vectorizer.idf_ = np.array(self.idf)
        return vectorizer


def load_tfidf(source: Path) -> Tfidf:
    """What `Tfidf.save` wrote."""
    kept: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    # JSON knows no tuples.
    return Tfidf(**kept | {key: tuple(kept[key]) for key in ("words", "idf", "ngrams")})


def fit_tfidf(
    texts: Iterable[str],
    analyzer: Analyzer = "word",
    ngrams: tuple[int, int] = (1, 1),
    min_count: int = 3,
    most: int = 20_000,
    characters: int = 4000,
    lowercase: bool = True,
) -> Tfidf:
    """The `most` frequent words of those that at least `min_count` texts hold, and how rare they are.

    A text that comes twice counts once, so that a battle given twice is no more than a battle of weight 2.
    No word at all (too few texts, or empty ones) is no error: every vector is then empty.
    """
    return fit_vectors(list(texts), analyzer, ngrams, min_count, most, characters, lowercase)[0]


def fit_vectors(
    texts: Sequence[str],
    analyzer: Analyzer = "word",
    ngrams: tuple[int, int] = (1, 1),
    min_count: int = 3,
    most: int = 20_000,
    characters: int = 4000,
    lowercase: bool = True,
) -> tuple[Tfidf, csr_matrix]:
    """`fit_tfidf` of n texts and their (n, v) `vectors`: a text is taken apart once, which is most of the time."""
    least, longest = ngrams
    bounds = {
        f"ngrams = {ngrams}: expected 1 <= first <= last.": 1 <= least <= longest,
        f"min_count = {min_count}: expected 1 or more.": min_count >= 1,
        f"most = {most}: expected 1 or more.": most >= 1,
        f"characters = {characters}: expected 1 or more.": characters >= 1,
    }
    if wrong := [complaint for complaint, good in bounds.items() if not good]:
        raise UserError(" ".join(wrong))
    cut = _cut(texts, characters)
    row = {text: i for i, text in enumerate(dict.fromkeys(cut))}
    vectorizer = _vectorizer(analyzer, ngrams, lowercase, min_df=min_count, max_features=most)
    try:
        vectors = vectorizer.fit_transform(row)
    except ValueError:
        # All it complains of once the settings are checked: no word remains.
        empty = Tfidf((), (), analyzer, (least, longest), characters, lowercase)
        return empty, empty.vectors(texts)
    words, idf = tuple(vectorizer.get_feature_names_out().tolist()), tuple(vectorizer.idf_.tolist())
    known = Tfidf(words, idf, analyzer, (least, longest), characters, lowercase)
    return known, csr_matrix(vectors[[row[text] for text in cut]])


def _vectorizer(analyzer: Analyzer, ngrams: tuple[int, int], lowercase: bool, **more: object) -> TfidfVectorizer:
    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=ngrams,
        lowercase=lowercase,
        # It is no use to characters, and a warning.
        token_pattern=WORD if analyzer == "word" else None,
        sublinear_tf=True,
        **more,
    )


def _cut(texts: Iterable[str], characters: int) -> list[str]:
    """The beginnings of texts; half an emoji, which a cut cannot make but a file may hold, could not be saved."""
    return [repair_text(text[:characters]) for text in texts]

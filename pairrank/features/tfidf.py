"""Texts are converted to sparse TF-IDF vectors over the vocabulary of the training texts."""

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
"""N-grams of words, or of characters within words."""

WORD = r"\w+"
"""Pattern of a word. Single letters count, because "I" and "a" distinguish authors."""


@dataclass(frozen=True)
class Tfidf:
    """A vocabulary with inverse document frequencies. The fields are plain values and the keys of its JSON file."""

    words: tuple[str, ...]
    """(v,) n-grams in the order of the columns of `vectors`."""
    idf: tuple[float, ...]
    """(v,) inverse document frequencies: 1 + log((1 + texts) / (1 + texts that contain the n-gram))."""
    analyzer: Analyzer = "word"
    """Kind of n-grams."""
    ngrams: tuple[int, int] = (1, 1)
    """Lengths of the shortest and the longest n-grams."""
    characters: int = 4000
    """Number of characters of a text that are read, which bounds the time per battle."""
    lowercase: bool = True
    """Whether "The" and "the" are the same word."""

    def vectors(self, texts: Sequence[str]) -> csr_matrix:
        """Return the (n, v) vectors of n texts: (1 + log count) x idf, divided by the Euclidean length of the row.

        A text without a known n-gram has a row of zeros. A row does not depend on the other texts.
        """
        if not self.words or not len(texts):
            return csr_matrix((len(texts), len(self.words)), dtype=np.float64)
        return csr_matrix(self._vectorizer.transform(_cut(texts, self.characters)))

    def save(self, target: Path) -> None:
        """Write the vocabulary as JSON."""
        write_json(target, asdict(self))

    @cached_property
    def _vectorizer(self) -> TfidfVectorizer:
        vectorizer = _vectorizer(self.analyzer, self.ngrams, self.lowercase, vocabulary=list(self.words))
        vectorizer.idf_ = np.array(self.idf)
        return vectorizer


def load_tfidf(source: Path) -> Tfidf:
    """Return the vocabulary that `Tfidf.save` wrote to a file."""
    kept: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    # JSON has no tuples.
    return Tfidf(**kept | {key: tuple(kept[key]) for key in ("words", "idf", "ngrams")})


def fit_tfidf(
    texts: Sequence[str],
    analyzer: Analyzer = "word",
    ngrams: tuple[int, int] = (1, 1),
    min_count: int = 3,
    most: int = 20_000,
    characters: int = 4000,
    lowercase: bool = True,
) -> tuple[Tfidf, csr_matrix]:
    """Return the vocabulary of n texts, and their (n, v) vectors as `Tfidf.vectors` would compute them again.

    The vocabulary consists of the `most` most frequent n-grams that occur in at least `min_count` texts. The other
    arguments are the fields of `Tfidf`. Repeated texts count once. The vocabulary is empty if no n-gram is frequent
    enough. Raises UserError for settings out of bounds.
    """
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
        # With valid settings, the only error is an empty vocabulary.
        empty = Tfidf((), (), analyzer, (least, longest), characters, lowercase)
        return empty, empty.vectors(texts)
    words, idf = tuple(vectorizer.get_feature_names_out().tolist()), tuple(vectorizer.idf_.tolist())
    fitted = Tfidf(words, idf, analyzer, (least, longest), characters, lowercase)
    return fitted, csr_matrix(vectors[[row[text] for text in cut]])


def _vectorizer(analyzer: Analyzer, ngrams: tuple[int, int], lowercase: bool, **more: object) -> TfidfVectorizer:
    """Return scikit-learn's vectorizer with these settings."""
    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=ngrams,
        lowercase=lowercase,
        # scikit-learn warns of a pattern that is not used, as for n-grams of characters.
        token_pattern=WORD if analyzer == "word" else None,
        sublinear_tf=True,
        **more,
    )


def _cut(texts: Iterable[str], characters: int) -> list[str]:
    """Return the beginnings of texts, without lone surrogates, which a file may contain but UTF-8 JSON cannot."""
    return [repair_text(text[:characters]) for text in texts]

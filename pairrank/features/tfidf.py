"""Texts are converted to sparse TF-IDF vectors over the vocabulary of the training texts."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from pairrank.data.probabilities import FloatArray
from pairrank.data.turns import repair_text
from pairrank.errors import UserError
from pairrank.features.ngrams import WORD, Analyzer, Coder, Codes, coder_of_ngrams, coder_of_texts
from pairrank.files import write_json


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
        coder, codes, column = self._coder
        if not coder.block:
            return csr_matrix(self._vectorizer.transform(_cut(texts, self.characters)))
        idf = np.array(self.idf)[column]

        def rows(count: int, ngrams: Codes) -> tuple[FloatArray, npt.NDArray[np.int32], npt.NDArray[np.int64]]:
            """Return the values and columns of some texts, and the number of values of each text."""
            text, found, occurrences = coder.counts(ngrams)
            place = np.minimum(np.searchsorted(codes, found), len(codes) - 1)
            known = codes[place] == found
            text, place = text[known], place[known]
            values = (1 + np.log(occurrences[known])) * idf[place]
            values /= np.sqrt(np.bincount(text, values**2, count))[text]
            return values, column[place], np.bincount(text, minlength=count)

        parts = coder.each_block(_prepared(texts, self.characters, self.lowercase), rows)
        data, indices, sizes = map(list, zip(*parts, strict=True))
        starts = np.cumsum(np.concatenate([[0], *sizes]))
        return csr_matrix((_joined(data), _joined(indices), starts), (len(texts), len(self.words)))

    def save(self, target: Path) -> None:
        """Write the vocabulary as JSON."""
        write_json(target, asdict(self))

    @cached_property
    def _coder(self) -> tuple[Coder, Codes, npt.NDArray[np.int32]]:
        """The coder of the vocabulary, the codes of its n-grams in ascending order, and the columns of these."""
        coder = coder_of_ngrams(self.words, self.analyzer, self.ngrams)
        codes = coder.code(self.words) if coder.block else np.zeros(0, np.int64)
        column = np.argsort(codes).astype(np.int32)
        return coder, codes[column], column

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
) -> Tfidf:
    """Return the vocabulary of n texts.

    It consists of the `most` most frequent n-grams that occur in at least `min_count` texts. The other arguments
    are the fields of `Tfidf`. Repeated texts count once. The vocabulary is empty if no n-gram is frequent enough.
    Raises UserError for settings out of bounds.
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
    distinct = list(dict.fromkeys(_cut(texts, characters)))

    def prepared() -> Iterator[str]:
        return _prepared(distinct, characters, lowercase)

    coder = coder_of_texts(prepared(), analyzer, ngrams)
    if not coder.block:
        words, idf = _by_vectorizer(
            distinct, _vectorizer(analyzer, ngrams, lowercase, min_df=min_count, max_features=most)
        )
    else:
        codes, holding, occurrences = coder.frequencies(prepared())
        chosen = np.flatnonzero(holding >= min_count)
        if len(chosen) > most:
            chosen = np.sort(chosen[np.argsort(-occurrences[chosen].astype(np.float64))[:most]])
        words = coder.text(codes[chosen])
        idf = (np.log((1 + len(distinct)) / (1.0 + holding[chosen])) + 1).tolist()
    return Tfidf(tuple(words), tuple(idf), analyzer, (least, longest), characters, lowercase)


def _by_vectorizer(texts: Collection[str], vectorizer: TfidfVectorizer) -> tuple[list[str], list[float]]:
    """Return the vocabulary and its inverse document frequencies for n-grams that have no codes."""
    try:
        vectorizer.fit(texts)
    except ValueError:  # with valid settings, the only error is an empty vocabulary
        return [], []
    return vectorizer.get_feature_names_out().tolist(), vectorizer.idf_.tolist()


def _vectorizer(analyzer: Analyzer, ngrams: tuple[int, int], lowercase: bool, **more: object) -> TfidfVectorizer:
    """Return scikit-learn's vectorizer with these settings."""
    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=ngrams,
        lowercase=lowercase,
        # scikit-learn warns of a pattern that is not used, as for n-grams of characters.
        token_pattern=WORD.pattern if analyzer == "word" else None,
        sublinear_tf=True,
        **more,
    )


def _prepared(texts: Iterable[str], characters: int, lowercase: bool) -> Iterator[str]:
    """Yield the texts whose n-grams are counted."""
    for text in texts:
        cut = repair_text(text[:characters])
        yield cut.lower() if lowercase else cut


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return arrays one after the other, and release them, so that only one large column is in memory twice."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def _cut(texts: Iterable[str], characters: int) -> list[str]:
    """Return the beginnings of texts, without lone surrogates, which a file may contain but UTF-8 JSON cannot."""
    return [repair_text(text[:characters]) for text in texts]

"""TF-IDF vectors agree with a count by hand, and the vector of a text does not depend on other texts."""

import json
import math
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from pairrank.data.turns import repair_text
from pairrank.errors import UserError
from pairrank.features.tfidf import Tfidf, fit_tfidf, load_tfidf

TEXTS = ["The cat sat on the mat.", "the dog sat", "A cat! The CAT, the hat", "", "dog dog dog mat"]


def vocabulary(*args: Any, **settings: Any) -> Tfidf:
    return fit_tfidf(*args, **settings)


def runs(text: str, shortest: int, longest: int) -> list[str]:
    """N-grams of words, which are split at everything that is not a letter."""
    words = [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]
    return [" ".join(words[i : i + n]) for n in range(shortest, longest + 1) for i in range(len(words) - n + 1)]


def letters(text: str, shortest: int, longest: int) -> list[str]:
    """N-grams of characters of every word with a blank on both sides; a shorter word counts once."""
    found = []
    for word in text.lower().split():
        padded = f" {word} "
        for n in range(shortest, longest + 1):
            found += [padded[i : i + n] for i in range(max(len(padded) - n + 1, 1))]
            if len(padded) <= n:
                break
    return found


def by_hand(texts: list[str], asked: list[str], take, least: int) -> tuple[list[str], np.ndarray]:
    """Vocabulary and vectors by definition: (1 + log count) (1 + log((1 + n) / (1 + texts))), with length 1."""
    held = Counter(word for text in texts for word in set(take(text)))
    words = sorted(word for word, count in held.items() if count >= least)
    vectors = np.zeros((len(asked), len(words)))
    for i, text in enumerate(asked):
        counts = Counter(take(text))
        for j, word in enumerate(words):
            if counts[word]:
                idf = 1 + math.log((1 + len(texts)) / (1 + held[word]))
                vectors[i, j] = (1 + math.log(counts[word])) * idf
        vectors[i] /= math.sqrt((vectors[i] ** 2).sum()) or 1
    return words, vectors


@pytest.mark.parametrize(("least", "ngrams"), [(1, (1, 1)), (2, (1, 1)), (1, (1, 2)), (2, (2, 3))])
@pytest.mark.parametrize("analyzer", ["word", "char_wb"])
def test_vectors_equal_the_definition(analyzer, least: int, ngrams: tuple[int, int]):
    asked = [*TEXTS, "cat cat unheard of", "unheard"]
    take = {"word": runs, "char_wb": letters}[analyzer]
    words, expected = by_hand(TEXTS, asked, lambda text: take(text, *ngrams), least)
    known = vocabulary(TEXTS, analyzer, ngrams, min_count=least)
    assert list(known.words) == words
    assert len(words) > 0
    np.testing.assert_allclose(known.vectors(asked).toarray(), expected, atol=1e-12)


def test_rows_have_length_one_or_are_zero_without_a_known_word():
    rows = vocabulary(TEXTS, min_count=2).vectors([*TEXTS, "zebra"]).toarray()
    assert (rows**2).sum(axis=1) == pytest.approx([1, 1, 1, 0, 1, 0])


@given(st.lists(st.text("ab cd", max_size=20), max_size=8), st.randoms())
@settings(max_examples=30, deadline=None)
def test_a_vector_does_not_depend_on_other_texts(texts: list[str], random):
    known = vocabulary(TEXTS, "char_wb", (1, 2), min_count=1)
    whole = known.vectors(texts).toarray()
    order = list(range(len(texts)))
    random.shuffle(order)
    np.testing.assert_array_equal(known.vectors([texts[i] for i in order]).toarray(), whole[order])
    for i, text in enumerate(texts):
        np.testing.assert_array_equal(known.vectors([text]).toarray()[0], whole[i])


ODD = st.text(st.sampled_from("ab cdé\n\t\u2003ßİ😀\x1c_1'\ud83d中"), max_size=30)


@given(
    st.lists(ODD, max_size=12),
    st.lists(ODD, min_size=1, max_size=4),
    st.sampled_from([(1, 1), (1, 3), (2, 4), (3, 5)]),
)
@pytest.mark.parametrize("analyzer", ["word", "char_wb"])
@settings(max_examples=60, deadline=None)
def test_vocabulary_and_vectors_are_those_of_scikit_learn(analyzer, texts, asked, ngrams: tuple[int, int]):
    own = vocabulary(texts, analyzer, ngrams, min_count=2, most=7)
    distinct, asked = ([repair_text(text) for text in dict.fromkeys(each)] for each in (texts, asked))
    theirs = TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=ngrams,
        min_df=2,
        max_features=7,
        sublinear_tf=True,
        token_pattern=r"\w+",  # noqa: S106
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs.fit(dict.fromkeys(distinct))
        except ValueError:
            assert own.words == ()
            return
    assert own.words == tuple(theirs.get_feature_names_out())
    assert own.idf == tuple(theirs.idf_)
    np.testing.assert_allclose(own.vectors(asked).toarray(), theirs.transform(asked).toarray(), atol=1e-15)


@pytest.mark.parametrize(("analyzer", "ngrams"), [("word", (1, 2)), ("char_wb", (2, 4)), ("char_wb", (4, 5))])
def test_ngrams_of_too_many_units_for_a_number_give_the_same_vectors(analyzer, ngrams, monkeypatch):
    texts = [f"text {number % 9} of {'many ' * (number % 4)}words" for number in range(150)]
    whole = vocabulary(texts, analyzer, ngrams)
    expected = whole.vectors(texts).toarray()
    monkeypatch.setattr("pairrank.features.ngrams.FEWEST_TEXTS", 2**63)
    without = vocabulary(texts, analyzer, ngrams)
    assert without == whole
    np.testing.assert_allclose(without.vectors(texts).toarray(), expected, atol=1e-15)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_number_of_threads_and_blocks_changes_nothing(threads: str, monkeypatch):
    texts = [f"text {number} of {'many ' * (number % 4)}words" for number in range(150)]
    expected = vocabulary(texts, "char_wb", (1, 3))
    vectors = expected.vectors(texts).toarray()
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr("pairrank.cores.usable_cores", lambda: 3)
    monkeypatch.setattr("pairrank.features.ngrams.FEWEST_TEXTS", 1)
    monkeypatch.setattr("pairrank.features.ngrams.MOST_TEXTS", 7)
    monkeypatch.setattr("pairrank.features.ngrams.BUFFER", 50)
    found = vocabulary(texts, "char_wb", (1, 3))
    assert found == expected
    np.testing.assert_array_equal(found.vectors(texts).toarray(), vectors)


def test_repeated_texts_count_once_and_order_does_not_matter():
    once = vocabulary(TEXTS, min_count=2)
    assert vocabulary([*TEXTS, *TEXTS], min_count=2) == once
    assert vocabulary(TEXTS[::-1], min_count=2) == once
    # "zebra" is in two texts only if the repeated text counts twice.
    assert "zebra" not in vocabulary([*TEXTS, "zebra", "zebra"], min_count=2).words


def test_only_the_first_characters_are_read():
    known = vocabulary(["one two", "one three"], min_count=1, characters=3)
    assert known.words == ("one",)
    assert known.vectors(["one" + " two" * 9]).toarray() == pytest.approx(np.ones((1, 1)))
    # Texts are cut before they are compared, and both have the same beginning.
    assert vocabulary(["one two", "one three"], min_count=2, characters=3).words == ()


def test_the_most_frequent_words_are_kept():
    texts = ["a b", "a b", "a c", "a b d"]
    assert vocabulary(texts, min_count=1, most=2).words == ("a", "b")
    assert len(vocabulary(texts, min_count=1, most=9).words) == 4


def test_case_is_kept_if_lowercase_is_false():
    assert vocabulary(["The the"], min_count=1).words == ("the",)
    assert vocabulary(["The the"], min_count=1, lowercase=False).words == ("The", "the")


@pytest.mark.parametrize("texts", [[], [""], ["", " "], ["one text alone"], ["!", "?", "."]])
@pytest.mark.parametrize("analyzer", ["word", "char_wb"])
def test_vectors_without_any_word_have_no_columns(texts: list[str], analyzer, tmp_path: Path):
    known = vocabulary(texts, analyzer, min_count=9)
    assert known.words == ()
    assert known.vectors(["a", "b"]).shape == (2, 0)
    assert known.vectors([]).shape == (0, 0)
    assert known.vectors(texts).shape == (len(texts), 0)
    known.save(tmp_path / "words.json")
    assert load_tfidf(tmp_path / "words.json") == known


def test_a_saved_vocabulary_gives_exactly_the_same_vectors(tmp_path: Path):
    # A lone surrogate, which some files contain, could not be written.
    texts = [*TEXTS, "naïve 😀 \ud83d text", "\0"]
    known = vocabulary(texts, "char_wb", (1, 3), min_count=1, characters=50, lowercase=False)
    known.save(tmp_path / "words.json")
    again = load_tfidf(tmp_path / "words.json")
    assert isinstance(again, Tfidf)
    assert again == known
    np.testing.assert_array_equal(again.vectors(texts).toarray(), known.vectors(texts).toarray())
    assert json.loads((tmp_path / "words.json").read_text(encoding="utf-8"))["characters"] == 50


def test_all_settings_out_of_bounds_are_reported_together():
    with pytest.raises(UserError) as caught:
        vocabulary(TEXTS, ngrams=(2, 1), min_count=0, most=0, characters=0)
    for key in ("ngrams = (2, 1)", "min_count = 0", "most = 0", "characters = 0"):
        assert key in str(caught.value)

"""Languages of many battles are those that langid gives to each text alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from pairrank.data.battles import Battles, object_array
from pairrank.features import languages
from pairrank.features.languages import ANSWER, LANGUAGES, PROMPT, UNKNOWN, languages_of

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, and nobody is surprised.",
    "Der schnelle braune Fuchs springt über den faulen Hund, und niemand wundert sich.",
    "El veloz zorro marrón salta sobre el perro perezoso y nadie se sorprende.",
    "Быстрая бурая лиса прыгает через ленивую собаку, и никто не удивляется.",
    "Брза смеђа лисица прескаче лењог пса и нико није изненађен.",
    "敏捷的棕色狐狸跳过懒狗，没有人感到惊讶。",
    "素早い茶色の狐がのろまな犬を飛び越える。",
    "الثعلب البني السريع يقفز فوق الكلب الكسول",
    "HELLO WORLD",
    "x",
    "123 !?",
    "\ud83d 😀",
    "",
]


@pytest.fixture(scope="module")
def langid() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(LANGUAGES)
    return identifier


def battles_of(rows: list[tuple[str, str, str]]) -> Battles:
    columns = [object_array([(text,) for text in column]) for column in zip(*rows, strict=True)]
    return Battles(object_array([str(i) for i in range(len(rows))]), *columns)


def expected(langid: LanguageIdentifier, rows: list[tuple[str, str, str]]) -> list[str]:
    texts = ["\n".join([prompt[:PROMPT], a[:ANSWER], b[:ANSWER]]) for prompt, a, b in rows]
    return [langid.classify(text)[0] if any(map(str.isalpha, text)) else UNKNOWN for text in texts]


@pytest.mark.parametrize("block", [1, 7, languages.BLOCK])
def test_languages_are_those_of_langid(langid: LanguageIdentifier, block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(languages, "BLOCK", block)
    rng = np.random.default_rng(0)
    rows = [tuple(" ".join(rng.choice(SENTENCES, rng.integers(0, 20))) for _ in range(3)) for _ in range(100)]
    rows += [(sentence, "", "") for sentence in SENTENCES]
    found = languages_of(battles_of(rows))
    assert found == expected(langid, rows)
    assert len(set(found)) > 5


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_any_text_has_the_language_of_langid(langid: LanguageIdentifier, rows: list[tuple[str, str, str]]):
    assert languages_of(battles_of(rows)) == expected(langid, rows)


def test_scores_are_those_of_langid_up_to_rounding(langid: LanguageIdentifier):
    texts = [sentence * count for sentence in SENTENCES[:9] for count in (1, 3)]
    scores = languages._scores(langid, [langid._encode(text) for text in texts])
    theirs = np.array([langid._decide(text) for text in texts])
    known = np.isfinite(scores)
    assert known.mean() > 0.9
    assert np.abs(scores - theirs)[known].max() < 0.1 < languages.CLOSE

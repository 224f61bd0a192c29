"""The language of a battle is estimated from its text, accurately enough to group battles by it."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles
from pairrank.data.turns import Turns

LANGUAGES = (
    *("ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi", "hr", "hu"),
    *("id", "it", "ja", "ko", "lt", "lv", "mk", "ms", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv"),
    *("ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "zh"),
)
"""ISO 639-1 codes of the languages that are distinguished. Short English texts are often classified as others."""

UNKNOWN = "?"
"""The code of a battle without letters."""

PROMPT, ANSWER = 600, 200
"""Numbers of characters that are read of the prompt and of each answer, because short prompts are ambiguous."""

BLOCK = 512
"""Texts whose languages are estimated together."""
CLOSE = 1.0
"""Difference of the two highest scores up to which langid itself decides. Their rounding errors are below 0.1."""


def languages_of(battles: Battles) -> list[str]:
    """Return the n language codes of n battles, from `LANGUAGES` or `UNKNOWN`."""
    rows = zip(battles.prompt, battles.response_a, battles.response_b, strict=True)
    texts = [_read_part(*battle) for battle in rows]
    lettered = [i for i, text in enumerate(texts) if any(map(str.isalpha, text))]
    codes = [UNKNOWN] * len(texts)
    for start in range(0, len(lettered), BLOCK):
        block = lettered[start : start + BLOCK]
        for i, code in zip(block, _classify([texts[i] for i in block]), strict=True):
            codes[i] = code
    return codes


def _read_part(prompt: Turns, response_a: Turns, response_b: Turns) -> str:
    """Return the beginnings of the texts of a battle."""
    return "\n".join([_head(prompt, PROMPT), _head(response_a, ANSWER), _head(response_b, ANSWER)])


def _classify(texts: Sequence[str]) -> list[str]:
    """Return the most probable language of each text, by langid's naive Bayes over byte n-grams.

    Source: Lui and Baldwin, "langid.py: An Off-the-shelf Language Identification Tool", ACL 2012.
    """
    identifier = _identifier()
    scores = _scores(identifier, [identifier._encode(text) for text in texts])
    second, best = np.partition(scores, -2, axis=1)[:, -2:].T
    codes: list[str] = [identifier.nb_classes[i] for i in scores.argmax(axis=1).tolist()]
    # Sums in another order may differ in their last digits, and texts without n-grams have no scores.
    for i in np.flatnonzero(~(best - second > CLOSE)).tolist():
        codes[i] = identifier.classify(texts[i])[0]
    return codes


def _scores(identifier: Any, texts: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """Return the (n, languages) scores that langid gives to n encoded texts, 0 for those without known n-grams.

    langid follows its automaton through one text, byte by byte. Here all texts take each step together.
    """
    from scipy.sparse import csr_matrix  # takes a tenth of a second, which commands without languages need not pay

    following, output = np.asarray(identifier.tk_nextmove), np.asarray(identifier.tk_output)
    first_move = np.asarray(identifier.tk_row, dtype=np.int64) << 8
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    lengths = np.array([len(texts[i]) for i in order])
    characters = np.zeros((lengths.max(initial=0), len(texts)), np.uint8)
    for column, i in enumerate(order):
        characters[: lengths[column], column] = np.frombuffer(texts[i], np.uint8)
    state = np.zeros(len(texts), np.int64)
    found = np.full(characters.shape, -1, np.int64)
    for step, (count, row) in enumerate(zip(_longer(lengths), characters, strict=True)):
        state[:count] = following[first_move[state[:count]] + row[:count]]
        found[step, :count] = output[state[:count]]
    steps, columns = np.nonzero(found >= 0)
    size = len(identifier.nb_ptc)
    visits, counts = np.unique(columns * size + found[steps, columns], return_counts=True)
    shape = len(texts), size
    ngrams = csr_matrix((np.log1p(counts.astype(np.float32)), divmod(visits, size)), shape)
    scores = np.zeros((len(texts), len(identifier.nb_classes)), np.float32)
    scores[order] = ngrams @ identifier.nb_ptc
    scores[scores.any(axis=1)] += identifier.nb_pc
    for one, other in identifier._alias_pairs:  # two models of one language
        scores[:, one] = np.maximum(scores[:, one], scores[:, other])
        scores[:, other] = -np.inf
    return scores


def _longer(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for each place of a byte how many of the descending lengths are greater than it."""
    places = np.arange(lengths.max(initial=0))
    return len(lengths) - np.searchsorted(lengths[::-1], places, side="right")


def _head(turns: Turns, count: int) -> str:
    """Return the first `count` characters of a side."""
    return "\n".join(turns)[:count]


@cache
def _identifier() -> Any:
    """Return the identifier of langid, loaded once per process."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(LANGUAGES)
    return identifier

"""The language of a battle is estimated from its text, accurately enough to group battles by it."""

from functools import cache
from typing import Any

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


def languages_of(battles: Battles) -> list[str]:
    """Return the n language codes of n battles, from `LANGUAGES` or `UNKNOWN`."""
    texts = zip(battles.prompt, battles.response_a, battles.response_b, strict=True)
    return [language_of(*battle) for battle in texts]


def language_of(prompt: Turns, response_a: Turns, response_b: Turns) -> str:
    """Return the most probable language of a battle, by langid's naive Bayes over byte n-grams.

    Source: Lui and Baldwin, "langid.py: An Off-the-shelf Language Identification Tool", ACL 2012.
    """
    text = "\n".join([_head(prompt, PROMPT), _head(response_a, ANSWER), _head(response_b, ANSWER)])
    if not any(map(str.isalpha, text)):
        return UNKNOWN
    code: str = _identifier().classify(text)[0]
    return code


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

"""In which language a conversation is held: a guess from its letters, good enough to group battles by."""

from functools import cache
from typing import Any

from pairrank.data.battles import Battles
from pairrank.data.turns import Turns

LANGUAGES = (
    *("ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi", "hr", "hu"),
    *("id", "it", "ja", "ko", "lt", "lv", "mk", "ms", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv"),
    *("ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "zh"),
)
"""ISO 639-1 codes that are told apart. Of rarer ones a short English text is taken for too often."""

UNKNOWN = "?"
"""Of a conversation without letters."""

PROMPT, ANSWER = 600, 200
"""Characters looked at: a short prompt alone ("test") is anyone's guess, and answers mostly follow its language."""


def languages_of(battles: Battles) -> list[str]:
    """(n) codes of `LANGUAGES`, or `UNKNOWN`."""
    texts = zip(battles.prompt, battles.response_a, battles.response_b, strict=True)
    return [language_of(*battle) for battle in texts]


def language_of(prompt: Turns, response_a: Turns, response_b: Turns) -> str:
    """The likeliest language of a battle, by langid's naive Bayes over byte n-grams (Lui and Baldwin 2012)."""
    text = "\n".join([_head(prompt, PROMPT), _head(response_a, ANSWER), _head(response_b, ANSWER)])
    if not any(map(str.isalpha, text)):
        return UNKNOWN
    code: str = _identifier().classify(text)[0]
    return code


def _head(turns: Turns, count: int) -> str:
    return "\n".join(turns)[:count]


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(LANGUAGES)
    return identifier

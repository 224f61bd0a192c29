"""A text is split into words and lines once, for all measurements of it."""

import re
from collections import Counter
from functools import cached_property

from pairrank.data.turns import Turns, cut_middle
from pairrank.features.phrases import STOP_WORDS

# In scripts without spaces (kana, Chinese, Hangul) every character is a word.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|[^\W_]+(?:'[^\W_]+)*")


class ParsedText:
    """The turns of one side of a conversation, with the parts of them that several measurements use.

    A very long turn loses its middle.
    """

    def __init__(self, turns: Turns) -> None:
        self.turns = tuple(map(cut_middle, turns))
        self.text = "\n".join(self.turns)

    @cached_property
    def lower(self) -> str:
        """The text in lower case with straight apostrophes, as in the lists of phrases."""
        return self.text.lower().replace("’", "'")

    @cached_property
    def words(self) -> list[str]:
        """The words of the text in lower case, in order."""
        return WORD.findall(self.lower)

    @cached_property
    def counts(self) -> Counter[str]:
        """Number of occurrences of each word."""
        return Counter(self.words)

    @cached_property
    def numbers(self) -> set[str]:
        """The distinct words of decimal digits."""
        return set(filter(str.isdecimal, self.counts))

    @cached_property
    def lines(self) -> list[str]:
        """The stripped lines that are not blank."""
        return [line for raw in self.text.split("\n") if (line := raw.strip())]

    @cached_property
    def foreign(self) -> float:
        """Share of characters outside ASCII, a simple sign of another language than English."""
        size = len(self.text)
        return (size - len(self.text.encode("ascii", "ignore"))) / size if size else 0.0

    @cached_property
    def content(self) -> set[str]:
        """The distinct words of more than three letters that are not stop words."""
        return {word for word in self.counts if len(word) > 3} - STOP_WORDS


def share(part: float, whole: float) -> float:
    """Return `part / whole`, or 0 if `whole` is 0."""
    return part / whole if whole else 0.0

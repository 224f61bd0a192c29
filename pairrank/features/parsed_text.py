"""A conversation's side is read once: its words are cut here, and every measure counts what was cut."""

import re
from collections import Counter
from functools import cached_property

from pairrank.data.turns import Turns
from pairrank.features.phrases import STOP_WORDS

# A script without spaces (kana, Chinese, Hangul) counts one word a character.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|[^\W_]+(?:'[^\W_]+)*")


class ParsedText:
    """The turns of one side of a conversation, and the cuts of them that several measures share."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.text = "\n".join(turns)

    @cached_property
    def lower(self) -> str:
        """The text in lower case with straight apostrophes, so that phrases can be counted in it."""
        return self.text.lower().replace("’", "'")

    @cached_property
    def words(self) -> list[str]:
        """The words of the text in order, in lower case."""
        return WORD.findall(self.lower)

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each word occurs."""
        return Counter(self.words)

    @cached_property
    def lines(self) -> list[str]:
        """The lines that are not blank, stripped."""
        return [line for raw in self.text.split("\n") if (line := raw.strip())]

    @cached_property
    def foreign(self) -> float:
        """The share of characters outside ASCII: a cheap sign of another language."""
        size = len(self.text)
        return (size - len(self.text.encode("ascii", "ignore"))) / size if size else 0.0

    @cached_property
    def content(self) -> set[str]:
        """The different words of more than three letters that are no stop words."""
        return {word for word in self.counts if len(word) > 3} - STOP_WORDS


def share(part: float, whole: float) -> float:
    """`part / whole`, and 0 of nothing."""
    return part / whole if whole else 0.0

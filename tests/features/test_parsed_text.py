"""A text is parsed once for all measurements."""

from pairrank.data.turns import LONGEST
from pairrank.features.parsed_text import ParsedText


def test_a_turn_of_any_length_is_measured_by_its_beginning():
    long = ParsedText(("word " * (LONGEST // 5) + "more " * 10, "last"))
    cut = ParsedText(("word " * (LONGEST // 5), "last"))
    assert long.turns == cut.turns
    assert (long.text, long.words, long.lines) == (cut.text, cut.words, cut.lines)
    assert "more" not in long.counts

"""A text is parsed once for all measurements."""

from pairrank.data.turns import LONGEST
from pairrank.features.parsed_text import ParsedText


def test_a_turn_of_any_length_is_measured_by_its_ends():
    half = "word " * (LONGEST // 10)
    long, cut = ParsedText((half + "more " * 10 + half, "last")), ParsedText((half + half, "last"))
    assert long.turns == cut.turns
    assert (long.text, long.words, long.lines) == (cut.text, cut.words, cut.lines)
    assert "more" not in long.counts

"""The summary names what was left out, and the minutes that it needs."""

from pairrank.api.automation.plan import Candidate, Costs, decide, names_of
from pairrank.api.automation.summary import more_minutes


def decisions(preset, available: float, seconds: float = 60.0):
    return decide([Candidate(name, "counted", seconds) for name in names_of(preset)], Costs(), available)


def test_what_was_left_out_is_named_with_the_minutes_that_it_needs():
    sentence = more_minutes(decisions("quick", 150), "quick", 30)
    assert "structure (about 60 s), kernel (about 60 s)" in sentence
    assert "--minutes 2 for the first, 4 for all" in sentence  # (1.3 * 60 + 30) and (1.3 * 120 + 30) seconds
    assert "not measured" in sentence


def test_if_everything_fits_the_next_preset_is_named():
    sentence = more_minutes(decisions("quick", 10_000), "quick", 30)
    assert "--preset good would add stack, frozen-static, frozen" in sentence


def test_the_largest_preset_has_nothing_to_add():
    assert "change nothing" in more_minutes(decisions("best", 10_000), "best", 30)

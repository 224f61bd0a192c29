"""What is planned fits the time and uses it, and measured folds correct what is expected."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairrank.api.automation.plan import ORDER, SURE, Candidate, Costs, decide, names_of

FAMILIES = ("counted", "frozen", "fine-tuned")


some = st.builds(
    Candidate,
    st.uuids().map(str),
    st.sampled_from(FAMILIES),
    st.floats(0, 5000),
    done=st.integers(0, 5),
    unavailable=st.sampled_from(["", "", "no encoder"]),
)
candidates = st.lists(some, min_size=1, max_size=6)
"""Experiments with any costs; some of their folds may be finished, and some cannot be run."""


def planned(decisions) -> list[str]:
    return [each.name for each in decisions if each.status == "planned"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(candidates, st.floats(-100, 20_000))
def test_nothing_is_planned_beyond_the_time(tried, available: float):
    decisions = decide(tried, Costs(), available)
    assert sum(each.seconds for each in decisions if each.status == "planned") <= max(0, available)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(candidates, st.floats(0, 20_000))
def test_nothing_is_left_out_that_fits_the_time_that_remains(tried, available: float):
    decisions = decide(tried, Costs(), available)
    remaining = available - SURE * sum(each.seconds for each in decisions if each.status == "planned")
    left_out = [SURE * each.seconds for each in decisions if each.status == "left out"]
    assert all(seconds > remaining - 1e-6 for seconds in left_out)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(candidates, st.floats(-100, 20_000))
def test_each_candidate_is_decided_once_with_a_reason(tried, available: float):
    decisions = decide(tried, Costs(), available)
    assert [each.name for each in decisions] == [each.name for each in tried]
    assert all(each.why for each in decisions)
    for each in decisions:
        assert (each.status == "unavailable") == bool(each.candidate.unavailable)
        if each.status == "finished":
            assert each.seconds == 0


def test_an_experiment_that_does_not_fit_is_passed_over_and_says_so():
    tried = [Candidate("a", "counted", 10), Candidate("b", "counted", 100), Candidate("c", "counted", 1)]
    decisions = decide(tried, Costs(), 50)
    assert [each.status for each in decisions] == ["planned", "left out", "planned"]
    assert decisions[1].why == "only 38 s are left"  # 50 - 1.15 x 10 = 38.5


def test_finished_experiments_are_used_whatever_the_time():
    tried = [Candidate("a", "counted", 100), Candidate("b", "counted", 100, done=5)]
    assert [each.status for each in decide(tried, Costs(), 0)] == ["left out", "finished"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_folds_of_an_experiment_add_up_to_its_seconds(family):
    assert Costs().remaining(Candidate("a", family, 70.0)) == pytest.approx(70)
    assert Costs().remaining(Candidate("a", family, 70.0, done=5)) == 0


def test_slow_folds_make_the_rest_of_the_family_expensive_and_no_other():
    costs = Costs()
    one, two, other = (
        Candidate(name, family, 100.0) for name, family in (("a", "frozen"), ("b", "frozen"), ("c", "counted"))
    )
    costs.observe(one, 0, 3 * costs.of_fold(one, 0))
    assert 2 * 100 < costs.remaining(two) < 3 * 100  # 3 times, damped by the inertia
    assert costs.remaining(other) == pytest.approx(100)


def test_later_folds_take_as_long_as_the_measured_ones():
    costs = Costs()
    one = Candidate("a", "counted", 100.0)
    costs.observe(one, 0, 50.0)
    costs.observe(one, 1, 2.0)
    costs.observe(one, 2, 4.0)
    assert costs.remaining(Candidate("a", "counted", 100.0, done=3)) == pytest.approx(2 * 3.0)


def test_a_short_fold_changes_little():
    costs, cheap = Costs(), Candidate("a", "counted", 0.5)
    costs.observe(cheap, 0, 1.0)  # five times as long
    assert costs.remaining(Candidate("b", "counted", 100.0)) < 120


def test_a_larger_preset_begins_with_the_smaller_one():
    quick, good, best = map(names_of, ("quick", "good", "best"))
    assert quick[:2] == ["prior", "lengths"]
    assert good[: len(quick)] == quick
    assert best[: len(good)] == good
    assert best == list(ORDER)
    assert {ORDER[name][0] for name in quick} == {"counted"}
    assert "fine-tuned" not in {ORDER[name][0] for name in good}

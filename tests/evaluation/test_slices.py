from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.data.folds import prompt_keys
from pairrank.data.months import month_of
from pairrank.data.simulation import simulate
from pairrank.evaluation.slices import (
    MAX_COMPARED,
    MIN_BATTLES,
    MIN_COMPARED,
    SliceScore,
    _frequent,
    biases,
    compared_slices,
    loss_by_slice,
    score_slices,
    slices_of,
)
from pairrank.evaluation.survey import Survey, survey_of


@pytest.fixture(scope="module")
def arena() -> tuple[Battles, np.ndarray]:
    battles, truth = simulate(1_500)
    return battles, truth.proba


def pandas_table(battles: Battles, proba: np.ndarray) -> pd.DataFrame:
    """The same battles as a data frame, computed without the survey."""
    sure = proba / proba.sum(axis=1, keepdims=True)
    frame = pd.DataFrame(
        {
            "prompt": [len("".join(t)) for t in battles.prompt],
            "a": [len("".join(t)) for t in battles.response_a],
            "b": [len("".join(t)) for t in battles.response_b],
            "turns": [len(t) for t in battles.prompt],
            "winner": battles.labels,
            "loss": -np.log(sure[np.arange(len(battles)), battles.labels]),
            "key": prompt_keys(battles),
            "tie": sure[:, 2],
        }
    )
    frame["times"] = (frame.a + 1) / (frame.b + 1)
    return frame


def scores_of(survey: Survey, proba: np.ndarray, winner: np.ndarray) -> dict[tuple[str, str], SliceScore]:
    scores = score_slices(slices_of(survey, proba), proba, winner, survey.prompt_hash)
    return {(score.kind, score.name): score for score in scores}


def test_slice_scores_equal_a_plain_pandas_computation(arena):
    battles, proba = arena
    survey, frame = survey_of(battles), pandas_table(*arena)
    scores = scores_of(survey, proba, battles.labels)
    low = frame.tie.quantile(1 / 3)
    expected = {
        ("answer length", "A ≥ 2× as long"): frame.times >= 2,
        ("answer length", "A 1.25–2× as long"): (frame.times >= 1.25) & (frame.times < 2),
        ("answer length", "about equal"): (frame.times < 1.25) & (frame.times > 0.8),
        ("answer length", "B ≥ 2× as long"): frame.times <= 0.5,
        ("prompt length", "0–99 characters"): frame.prompt < 100,
        ("prompt length", "100–499 characters"): (frame.prompt >= 100) & (frame.prompt < 500),
        ("turns", "1"): frame.turns == 1,
        ("turns", "2"): frame.turns == 2,
        ("turns", "3+"): frame.turns >= 3,
        ("predicted P(tie)", f"below {low:.2f}"): frame.tie < low,
    }
    for name, rows in expected.items():
        part, score = frame[rows], scores[name]
        assert score.log_loss.battles == len(part) > 0
        assert score.log_loss.mean == pytest.approx(part.loss.mean())
        shares = part.winner.value_counts(normalize=True)
        assert score.observed == pytest.approx([shares.get(i, 0.0) for i in range(3)])
        assert score.predicted == pytest.approx(proba[rows.to_numpy()].mean(axis=0), rel=1e-6)
        # The interval: squared sums of each prompt's deviations, by groupby.
        sums = (part.loss - part.loss.mean()).groupby(part.key).sum()
        error = np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(part)
        assert score.log_loss.high - score.log_loss.mean == pytest.approx(1.96 * error)


def test_every_kind_of_slice_except_models_contains_each_battle_once(arena):
    battles, proba = arena
    window = ("9 tokens", np.arange(1_500) % 3 == 0)
    slices = slices_of(survey_of(battles), proba, window)
    assert {each.kind for each in slices} >= {
        "answer length",
        "language",
        "code",
        "window",
        "models",
        "predicted P(tie)",
    }
    for kind in {each.kind for each in slices} - {"models"}:
        assert (np.sum([each.rows for each in slices if each.kind == kind], axis=0) == 1).all(), kind


def test_slices_by_models_are_the_most_frequent_pairs_in_either_order(arena):
    battles, proba = arena
    pairs = pd.Series([" / ".join(sorted(pair)) for pair in zip(battles.model_a, battles.model_b, strict=True)])
    counts = pairs.value_counts()
    found = {s.name: int(s.rows.sum()) for s in slices_of(survey_of(battles), proba) if s.kind == "models"}
    assert len(found) == 10
    assert list(found.values()) == counts.head(10).tolist()
    assert all(counts[name] == count for name, count in found.items())


# Times and sessions


def test_month_of_reads_dates_and_seconds():
    """1682351591 is 2023-04-24 15:53:11 UTC (`date -u -d @1682351591`)."""
    for time in ("1682351591", "1682351591.5", "1682351591000", "1682351591000000", "1682351591000000000"):
        assert month_of(time) == "2023-04"
    for time in ("2025-06-01 10:00:00", "2025-06", "2025-06-30T23:59:59Z", "2025-06-01T00:00:00.000+02:00"):
        assert month_of(time) == "2025-06"
    for time in ("", "June 2025", "2025-13-01", "12", "2025", "1.5", "16823515910", "9" * 10_000):
        assert month_of(time) == ""


def rows_by_name(battles: Battles, proba: np.ndarray, kind: str) -> dict[str, list[int]]:
    slices = [each for each in slices_of(survey_of(battles, guess_language=False), proba) if each.kind == kind]
    assert (np.sum([each.rows for each in slices], axis=0) == 1).all()
    return {each.name: np.flatnonzero(each.rows).tolist() for each in slices}


def timed(arena: tuple[Battles, np.ndarray], times: list[str]) -> tuple[Battles, np.ndarray]:
    battles, proba = arena
    n = len(times)
    return replace(battles.take(slice(n)), time=object_array(times)), proba[:n]


def test_few_months_are_slices_in_their_order(arena):
    times = ["2025-07-02", "2025-06-30", "2025-07-01", "at noon"]
    expected = {"2025-06": [1], "2025-07": [0, 2], "unknown": [3]}
    found = rows_by_name(*timed(arena, times), "time")
    assert found == expected
    assert list(found) == list(expected)


def test_more_months_than_a_year_has_are_years_and_early_years_are_one_slice(arena):
    years = [*range(2000, 2020)]
    found = rows_by_name(*timed(arena, [f"{year}-{month}-01" for year in years for month in ("01", "08")]), "time")
    assert list(found) == ["before 2008", *map(str, range(2008, 2020))]
    assert found["before 2008"] == [*range(16)]
    assert found["2019"] == [38, 39]
    two = rows_by_name(*timed(arena, [f"{2023 + i // 12}-{i % 12 + 1:02}-05" for i in range(14)]), "time")
    assert two == {"2023": [*range(12)], "2024": [12, 13]}


def test_battles_with_others_of_their_session_are_a_slice(arena):
    battles, proba = arena
    grouped = replace(battles.take(slice(6)), group=object_array(["a", "b", "", "a", "", "c"]))
    assert rows_by_name(grouped, proba[:6], "group") == {
        "in a group with others": [0, 3],
        "alone": [1, 2, 4, 5],
    }


def test_battles_without_times_and_sessions_have_no_such_slices(arena):
    kinds = {each.kind for each in slices_of(survey_of(arena[0], guess_language=False), arena[1])}
    assert not kinds & {"time", "group"}


def test_any_number_of_judges_and_times_gives_a_bounded_number_of_slices(arena):
    battles, proba = arena
    names = object_array([f"{1000 + i // 10}-01-01" for i in range(1_500)])
    many = replace(battles, judge=names, category=names, language=names, time=names, group=names)
    slices = slices_of(survey_of(many), proba)
    for kind in ("judge", "category", "language", "time"):
        assert len([each for each in slices if each.kind == kind]) <= 21
    assert len(slices) <= 120


def with_winners(battles: Battles, winner: np.ndarray) -> Battles:
    return Battles(**{**vars(battles), "winner": winner})


def test_a_planted_preference_for_longer_answers_shows_in_slices_and_biases(arena):
    battles, _ = arena
    _, a, b = survey_of(battles).chars.T
    planted = with_winners(battles, np.where(a > b, 0, np.where(b > a, 1, 2)))
    survey, fair = survey_of(planted), np.full((1_500, 3), 1 / 3)
    scores = scores_of(survey, fair, planted.labels)
    assert scores["answer length", "A ≥ 2× as long"].observed == (1.0, 0.0, 0.0)
    assert scores["answer length", "B ≥ 2× as long"].observed == (0.0, 1.0, 0.0)
    found = {bias.name: bias for bias in biases(survey, fair, planted.labels)}
    assert found["longer answer"].observed == 1.0
    assert found["longer answer"].predicted == pytest.approx(0.0)
    assert found["longer answer"].excess.high < -0.9  # the model does not share the voters' preference
    assert abs(found["first answer (A)"].excess.mean) < 0.2
    # A model with the voters' preference has no excess.
    same = np.eye(3)[planted.labels] * 0.94 + 0.02
    shared = {bias.name: bias for bias in biases(survey, same, planted.labels)}
    assert abs(shared["longer answer"].excess.mean) < 0.07


def test_a_planted_preference_for_the_first_answer_is_not_a_length_bias(arena):
    battles, _ = arena
    survey, fair = survey_of(with_winners(battles, np.zeros(1_500, dtype=np.int64))), np.full((1_500, 3), 1 / 3)
    found = {bias.name: bias for bias in biases(survey, fair, survey.winner)}
    assert found["first answer (A)"].observed == 1.0
    assert found["first answer (A)"].excess.mean == pytest.approx(-1.0)
    assert abs(found["longer answer"].observed) < 0.2
    # A model that always predicts A, which the voters do not prefer:
    voters = survey_of(battles)
    always_a = np.tile([0.8, 0.1, 0.1], (1_500, 1))
    model = {bias.name: bias for bias in biases(voters, always_a, battles.labels)}
    assert model["first answer (A)"].excess.low > 0.5


def test_swapping_the_battles_negates_the_position_bias_and_keeps_the_length_bias(arena):
    battles, proba = arena
    swapped = battles.swap()
    straight = {b.name: b for b in biases(survey_of(battles), proba, battles.labels)}
    turned = {b.name: b for b in biases(survey_of(swapped), proba[:, [1, 0, 2]], swapped.labels)}
    assert turned["first answer (A)"].excess.mean == pytest.approx(-straight["first answer (A)"].excess.mean)
    assert turned["longer answer"].excess.mean == pytest.approx(straight["longer answer"].excess.mean)


def test_no_length_bias_is_given_if_all_answers_are_equally_long():
    battles = simulate(4)[0]
    equal = Battles(**{**vars(battles), "response_b": battles.response_a})
    assert [b.name for b in biases(survey_of(equal), np.full((4, 3), 1 / 3), equal.labels)] == ["first answer (A)"]


def test_a_name_that_the_file_calls_other_is_in_the_slice_of_other_names():
    names = ["other"] * MIN_BATTLES + ["code"] * MIN_BATTLES + ["rare"]
    found = _frequent(names, "other")
    assert found["other"].tolist() == [name != "code" for name in names]
    assert found["code"].tolist() == [name == "code" for name in names]


def test_refusals_are_counted_at_the_beginning_of_the_last_turn():
    said = ("Paris.", "I can’t help with that.", "x" * 200 + " I cannot say.", "It is harmless; " + "y" * 190)
    sides = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 3)]
    texts = [object_array([(said[side[i]],) for side in sides]) for i in (0, 1)]
    prompts = object_array([("Where?",)] * len(sides))
    battles = Battles(object_array([*map(str, range(5))]), prompts, *texts)
    survey = survey_of(battles)
    assert survey.refuses.tolist() == [[False, False], [True, False], [False, True], [True, True], [False, False]]
    uniform = np.full((5, 3), 1 / 3)
    found = {each.name: each.rows.tolist() for each in slices_of(survey, uniform) if each.kind == "refusal"}
    assert found == {
        "one answer": [False, True, True, False, False],
        "both answers": [False, False, False, True, False],
        "neither": [True, False, False, False, True],
    }


def test_runs_are_compared_on_slices_that_are_large_and_depend_on_the_battles_alone(arena):
    battles, proba = arena
    slices = compared_slices(survey_of(battles))
    kinds = [each.kind for each in slices]
    assert {"answer length", "prompt length", "turns", "language", "code", "votes"} <= set(kinds)
    assert not {"predicted P(tie)", "models", "window"} & set(kinds)
    assert max(map(kinds.count, kinds)) <= MAX_COMPARED
    assert min(each.rows.sum() for each in slices) >= MIN_COMPARED
    decided = {each.name: each.rows for each in slices if each.kind == "votes"}
    assert (decided["decided"] == (battles.labels != 2)).all()
    frame = pandas_table(battles, proba)
    losses = np.stack([frame.loss, np.where(frame.turns == 2, np.nan, frame.loss)])
    means = loss_by_slice(losses, slices)
    for column, each in enumerate(slices):
        assert means[0, column] == pytest.approx(frame.loss[each.rows].mean())
        # A slice of which a row lacks battles cannot be compared.
        assert np.isnan(means[1, column]) == (frame.turns[each.rows] == 2).any()

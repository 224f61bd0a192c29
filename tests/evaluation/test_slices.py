import numpy as np
import pandas as pd
import pytest

from pairrank.data.battles import Battles
from pairrank.data.folds import prompt_keys
from pairrank.data.simulation import simulate
from pairrank.evaluation.slices import biases, score_slices, slices_of
from pairrank.evaluation.survey import survey_of


@pytest.fixture(scope="module")
def arena() -> tuple[Battles, np.ndarray]:
    battles, truth = simulate(1_500)
    return battles, truth.proba


def pandas_table(battles: Battles, proba: np.ndarray) -> pd.DataFrame:
    """The same battles as anyone would put them into a frame, by other means than the survey's."""
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


def test_slices_equal_a_plain_pandas_computation(arena):
    battles, proba = arena
    survey, frame = survey_of(battles), pandas_table(*arena)
    scores = {(s.by, s.name): s for s in score_slices(slices_of(survey, proba), proba, battles.labels, survey.key)}
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
        ("said P(tie)", f"below {low:.2f}"): frame.tie < low,
    }
    for name, rows in expected.items():
        part, score = frame[rows], scores[name]
        assert score.log_loss.battles == len(part) > 0
        assert score.log_loss.mean == pytest.approx(part.loss.mean())
        shares = part.winner.value_counts(normalize=True)
        assert score.came == pytest.approx([shares.get(i, 0.0) for i in range(3)])
        assert score.said == pytest.approx(proba[rows.to_numpy()].mean(axis=0), rel=1e-6)
        # The interval: squared sums of each prompt's deviations, by groupby.
        sums = (part.loss - part.loss.mean()).groupby(part.key).sum()
        error = np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(part)
        assert score.log_loss.high - score.log_loss.mean == pytest.approx(1.96 * error)


def test_every_kind_of_slice_holds_each_battle_once_but_pairs_of_models(arena):
    battles, proba = arena
    window = ("9 tokens", np.arange(1_500) % 3 == 0)
    slices = slices_of(survey_of(battles), proba, window)
    assert {each.by for each in slices} >= {"answer length", "language", "code", "window", "models", "said P(tie)"}
    for kind in {each.by for each in slices} - {"models"}:
        assert (np.sum([each.rows for each in slices if each.by == kind], axis=0) == 1).all(), kind


def test_pairs_of_models_are_those_with_the_most_battles_whoever_stands_first(arena):
    battles, proba = arena
    pairs = pd.Series([" / ".join(sorted(pair)) for pair in zip(battles.model_a, battles.model_b, strict=True)])
    counts = pairs.value_counts()
    found = {s.name: int(s.rows.sum()) for s in slices_of(survey_of(battles), proba) if s.by == "models"}
    assert len(found) == 10
    assert list(found.values()) == counts.head(10).tolist()
    assert all(counts[name] == count for name, count in found.items())


def with_winners(battles: Battles, winner: np.ndarray) -> Battles:
    return Battles(**{**vars(battles), "winner": winner})


def test_a_planted_preference_for_the_longer_answer_shows_in_the_slices_of_length(arena):
    battles, _ = arena
    _, a, b = survey_of(battles).chars.T
    planted = with_winners(battles, np.where(a > b, 0, np.where(b > a, 1, 2)))
    survey, fair = survey_of(planted), np.full((1_500, 3), 1 / 3)
    scores = {(s.by, s.name): s for s in score_slices(slices_of(survey, fair), fair, planted.labels, survey.key)}
    assert scores["answer length", "A ≥ 2× as long"].came == (1.0, 0.0, 0.0)
    assert scores["answer length", "B ≥ 2× as long"].came == (0.0, 1.0, 0.0)
    found = {bias.name: bias for bias in biases(survey, fair, planted.labels)}
    assert found["longer answer"].came == 1.0
    assert found["longer answer"].said == pytest.approx(0.0)
    assert found["longer answer"].excess.high < -0.9  # a model without the taste of its voters
    assert abs(found["first answer (A)"].excess.mean) < 0.2
    # A model that shares the taste shows none of its own.
    taste = np.eye(3)[planted.labels] * 0.94 + 0.02
    shared = {bias.name: bias for bias in biases(survey, taste, planted.labels)}
    assert abs(shared["longer answer"].excess.mean) < 0.07


def test_a_planted_preference_for_the_first_answer_shows_there_and_not_in_length(arena):
    battles, _ = arena
    survey, fair = survey_of(with_winners(battles, np.zeros(1_500, dtype=np.int64))), np.full((1_500, 3), 1 / 3)
    found = {bias.name: bias for bias in biases(survey, fair, survey.winner)}
    assert found["first answer (A)"].came == 1.0
    assert found["first answer (A)"].excess.mean == pytest.approx(-1.0)
    assert abs(found["longer answer"].came) < 0.2
    # And a model that always says A, where voters do not:
    voters = survey_of(battles)
    sure_of_a = np.tile([0.8, 0.1, 0.1], (1_500, 1))
    model = {bias.name: bias for bias in biases(voters, sure_of_a, battles.labels)}
    assert model["first answer (A)"].excess.low > 0.5


def test_biases_turn_round_when_the_battles_do(arena):
    battles, proba = arena
    swapped = battles.swap()
    straight = {b.name: b for b in biases(survey_of(battles), proba, battles.labels)}
    turned = {b.name: b for b in biases(survey_of(swapped), proba[:, [1, 0, 2]], swapped.labels)}
    assert turned["first answer (A)"].excess.mean == pytest.approx(-straight["first answer (A)"].excess.mean)
    assert turned["longer answer"].excess.mean == pytest.approx(straight["longer answer"].excess.mean)


def test_battles_of_equal_length_alone_have_no_bias_of_length():
    battles = simulate(4)[0]
    equal = Battles(**{**vars(battles), "response_b": battles.response_a})
    assert [b.name for b in biases(survey_of(equal), np.full((4, 3), 1 / 3), equal.labels)] == ["first answer (A)"]

"""Learning curves of made-up runs whose losses are known, battle by battle."""

from dataclasses import replace

import numpy as np
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.data.predictions import Predictions, predictions_hash
from pairrank.errors import UserError
from pairrank.evaluation.curve_runs import curve_label
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.intervals import bootstrap_means, paired_difference
from pairrank.evaluation.learning_curve_table import columns, markdown, notes
from pairrank.evaluation.learning_curves import LearningCurves, build_curves
from pairrank.evaluation.run_record import record_from_json
from tests.support.battles import tiny_battles

N, TARGET = 2_000, 20_000
SIZES = (100, 200, 400, 800, 0)
"""Requested sizes; the whole training part has 1,600 battles."""
PROMPTS = [f"prompt {i}" for i in range(N)]


@pytest.fixture(scope="module")
def battles() -> Battles:
    return replace(tiny_battles(N), prompt=object_array([(prompt,) for prompt in PROMPTS]))


def made_up_run(battles: Battles, name: str, size: int, sample: int, losses: np.ndarray) -> Entry:
    """A run whose (n,) losses are these: the rest of the probability goes to the other outcomes in equal parts."""
    chosen = np.exp(-losses)
    proba = np.repeat((1 - chosen)[:, None] / 2, 3, axis=1)
    proba[np.arange(N), battles.labels] = chosen
    predictions = Predictions(battles.id, proba)
    split = {"folds": 5, "salt": "", "limit": 0, "nested": False, "train_size": size, "train_sample": sample}
    label = f"{name}+train_size={size}+train_sample={sample}" if size else name
    values = {
        "label": label,
        "experiment": {"name": name, "model": {"name": "prior"}, "split": split},
        "data": {"name": "made-up", "hash": "x", "battles": N},
        "folds": [0, 1, 2, 3, 4],
        "identity": "x",
        "predictions": predictions_hash(predictions),
    }
    return Entry(label, predictions, record_from_json(values))


def runs_of(battles: Battles, name: str, law, seed: int, repeats: int = 2, noise: float = 0.05) -> list[Entry]:
    """The runs of one experiment whose mean loss follows a law, with noise of battles that all sizes share."""
    shared = np.random.default_rng(99).normal(size=N)
    shared -= shared.mean()
    rng = np.random.default_rng(seed)
    entries = []
    for size in SIZES:
        for sample in range(repeats if size else 1):
            own = 0.01 * rng.normal(size=N)
            entries.append(made_up_run(battles, name, size, sample, law(size or 1_600) + noise * shared + own))
    return entries


def early(size: float) -> float:
    return 0.95 + 0.5 * size**-0.5


def late(size: float) -> float:
    return 0.70 + 1.7 * size**-0.3


def slow(size: float) -> float:
    return 0.60 + 0.95 * size**-0.12


@pytest.fixture(scope="module")
def curves(battles: Battles) -> LearningCurves:
    entries = [
        each
        for seed, (name, law) in enumerate({"early": early, "late": late, "slow": slow}.items())
        for each in runs_of(battles, name, law, seed)
    ]
    prior = made_up_run(battles, "prior", 0, 0, np.full(N, 1.09))
    truth = Predictions(battles.id, made_up_run(battles, "truth", 0, 0, np.full(N, 0.6)).predictions.proba)
    built = build_curves("made-up", battles, [*entries, prior], TARGET, truth=truth)
    assert built is not None
    return built


def test_a_point_is_the_mean_over_battles_and_repeats(curves: LearningCurves, battles: Battles):
    entries = runs_of(battles, "late", late, 1)
    rows = np.arange(N)
    for point in curves.curves[1].points:
        some = [each for each in entries if (each.record.split["train_size"] or 0) == point.train_size]
        losses = [-np.log(each.predictions.proba[rows, battles.labels]).mean() for each in some]
        assert point.log_loss.mean == pytest.approx(np.mean(losses), abs=1e-9)
        assert point.log_loss.low < point.log_loss.mean < point.log_loss.high
        assert point.repeats == len(losses)
        assert point.skill == pytest.approx((1.09 - np.mean(losses)) / (1.09 - 0.6))
    assert [round(point.battles) for point in curves.curves[1].points] == [100, 200, 400, 800, 1600]


def test_differences_are_paired_and_have_the_interval_of_the_leaderboard(curves: LearningCurves, battles: Battles):
    whole = [
        -np.log(runs_of(battles, name, law, seed)[-1].predictions.proba[np.arange(N), battles.labels])
        for seed, (name, law) in enumerate({"early": early, "late": late}.items())
    ]
    expected = paired_difference(whole[1], whole[0], PROMPTS)
    found = curves.curves[1].points[-1].difference
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx(
        (expected.mean, expected.low, expected.high), abs=1e-4
    )
    assert curves.curves[0].points[-1].difference is None


def test_the_interval_of_the_law_contains_the_planted_loss(curves: LearningCurves):
    for curve, law in zip(curves.curves, (early, late, slow), strict=True):
        assert curve.law is not None
        assert not curve.doubt
        assert curve.law.expected.low <= law(TARGET) <= curve.law.expected.high
        assert curve.law.expected.high - curve.law.expected.low < 0.1
        slope = (law(1600 * 1.01) - law(1600 / 1.01)) / (2 * np.log2(1.01))
        assert curve.law.per_doubling.low <= slope <= curve.law.per_doubling.high


def test_crossings_are_found_within_and_beyond_the_measured_sizes(curves: LearningCurves):
    found = {(each.worse, each.better): each for each in curves.crossings}
    sizes = np.arange(100, TARGET)
    inside = sizes[np.flatnonzero(early(sizes) > late(sizes))[0]]
    crossing = found["early", "late"]
    assert not crossing.is_extrapolated
    assert crossing.size == pytest.approx(inside, rel=0.05)
    assert crossing.confidence > 0.99
    beyond = sizes[np.flatnonzero(early(sizes) > slow(sizes))[0]]
    assert beyond > 1_600
    crossing = found["early", "slow"]
    assert crossing.is_extrapolated
    assert crossing.size == pytest.approx(beyond, rel=0.25)
    crossing = found["slow", "late"]
    assert crossing.size is None


def test_few_sizes_and_wide_intervals_are_called_undetermined(battles: Battles):
    entries = runs_of(battles, "late", late, 1)
    few = build_curves("made-up", battles, [each for each in entries if each.record.training_part[0] > 100], TARGET)
    assert few is not None
    assert few.curves[0].law is None
    assert "3 sizes" in few.curves[0].doubt
    assert "not determined" in columns(few)["log loss [95 %]"][-1]
    rng = np.random.default_rng(5)
    noisy = [made_up_run(battles, "noisy", s, 0, rng.exponential(1.0, N) + 0.01) for s in SIZES]
    wide = build_curves("made-up", battles, noisy, TARGET)
    assert wide is not None
    assert "wider" in wide.curves[0].doubt
    assert "not determined" in columns(wide)["log loss [95 %]"][-1]


def curve_of(battles: Battles, losses: list[float], target: int = TARGET, noise: float = 0.01) -> LearningCurves:
    """The curve of these five losses, above a floor of .65; `noise` is that of each size alone."""
    rng = np.random.default_rng(0)
    runs = [
        made_up_run(battles, "one", size, 0, loss + noise * rng.normal(size=N))
        for size, loss in zip(SIZES, losses, strict=True)
    ]
    truth = Predictions(battles.id, made_up_run(battles, "truth", 0, 0, np.full(N, 0.65)).predictions.proba)
    curves = build_curves("made-up", battles, runs, target, truth=truth)
    assert curves is not None
    return curves


def planted(extra: float) -> list[float]:
    """Losses that follow a power law, except at the largest size, where `extra` is added."""
    sizes = np.array([*SIZES[:-1], 1_600.0])
    return (0.66 + 4 * sizes**-0.5 + np.array([0, 0, 0, 0, extra])).tolist()


@pytest.mark.parametrize("target", [1_000, 1_600, TARGET, 10_000_000])
def test_a_law_that_misses_the_largest_size_is_none_whatever_the_target(battles: Battles, target: int):
    """As that of an encoder whose loss falls ever faster: per doubling, a power law always gains less."""
    reader = [1.09, 1.065, 0.99, 0.865, 0.69]
    curves = curve_of(battles, reader, target)
    [curve] = curves.curves
    assert curve.law is None
    assert "nats above the loss that was measured at 1,600 battles" in curve.doubt
    assert columns(curves)["log loss [95 %]"][-1] == "not determined"
    assert notes(curves)[0] == f"one: {curve.doubt}."


def test_the_loss_at_the_largest_size_may_differ_from_the_law_by_little_or_by_chance(battles: Battles):
    assert curve_of(battles, planted(0.0)).curves[0].law is not None
    # The law that is fitted to all sizes takes up a part of what is added to the last one.
    found = {extra: curve_of(battles, planted(extra)).curves[0].law for extra in (-0.005, 0.005, 0.06)}
    assert [law is None for law in found.values()] == [False, False, True]
    assert curve_of(battles, planted(0.06), noise=3.0).curves[0].law is not None


@pytest.mark.parametrize(
    "losses", [[0.95, 0.92, 0.905, 0.9, 0.9002], [0.9, 0.9005, 0.9, 0.901, 0.902]], ids=["plateau", "rising"]
)
def test_a_flat_law_misses_by_a_negligible_amount(battles: Battles, losses: list[float]):
    assert curve_of(battles, losses, noise=1e-4).curves[0].law is not None


def test_runs_of_a_single_size_make_no_curve_and_an_unknown_reference_is_refused(battles: Battles):
    runs = runs_of(battles, "late", late, 1)
    assert build_curves("made-up", battles, runs[-1:], TARGET) is None
    with pytest.raises(UserError, match="--reference"):
        build_curves("made-up", battles, runs, TARGET, "lat")


def test_only_battles_that_every_run_has_predicted_are_scored(battles: Battles):
    runs = runs_of(battles, "late", late, 1)
    half = Predictions(runs[0].predictions.id[:1000], runs[0].predictions.proba[:1000])
    rest = Predictions(runs[1].predictions.id[1000:], runs[1].predictions.proba[1000:])
    built = build_curves("made-up", battles, [replace(runs[0], predictions=half), *runs[1:]], TARGET)
    assert built is not None
    assert built.battles == 1000
    parts = [replace(runs[0], predictions=half), replace(runs[1], predictions=rest), *runs[2:]]
    with pytest.raises(UserError, match="no battle was predicted by every run"):
        build_curves("made-up", battles, parts, TARGET)


def test_a_law_without_a_bend_is_said_to_have_none(battles: Battles):
    straight = runs_of(battles, "straight", lambda size: 1.2 - 0.02 * np.log2(size), 1, noise=0)
    built = build_curves("made-up", battles, straight, TARGET)
    assert built is not None
    assert "no bend" in notes(built)[0]


def test_labels_lose_only_what_says_how_many_battles(battles: Battles):
    run = made_up_run(battles, "late", 100, 1, np.ones(N))
    assert curve_label(run) == "late"
    other = replace(run, label="siamese@minilm+seed=1+train_size=100+evidence=false")
    assert curve_label(other) == "siamese@minilm+seed=1+evidence=false"


def test_the_table_has_a_row_per_size_and_one_for_the_law(curves: LearningCurves):
    table = columns(curves)
    assert list(table) == ["experiment", "battles", "log loss [95 %]", "Δ early [95 %]", "skill"]
    assert table["battles"] == ["100", "200", "400", "800", "1,600", "20,000*"] * 3
    widths = [max(len(cell) for cell in [name, *cells]) + 3 for name, cells in table.items()]
    assert sum(widths) + 1 <= 80
    text = markdown(curves, "chart.svg")
    assert "](chart.svg)" in text
    assert all(note.split(":")[0] in text for note in notes(curves)[:3])


def test_the_columns_of_a_table_share_their_bootstrap_samples():
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=(60, 2)), [f"g{i // 3}" for i in range(60)]
    table = bootstrap_means(values, groups, draws=200, seed=3)
    for column in (0, 1):
        assert np.allclose(table[:, column], bootstrap_means(values[:, column], groups, draws=200, seed=3))

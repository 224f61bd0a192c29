"""The structure model commutes with swap, finds a planted signal and none in noise, and is saved exactly."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.data.folds import assign_folds
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.features.counting import GROUPS, count_features
from pairrank.models.base import build
from pairrank.models.heads.trees import TreeParameters
from pairrank.models.prior import Prior
from pairrank.models.saving import load_model, save_model
from pairrank.models.structure import Structure
from pairrank.training.monitor import Monitor

TREES = TreeParameters(learning_rate=0.1, min_leaf=5)
FAST: dict[str, Any] = {"rounds": 40, "tie_rounds": 30, "seeds": 2, "trees": TREES}
SETTINGS = [
    pytest.param({"learner": learner, "decompose": decompose}, id=f"{learner}-{'two' if decompose else 'one'}")
    for learner in ("both", "logistic", "lightgbm")
    for decompose in (True, False)
]
VOCABULARY = "the a river mountain quietly remarkable 42 however sorry because of time people 7 code".split()  # noqa: SIM905


def simulated(n: int = 240, seed: int = 0) -> Battles:
    """Return battles whose longer answer wins with P = sigmoid(2 x log length ratio); equal answers tie."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 40, (n, 2))
    tied = rng.random(n) < 0.3
    texts = [[" ".join(rng.choice(VOCABULARY, size)) + "." for size in row] for row in sizes]
    a = [(row[0],) for row in texts]
    b = [(row[0] if tie else row[1],) for row, tie in zip(texts, tied, strict=True)]
    first = rng.random(n) < 1 / (1 + np.exp(-2 * np.log(sizes[:, 0] / sizes[:, 1])))
    return Battles(
        id=object_array([str(i) for i in range(n)]),
        prompt=object_array([(f"Question {i}?",) for i in range(n)]),
        response_a=object_array(a),
        response_b=object_array(b),
        model_a=object_array(["x"] * n),
        model_b=object_array(["y"] * n),
        winner=np.where(tied, 2, np.where(first, 0, 1)).astype(np.int64),
    )


@pytest.fixture(scope="module")
def train() -> Battles:
    return simulated()


@pytest.fixture(scope="module")
def fresh() -> Battles:
    return simulated(60, seed=1)


@pytest.mark.parametrize("setting", SETTINGS)
def test_swapped_battles_have_swapped_predictions(setting: dict[str, Any], train: Battles, fresh: Battles) -> None:
    model = Structure(**FAST, **setting).fit(train)
    straight, swapped = model.predict_proba(fresh), model.predict_proba(fresh.swap())
    assert model.symmetric
    np.testing.assert_allclose(swapped, straight[:, [1, 0, 2]], atol=1e-12)
    # Constant predictions would pass.
    assert straight.std(axis=0).min() > 0.01


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_planted_signal_is_found(setting: dict[str, Any], train: Battles, fresh: Battles) -> None:
    prior = log_loss(Prior().fit(train).predict_proba(fresh), fresh.labels)
    proba = Structure(**FAST, **setting).fit(train).predict_proba(fresh)
    assert log_loss(proba, fresh.labels) < prior - 0.3


@pytest.mark.parametrize("learner", ["both", "logistic", "lightgbm"])
def test_shuffled_winners_give_no_signal(learner: str, train: Battles) -> None:
    rng = np.random.default_rng(5)
    shuffled = replace(train, winner=rng.permutation(train.labels))
    fold = assign_folds(shuffled, 2)
    scores = {"structure": 0.0, "prior": 0.0}
    for k in (0, 1):
        rest, scored = shuffled.take(fold != k), shuffled.take(fold == k)
        weight = len(scored) / len(shuffled)
        # The defaults, whose strong regularisation is what is tested here.
        model = Structure(learner=learner, seeds=1)  # type: ignore[arg-type]
        scores["structure"] += weight * log_loss(model.fit(rest).predict_proba(scored), scored.labels)
        scores["prior"] += weight * log_loss(Prior().fit(rest).predict_proba(scored), scored.labels)
    assert scores["structure"] > scores["prior"] - 0.01


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("absent", [(2,), (0,), (0, 1), (0, 2)])
def test_a_missing_outcome_is_unlikely_and_not_impossible(
    setting: dict[str, Any], absent: tuple[int, ...], train: Battles, fresh: Battles
) -> None:
    some = train.take(~np.isin(train.labels, absent))
    proba = Structure(**FAST, **setting).fit(some).predict_proba(fresh)
    assert proba.shape == (len(fresh), 3)
    assert np.isfinite(proba).all()
    assert (proba > 1e-9).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    if 2 in absent:
        assert proba[:, 2].mean() < 0.1
    if {0, 1} <= set(absent):
        assert proba[:, 2].mean() > 0.9


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_loaded_model_predicts_the_same_to_the_last_bit(
    setting: dict[str, Any], train: Battles, fresh: Battles, tmp_path: Path
) -> None:
    model = Structure(**FAST, **setting).fit(train)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    np.testing.assert_array_equal(again.predict_proba(fresh), model.predict_proba(fresh))
    assert again.report() == model.report()
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".txt"}


def test_a_prediction_depends_neither_on_other_rows_nor_on_the_call(train: Battles, fresh: Battles) -> None:
    model = Structure(**FAST).fit(train)
    whole = model.predict_proba(fresh)
    alone = np.vstack([model.predict_proba(fresh.take([i])) for i in range(5)])  # type: ignore[arg-type]
    np.testing.assert_array_equal(alone, whole[:5])
    backwards = np.arange(len(fresh))[::-1]
    np.testing.assert_array_equal(model.predict_proba(fresh.take(backwards)), whole[backwards])
    np.testing.assert_array_equal(Structure(**FAST).fit(train).predict_proba(fresh), whole)
    assert (Structure(**FAST, seed=9).fit(train).predict_proba(fresh) != whole).any()
    assert model.predict_proba(fresh.take(slice(0, 0))).shape == (0, 3)


def test_the_number_of_threads_does_not_matter(train: Battles, fresh: Battles) -> None:
    one, two = (
        Structure(learner="lightgbm", rounds=3, tie_rounds=2, seeds=1, trees=TreeParameters(threads=n))
        for n in (1, 2)
    )
    np.testing.assert_array_equal(two.fit(train).predict_proba(fresh), one.fit(train).predict_proba(fresh))


def test_model_names_do_not_matter(train: Battles, fresh: Battles) -> None:
    # Names that reveal the winner, in training and in prediction.
    def tell(battles: Battles) -> Battles:
        marks = [object_array([f"{side}{w}" for w in battles.labels]) for side in "ab"]
        return replace(battles, model_a=marks[0], model_b=marks[1])

    plain = Structure(**FAST).fit(replace(train, model_a=None, model_b=None)).predict_proba(fresh)
    np.testing.assert_array_equal(Structure(**FAST).fit(tell(train)).predict_proba(tell(fresh)), plain)
    unlabelled = replace(fresh, model_a=None, model_b=None, winner=None)
    np.testing.assert_array_equal(Structure(**FAST).fit(train).predict_proba(unlabelled), plain)


def test_the_logistic_heads_are_scikit_learns(train: Battles, fresh: Battles) -> None:
    # The same model by its textbook definition, without the code under test.
    groups = ("length", "similarity")
    f, g = count_features(train, groups), count_features(fresh, groups)
    decided = train.labels != 2
    odd = np.vstack([f.odd[decided], -f.odd[decided]])
    scale = np.sqrt((odd**2).mean(axis=0))
    first = np.concatenate([train.labels[decided] == 0, train.labels[decided] == 1])
    margin = LogisticRegression(C=0.5, fit_intercept=False).fit(np.clip(odd / scale, -3, 3), first)
    centre, spread = f.even.mean(axis=0), f.even.std(axis=0)
    spread[spread == 0] = 1
    tie = LogisticRegression(C=0.5, max_iter=1000).fit(
        np.clip((f.even - centre) / spread, -3, 3), train.labels == 2
    )
    p_first = margin.predict_proba(np.clip(g.odd / scale, -3, 3))[:, 1]
    p_tie = tie.predict_proba(np.clip((g.even - centre) / spread, -3, 3))[:, 1]
    expected = np.stack([(1 - p_tie) * p_first, (1 - p_tie) * (1 - p_first), p_tie], axis=1)
    got = Structure(learner="logistic", groups=groups, penalty=2.0).fit(train)
    np.testing.assert_allclose(got.predict_proba(fresh), expected, atol=1e-4)
    # One length difference, without intercept; two lengths, the prompt's and nine similarities, and an intercept.
    assert got.report() == {"parameters": 1 + 12 + 1}


def test_the_trees_are_lightgbms_averaged_over_both_orders_and_seeds(train: Battles, fresh: Battles) -> None:
    model = Structure(**FAST, learner="lightgbm", groups=("length", "similarity")).fit(train)
    g = count_features(fresh, model.groups)
    boosters = [lgb.Booster(model_str=b.model_to_string()) for b in model.boosters_["margin"]]
    odds = []
    for booster in boosters:
        for sign in (1, -1):
            p = np.asarray(booster.predict(np.hstack([sign * g.odd, g.even])))
            odds.append(sign * np.log(p / (1 - p)))
    p_first = 1 / (1 + np.exp(-np.mean(odds, axis=0)))
    got = model.predict_proba(fresh)
    np.testing.assert_allclose(got[:, 0] / (got[:, 0] + got[:, 1]), p_first, atol=1e-9)
    assert [b.num_trees() for b in boosters] == [40, 40]


def test_both_is_the_geometric_mean(train: Battles, fresh: Battles) -> None:
    one, two, both = (
        Structure(**FAST, learner=learner).fit(train).predict_proba(fresh)  # type: ignore[arg-type]
        for learner in ("logistic", "lightgbm", "both")
    )
    product = np.sqrt(one * two)
    np.testing.assert_allclose(both, product / product.sum(axis=1, keepdims=True), atol=1e-12)


def test_swapped_copies_of_the_battles_do_not_change_the_margin(train: Battles, fresh: Battles) -> None:
    # Training uses both orders, so adding the swapped battles doubles every row and halves the penalty.
    once = Structure(learner="logistic", penalty=50).fit(train).predict_proba(fresh)
    twice = Structure(learner="logistic", penalty=100).fit(concatenate([train, train.swap()])).predict_proba(fresh)
    np.testing.assert_allclose(twice, once, atol=2e-3)


def test_refused_hyperparameters_say_what_was_expected() -> None:
    with pytest.raises(UserError, match="Did you mean 'length'"):
        build("structure", groups=["lengths"])
    with pytest.raises(UserError, match="do not distinguish A from B"):
        build("structure", groups=["prompt"])
    with pytest.raises(UserError, match="seeds = 0: expected 1 or more"):
        build("structure", seeds=0)
    with pytest.raises(UserError, match="expected one of 'both', 'logistic', 'lightgbm'"):
        build("structure", learner="forest")


@pytest.mark.parametrize("name", ["structure", "lengths"])
def test_its_experiment_files_hold_only_differences_from_the_defaults(name: str) -> None:
    file = Path(__file__).parents[2] / "experiments" / f"{name}.toml"
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    settings = table["model"]
    model = build(settings.pop("name"), **settings)
    assert all(getattr(Structure(), key) != value for key, value in settings.items())
    assert isinstance(model, Structure)
    assert "style" in GROUPS
    assert "style" not in model.groups


def test_the_saved_logistic_model_is_readable(train: Battles, tmp_path: Path) -> None:
    Structure(learner="logistic", groups=("length",)).fit(train).save(tmp_path)
    kept = json.loads((tmp_path / "logistic.json").read_text(encoding="utf-8"))
    assert kept["margin"]["centre"] == [0.0]
    assert kept["margin"]["intercept"] == [0.0]
    # The longer answer wins in these battles.
    assert kept["margin"]["weights"][0][0] > 0


@pytest.mark.parametrize(
    "setting",
    [
        {"rounds": 0},
        {"trees": {"leaves": 1}},
        {"penalty": 0.0},
        {"trees": {"column_share": 2.0}},
        {"trees": {"row_share": 0.0}},
        {"clip": -1.0},
    ],
)
def test_hyperparameters_out_of_bounds_are_refused_before_any_work(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        build("structure", **setting)


# --- Monitored


@pytest.mark.parametrize("settings", SETTINGS)
def test_fit_reports_every_quarter_to_its_monitor_and_learns_the_same(settings, tmp_path: Path):
    train, judged, reported = simulated(), simulated(90, seed=1), []
    alone = Structure(**FAST, **settings).fit(train)
    monitored = Structure(**FAST, **settings)
    monitored.fit(train, monitor=Monitor(judged, lambda *step: reported.append(step)))
    assert np.array_equal(alone.predict_proba(judged), monitored.predict_proba(judged))
    assert [step for step, _ in reported] == ([4] if settings["learner"] == "logistic" else [1, 2, 3, 4])
    assert reported[-1][1] == pytest.approx(log_loss(alone.predict_proba(judged), judged.labels), abs=1e-12)
    if settings["learner"] == "lightgbm":
        # After the first quarter it is the model with a quarter of the rounds.
        young = Structure(**(FAST | {"rounds": 10, "tie_rounds": 7}), **settings).fit(train)
        assert reported[0][1] == pytest.approx(log_loss(young.predict_proba(judged), judged.labels), abs=1e-12)


def test_an_exception_in_the_monitor_ends_the_fit():
    def enough(step, loss):
        if step == 2:
            raise StopIteration

    with pytest.raises(StopIteration):
        Structure(**FAST).fit(simulated(), monitor=Monitor(simulated(30, seed=1), enough))

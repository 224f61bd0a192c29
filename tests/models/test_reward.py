"""The scores of a reward model become calibrated probabilities inside the training battles."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairrank.data.battles import Battles
from pairrank.encoders.catalogue import find_encoder
from pairrank.encoders.reward_scores import Scorer
from pairrank.errors import UserError
from pairrank.evaluation.score_files import read_scores
from pairrank.evaluation.scoring import log_loss
from pairrank.models.base import build
from pairrank.models.reward import Reward
from pairrank.models.saving import load_model, save_model
from pairrank.vector_cache import open_cache
from tests.support.architectures import WINDOW
from tests.support.battles import WORDS, arena_of_words, conversations
from tests.support.reward_models import write_reward_model
from tests.support.scores import outcome_proba, voted_on

TURNS = st.lists(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join), min_size=1, max_size=3).map(tuple)
BATTLES = st.lists(st.tuples(TURNS, TURNS, TURNS), min_size=1, max_size=12).map(lambda rows: conversations(*rows))
KINDS = [("bert", False), ("llama", True)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PAIRRANK_NO_CACHE", raising=False)
    return tmp_path / "cache" / "vectors.sqlite"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Reward]:
    """A model of each kind and precision, fitted once for properties that are tested on many battles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAIRRANK_NO_CACHE", "1")
        return {
            (kind, precision): make(
                write_reward_model(tmp_path_factory.mktemp(kind), kind, chat=chat), precision=precision
            ).fit(arena_of_words(40))
            for kind, chat in KINDS
            for precision in ("fp32", "bf16")
        }


def make(folder: Path, **options) -> Reward:
    return Reward(**{"encoder": [str(folder)], "max_tokens": WINDOW, "precision": "fp32"} | options)


def put_scores(model: Reward, battles: Battles, scores: np.ndarray) -> None:
    """Put the scores (n, 2) of both answers into the cache, in place of those of the reward model."""
    reader = Scorer(find_encoder(model.encoder), model.max_tokens, model.budget, model.template, model.precision)
    texts = [
        text for side in (battles.response_a, battles.response_b) for text in zip(battles.prompt, side, strict=True)
    ]
    keys = reader.keys(texts)
    values = scores.T.ravel().astype(np.float32)
    open_cache().put({keys[text]: value[None] for text, value in zip(texts, values, strict=True)})


# --- Symmetry


@pytest.mark.parametrize("kind", ["bert", "llama"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@given(battles=BATTLES)
@settings(
    deadline=None,
    max_examples=6,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_predicting_commutes_with_swapping(fitted, kind: str, precision: str, battles: Battles):
    model = fitted[kind, precision]
    swapped = model.predict_proba(battles.swap())[:, [1, 0, 2]]
    assert swapped == pytest.approx(model.predict_proba(battles), abs=1e-12)


def test_fitting_on_swapped_battles_gives_the_same_model(tmp_path: Path):
    folder = write_reward_model(tmp_path / "model")
    battles, unseen = arena_of_words(60), arena_of_words(20, seed=3)
    straight, swapped = (make(folder).fit(each).predict_proba(unseen) for each in (battles, battles.swap()))
    assert swapped == pytest.approx(straight, abs=1e-4)


# --- Calibration


@pytest.fixture(scope="module")
def votes() -> tuple[Battles, np.ndarray]:
    return voted_on(4_000)


def first(votes: tuple[Battles, np.ndarray], n: int) -> tuple[Battles, np.ndarray]:
    return votes[0].take(slice(n)), votes[1][:n]


def test_true_scores_approach_the_loss_of_the_true_probabilities(tmp_path: Path, votes):
    """The votes follow Davidson's model of the scores: its mean loss is what no model can beat."""
    battles, scores = votes
    model = make(write_reward_model(tmp_path / "model"))
    put_scores(model, battles, scores)
    train, test = slice(3_000), slice(3_000, None)
    proba = model.fit(battles.take(train)).predict_proba(battles.take(test))
    winner = battles.labels[test]
    known = -np.log(outcome_proba(scores[test])[np.arange(1_000), winner]).mean()
    assert log_loss(proba, winner) < known + 0.01
    assert log_loss(proba, winner) > known - 0.005
    # The unit of the scores does not matter. A number is fitted for each of three columns, and an intercept.
    put_scores(other := make(write_reward_model(tmp_path / "other", "llama")), battles, 100 * scores)
    scaled = other.fit(battles.take(train)).predict_proba(battles.take(test))
    assert scaled == pytest.approx(proba, abs=1e-4)
    assert model.report()["parameters"] == 4


def test_it_is_as_good_as_a_temperature_for_a_file_of_the_same_scores(tmp_path: Path, votes):
    battles, scores = first(votes, 2_000)
    rows = [f"{name},{a!r},{b!r}" for name, (a, b) in zip(battles.id, scores.tolist(), strict=True)]
    (tmp_path / "scores.csv").write_text("\n".join(["id,score_a,score_b", *rows]))
    file = read_scores(tmp_path / "scores.csv", battles).predictions
    model = make(write_reward_model(tmp_path / "model"))
    put_scores(model, battles, scores)
    half = np.arange(2_000) % 2 == 0
    ours = model.fit(battles.take(half)).predict_proba(battles.take(~half))
    assert log_loss(ours, battles.labels[~half]) < log_loss(file.proba[~half], battles.labels[~half]) + 0.01


def test_scores_without_information_give_the_prior(tmp_path: Path, votes):
    battles, scores = votes
    model = make(write_reward_model(tmp_path / "model"))
    put_scores(model, battles, np.random.default_rng(9).normal(size=scores.shape))
    proba = model.fit(battles).predict_proba(battles)
    tie = (battles.labels == 2).mean()
    assert proba == pytest.approx(np.tile([(1 - tie) / 2, (1 - tie) / 2, tie], (len(battles), 1)), abs=0.08)
    assert np.abs(proba - [(1 - tie) / 2, (1 - tie) / 2, tie]).mean() < 0.02


def test_equal_scores_give_exactly_the_prior_and_equal_sides(tmp_path: Path, votes):
    battles, scores = first(votes, 300)
    model = make(write_reward_model(tmp_path / "model"))
    put_scores(model, battles, np.full_like(scores, 3.0))
    proba = model.fit(battles).predict_proba(battles)
    assert np.array_equal(proba[:, 0], proba[:, 1])
    assert proba[:, 2] == pytest.approx((battles.labels == 2).mean(), abs=1e-4)


def test_reversed_scores_are_turned_round(tmp_path: Path, votes):
    battles, scores = first(votes, 500)
    model = make(write_reward_model(tmp_path / "model"))
    put_scores(model, battles, -scores)
    proba = model.fit(battles).predict_proba(battles)
    higher = np.where(scores[:, 0] > scores[:, 1], 0, 1)
    assert (proba[:, :2].argmax(axis=1) == higher).all()


def test_a_higher_difference_of_scores_means_fewer_ties_if_votes_say_so(tmp_path: Path, votes):
    battles, scores = votes
    model = make(write_reward_model(tmp_path / "model"))
    put_scores(model, battles, scores)
    tie = model.fit(battles).predict_proba(battles)[:, 2]
    order = np.argsort(np.abs(scores[:, 0] - scores[:, 1]))
    assert tie[order[:500]].mean() > 2 * tie[order[-500:]].mean()
    assert np.corrcoef(tie, outcome_proba(scores)[:, 2])[0, 1] > 0.95


# --- Saving


def test_a_reloaded_model_predicts_the_very_same_without_its_training(tmp_path: Path, cache: Path):
    folder = write_reward_model(tmp_path / "model", "llama", chat=True)
    model = make(folder).fit(arena_of_words(30))
    unseen = arena_of_words(9, seed=2)
    expected = model.predict_proba(unseen)
    save_model(model, tmp_path / "saved")
    cache.unlink()
    assert np.array_equal(load_model(tmp_path / "saved").predict_proba(unseen), expected)


def test_load_refuses_another_reward_model_than_the_one_it_was_fitted_on(tmp_path: Path):
    folder = write_reward_model(tmp_path / "model")
    save_model(make(folder).fit(arena_of_words(12)), tmp_path / "saved")
    shutil.rmtree(folder)
    write_reward_model(folder, "llama")
    with pytest.raises(UserError, match=r"trained on an encoder with SHA-256 \w{64}, but .* now has \w{64}"):
        load_model(tmp_path / "saved")


# --- Refusals


@pytest.mark.parametrize("key", ["max_tokens", "penalty"])
def test_values_out_of_bounds_are_refused_by_name(key: str):
    with pytest.raises(UserError, match=f"model 'reward': {key} = 0"):
        build("reward", **{key: 0})


@pytest.mark.parametrize("name", ["frozen", "likelihood", "reward"])
def test_quantised_weights_without_a_gpu_are_one_message_before_anything_is_opened(name: str, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^base_bits = 4: needs an NVIDIA GPU"):
        build(name, encoder=["not/there"], base_bits=4).fit(arena_of_words(6))


def test_weights_of_16_bits_change_the_scores_but_little(tmp_path: Path):
    folder, battles = write_reward_model(tmp_path / "model", "llama"), arena_of_words(24)
    full, half = (make(folder, base_bits=bits).fit(battles) for bits in (32, 16))
    one, other = (model._columns(battles).odd for model in (full, half))
    assert 0 < np.abs(one - other).max() < 0.05 * np.abs(one).max()


def test_a_classifier_of_three_outcomes_is_refused_with_what_was_found(tmp_path: Path):
    folder = write_reward_model(tmp_path / "model", outputs=3)
    with pytest.raises(UserError, match="its head has 3 outputs, expected one"):
        make(folder).fit(arena_of_words(6))


def test_battles_that_teach_one_head_alone_are_used_for_it(tmp_path: Path):
    """Votes that say nothing of ties leave the tie head as it is, and move the margin."""
    folder = write_reward_model(tmp_path / "model")
    battles = arena_of_words(60)
    unseen = arena_of_words(20, seed=3)
    plain = make(folder).fit(battles.take(slice(40))).predict_proba(unseen)
    teaches = np.array(["both"] * 40 + ["margin"] * 20, dtype=object)
    more = make(folder).fit(replace(battles, teaches=teaches)).predict_proba(unseen)
    assert more[:, 2] == pytest.approx(plain[:, 2], abs=1e-12)
    assert np.abs(more - plain).max() > 1e-4

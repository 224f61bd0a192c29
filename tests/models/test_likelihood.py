from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles
from pairrank.encoders.likelihoods import STATISTICS, LikelihoodReader
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.models.base import build
from pairrank.models.likelihood import Likelihood
from pairrank.models.saving import load_model, save_model
from tests.support.battles import arena_of_words, conversations
from tests.support.language_models import write_language_model

SMALL_TREES = {"rounds": 8, "tie_rounds": 8, "seeds": 1, "trees": {"min_leaf": 2}}
READERS = {
    "structure": SMALL_TREES,
    "kernel": {},
    "gbdt": {"learner": "multinomial"},
}
"""Models that read log-probabilities as an option."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PAIRRANK_NO_CACHE", raising=False)


def make(folder: Path, **options) -> Likelihood:
    return Likelihood(**{"encoder": [str(folder)], "max_tokens": 64} | options)


def battles_by_likelihood(folder: Path, n: int = 120, seed: int = 0) -> Battles:
    """Battles of random letters whose more expected answer wins, where the two differ by much."""
    rng = np.random.default_rng(seed)
    words = ["".join(map(chr, rng.integers(97, 123, 12))) for _ in range(2 * n)]
    battles = conversations(*(((f"p{i}",), (words[2 * i],), (words[2 * i + 1],)) for i in range(n)))
    mean = STATISTICS.index("mean")
    found = make(folder).fit(arena_of_words(12))._columns(battles).odd[:, mean]
    winner = np.where(np.abs(found) < np.quantile(np.abs(found), 0.3), 2, (found < 0).astype(int))
    return replace(battles, winner=winner)


def test_it_learns_that_the_more_expected_answer_wins(tiny_lm: Path):
    battles, unseen = (battles_by_likelihood(tiny_lm, seed=seed) for seed in (0, 1))
    model = make(tiny_lm, penalty=1.0, lengths=False).fit(battles)
    prior = np.tile(np.bincount(battles.labels, minlength=3) / len(battles), (len(unseen), 1))
    assert log_loss(model.predict_proba(unseen), unseen.labels) < log_loss(prior, unseen.labels) - 0.2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predicting_commutes_with_swapping(tiny_lm: Path, precision: str, monkeypatch):
    monkeypatch.setenv("PAIRRANK_NO_CACHE", "1")
    battles = arena_of_words(30)
    model = make(tiny_lm, precision=precision).fit(battles)
    swapped = model.predict_proba(battles.swap())[:, [1, 0, 2]]
    assert swapped == pytest.approx(model.predict_proba(battles), abs=1e-6)


def test_another_penalty_reads_the_cached_numbers(tiny_lm: Path, monkeypatch):
    battles = arena_of_words(20)
    first = make(tiny_lm).fit(battles)
    monkeypatch.setattr(LikelihoodReader, "_model", property(lambda _: pytest.fail("a model was loaded")))
    other = make(tiny_lm, penalty=1.0).fit(battles)
    assert np.abs(other.predict_proba(battles) - first.predict_proba(battles)).max() > 1e-4
    assert len(first.linear_["margin"].weights[0]) == len(STATISTICS) + 1


@pytest.mark.parametrize("key", ["max_tokens", "penalty", "clip"])
def test_values_out_of_bounds_are_refused_by_name(key: str):
    with pytest.raises(UserError, match=f"model 'likelihood': {key} = 0"):
        build("likelihood", **{key: 0})


@pytest.mark.parametrize("name", ["likelihood", *READERS])
def test_load_refuses_another_language_model_than_the_one_it_was_trained_on(tmp_path: Path, name: str):
    folder = write_language_model(tmp_path / "lm")
    option = {"encoder": [str(folder)]} if name == "likelihood" else {"likelihood": [str(folder)]}
    model = build(name, **option, **READERS.get(name, {})).fit(arena_of_words(16))
    save_model(model, tmp_path / "saved")
    unseen = arena_of_words(9, seed=2)
    loaded = load_model(tmp_path / "saved")
    assert np.array_equal(loaded.predict_proba(unseen), model.predict_proba(unseen))
    assert model.report()["encoder"] == loaded.report()["encoder"] != {}
    write_language_model(folder, seed=1)
    with pytest.raises(UserError, match=r"trained on an encoder with SHA-256 \w{64}, but .* now has \w{64}"):
        load_model(tmp_path / "saved")


@pytest.mark.parametrize("name", READERS)
def test_log_probabilities_alone_are_enough_columns(tiny_lm: Path, name: str):
    battles = arena_of_words(16)
    model = build(name, groups=[], likelihood=[str(tiny_lm)], **READERS[name]).fit(battles)
    assert np.abs(model.predict_proba(battles) - model.predict_proba(battles).mean(axis=0)).max() > 1e-4
    with pytest.raises(UserError):
        build(name, groups=[], **READERS[name]).fit(battles)


@pytest.mark.parametrize("name", READERS)
def test_without_a_language_model_nothing_of_it_is_saved_or_reported(tmp_path: Path, name: str):
    model = build(name, **READERS[name]).fit(arena_of_words(16))
    save_model(model, tmp_path)
    assert not (tmp_path / "encoder.json").exists()
    assert "encoder" not in model.report()

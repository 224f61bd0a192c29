"""Every model with an encoder trains on every architecture, or ends in one message."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pairrank.data.battles import Battles, concatenate
from pairrank.encoders.catalogue import find_encoder
from pairrank.models.base import Model, build, parameters_of
from pairrank.models.saving import load_model, save_model
from tests.support.architectures import ARCHITECTURES, CAUSAL, WINDOW, write_checkpoint
from tests.support.battles import arena_of_words, plain_battles
from tests.support.fine_tuning import FAST
from tests.support.language_models import ROOM, write_language_model
from tests.support.runs import complaint

ONE_STEP = dataclasses.asdict(replace(FAST, epochs=1, batch_size=16, warmup=0.0))
LANES: dict[str, dict[str, Any]] = {
    "baseline": {"training": ONE_STEP, "max_tokens": WINDOW},
    "siamese": {"training": ONE_STEP, "max_tokens": WINDOW, "hidden": 8},
    "frozen": {"max_tokens": WINDOW, "precision": "fp32"},
    "judge": {"training": ONE_STEP, "max_tokens": ROOM},
}
"""Models that read pretrained encoders, with parameters that make them fast."""
FAST_CASES = {("baseline", "llama"), ("siamese", "gpt2"), ("frozen", "t5"), ("judge", "qwen2")}
"""One architecture for each model is tested by the fast tests: the others are slow."""
REFUSED = {("baseline", "t5"): "a classifier of t5 needs encoder and decoder"} | {
    ("judge", name): "is not a causal language model" for name in ARCHITECTURES if name not in CAUSAL
}
"""Pairs that cannot work, with what the message says."""


@dataclass(frozen=True)
class Trained:
    """A model that was trained for one step on an encoder, and what it predicts."""

    lane: str
    architecture: str
    folder: Path
    model: Model
    predictions: np.ndarray


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """A function that returns the folder of an architecture's random checkpoint for a model.

    It is written once, and once more with room for the question of `judge`.
    """
    written: dict[tuple[str, bool], Path] = {}

    def folder_of(lane: str, name: str) -> Path:
        key = name, lane == "judge" and name in CAUSAL
        if key not in written:
            write = write_language_model if key[1] else write_checkpoint
            written[key] = write(tmp_path_factory.mktemp(name), name)
        return written[key]

    return folder_of


def as_case(lane: str, architecture: str) -> Any:
    marks = () if (lane, architecture) in FAST_CASES else pytest.mark.slow
    return pytest.param((lane, architecture), marks=marks, id=f"{lane}-{architecture}")


CASES = [(lane, name) for lane in LANES for name in ARCHITECTURES if (lane, name) not in REFUSED]


@pytest.fixture(scope="module")
def unseen() -> Battles:
    """Short and long battles, one with the names of special tokens, one without an answer."""
    long = " ".join(["good", "red"] * 60)
    odd = plain_battles((long, long, "bad"), ("why </s> [SEP] <|endoftext|>", "good <pad>", ""), ("", "yes", "no"))
    both = concatenate([arena_of_words(5, seed=3), odd])
    return replace(both, id=np.array([str(i) for i in range(len(both))], dtype=object))


@pytest.fixture(scope="module", params=[as_case(*case) for case in CASES])
def trained(request: pytest.FixtureRequest, checkpoint: Callable[[str, str], Path], unseen: Battles) -> Trained:
    lane, name = request.param
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PAIRRANK_NO_CACHE", "1")
        folder = checkpoint(lane, name)
        model = build(lane, encoder=[str(folder)], **LANES[lane]).fit(arena_of_words(16))
        return Trained(lane, name, folder, model, model.predict_proba(unseen))


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute all vectors, which a cache would only repeat."""
    monkeypatch.setenv("PAIRRANK_NO_CACHE", "1")


def test_a_trained_model_predicts_probabilities_that_depend_on_the_text(trained: Trained):
    assert trained.predictions == pytest.approx(trained.predictions / trained.predictions.sum(axis=1)[:, None])
    assert (trained.predictions > 0).all()
    assert len(np.unique(trained.predictions.round(9), axis=0)) == len(trained.predictions)


@pytest.mark.parametrize("trained", [as_case(*case) for case in CASES if case[0] != "frozen"], indirect=True)
def test_one_step_changes_the_weights_of_a_fine_tuned_encoder(trained: Trained):
    opened = build(trained.lane, encoder=[str(trained.folder)], **LANES[trained.lane])
    opened._start_from(find_encoder(opened.encoder))  # type: ignore[attr-defined]
    before, after = (dict(model.module_.pretrained.named_parameters()) for model in (opened, trained.model))  # type: ignore[attr-defined]
    assert before.keys() == after.keys()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    # Only vectors of tokens and positions that no text has, and layers above the pooled token, stay as they are.
    assert len(changed) >= 0.8 * len(before)
    assert all(parameter.isfinite().all() for parameter in after.values())


def test_a_battle_is_predicted_the_same_in_company_as_alone(trained: Trained, unseen: Battles):
    alone = [trained.model.predict_proba(unseen.take(slice(i, i + 1)))[0] for i in range(len(unseen))]
    assert np.array(alone) == pytest.approx(trained.predictions, abs=1e-5)


def test_a_saved_model_predicts_the_same(trained: Trained, unseen: Battles, tmp_path: Path):
    save_model(trained.model, tmp_path)
    loaded = load_model(tmp_path)
    assert parameters_of(loaded) == parameters_of(trained.model)
    assert np.array_equal(loaded.predict_proba(unseen), trained.predictions)
    save_model(loaded, tmp_path / "again")
    assert np.array_equal(load_model(tmp_path / "again").predict_proba(unseen), trained.predictions)


def test_a_symmetric_model_commutes_with_a_swap(trained: Trained, unseen: Battles):
    swapped = trained.model.predict_proba(unseen.swap())
    if trained.model.symmetric:
        assert swapped[:, [1, 0, 2]] == pytest.approx(trained.predictions, abs=1e-6)
    else:
        assert np.abs(swapped[:, [1, 0, 2]] - trained.predictions).max() > 1e-4


@pytest.mark.parametrize("lane", [lane for lane in LANES if lane != "judge"])  # fnet is not a causal decoder
def test_an_architecture_that_ignores_the_attention_mask_is_refused(tmp_path: Path, lane: str):
    folder = write_checkpoint(tmp_path, "bert", model_type="fnet")
    message = complaint(lambda: build(lane, encoder=[str(folder)], **LANES[lane]).fit(arena_of_words(16)))
    assert "its output for a text depends on the padding after it" in message


@pytest.mark.parametrize(("lane", "architecture"), REFUSED)
def test_a_pair_that_cannot_work_is_refused(checkpoint: Callable[[str, str], Path], lane: str, architecture: str):
    model = build(lane, encoder=[str(checkpoint(lane, architecture))], **LANES[lane])
    assert REFUSED[lane, architecture] in complaint(lambda: model.fit(arena_of_words(16)))

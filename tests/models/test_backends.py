"""A model keeps to the backend that it was fitted with, and says which one it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pairrank.encoders import backend_choice
from pairrank.errors import UserError
from pairrank.models import fine_tuned
from pairrank.models.base import Model, build
from pairrank.models.saving import load_model, save_model
from pairrank.training.recipe import Recipe
from tests.support.architectures import WINDOW
from tests.support.battles import arena_of_words

BATTLES = arena_of_words(24)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PAIRRANK_NO_CACHE", raising=False)


def make(name: str, encoder: Path, **options) -> Model:
    if name != "frozen":
        options["training"] = Recipe(epochs=1, precision="bf16")
    else:
        options["precision"] = "bf16"
    return build(name, encoder=[str(encoder)], max_tokens=WINDOW, **options)


@pytest.mark.parametrize("backend", ["eager", "openvino"])
@pytest.mark.parametrize("name", ["frozen", "siamese", "baseline"])
def test_a_saved_model_predicts_by_the_same_backend(name: str, backend: str, tiny_bert: Path, tmp_path: Path):
    if backend == "openvino":
        pytest.importorskip("openvino")
    model = make(name, tiny_bert, backend=backend).fit(BATTLES)
    expected = model.predict_proba(BATTLES)
    save_model(model, tmp_path / "model")
    # Where nothing is requested, what was fitted decides.
    opened = load_model(tmp_path / "model")
    assert opened.backend_ == backend
    assert np.array_equal(opened.predict_proba(BATTLES), expected)
    assert model.report()["device"].endswith(f"bf16, {backend}")


@pytest.mark.parametrize("name", ["frozen", "siamese", "baseline"])
def test_backends_differ_by_rounding_only(name: str, tiny_bert: Path):
    one, two = (make(name, tiny_bert, backend=backend).fit(BATTLES) for backend in ("sdpa", "eager"))
    assert np.abs(one.predict_proba(BATTLES) - two.predict_proba(BATTLES)).max() < 0.05


def test_vectors_of_different_backends_are_never_mixed(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    make("frozen", tiny_bert, backend="sdpa").fit(BATTLES)
    model = make("frozen", tiny_bert, backend="eager").fit(BATTLES)
    from pairrank.encoders.embedding import Embedder

    monkeypatch.setattr(Embedder, "_module", property(lambda _: pytest.fail("a vector was computed again")))
    model.predict_proba(BATTLES)  # all vectors of this backend are in the cache
    model.backend_ = "matmul"
    with pytest.raises(pytest.fail.Exception):
        model.predict_proba(BATTLES)


@pytest.mark.parametrize("name", ["frozen", "siamese", "baseline"])
def test_a_long_run_measures_on_its_own_texts(name: str, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backend_choice, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(backend_choice, "WORTHWHILE", 1.0)
    monkeypatch.setattr(backend_choice, "COMPILES", 1e30)
    rows = []

    def measure(sample, names, precision):
        rows.extend(sample.rows)
        assert len(sample.collate(sample.rows[:2])["input_ids"]) == 2
        return {"sdpa": 1.0, "eager": 2.0}

    monkeypatch.setattr(backend_choice, "measure_backends", measure)
    model = make(name, tiny_bert).fit(BATTLES)
    assert model.backend_ == "eager"
    assert len(rows) >= len(BATTLES)
    again = make(name, tiny_bert).fit(BATTLES)
    assert again.backend_ == "eager"


@pytest.mark.parametrize("name", ["frozen", "siamese", "baseline"])
def test_a_backend_that_is_missing_is_refused_before_training(name: str, tiny_bert: Path, monkeypatch):
    monkeypatch.setattr("pairrank.encoders.backends.reason_against", lambda name: "it is missing")
    monkeypatch.setattr(fine_tuned, "fine_tune_battles", lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(UserError, match="backend = 'openvino': it is missing"):
        make(name, tiny_bert, backend="openvino").fit(replace(BATTLES))

"""A judge learns from battles, treats both answers alike, and is saved without what it leaves unchanged."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pairrank.data.battles import Battles, object_array
from pairrank.data.folder import DataFolder
from pairrank.data.predictions import read_predictions
from pairrank.encoders.adapter_settings import AdapterSettings
from pairrank.encoders.outcome_logits import OutcomeReader
from pairrank.evaluation.scoring import log_loss
from pairrank.files import sha256_of
from pairrank.models import judge
from pairrank.models.heads.calibration import Calibration
from pairrank.models.judge import Judge
from pairrank.models.saving import load_model, save_model
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run
from tests.support.battles import arena_of_words, conversations, write_folder
from tests.support.fine_tuning import FAST
from tests.support.language_models import ROOM, write_language_model
from tests.support.runs import complaint, write_experiment

ADAPTER = AdapterSettings(rank=4, alpha=8.0)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute all readings, which a cache would only repeat."""
    monkeypatch.setenv("PAIRRANK_NO_CACHE", "1")


def make(encoder: Path, **options: Any) -> Judge:
    plain: dict[str, Any] = {"encoder": [str(encoder)], "max_tokens": 200, "training": FAST}
    return Judge(**plain | options)


def zero_shot(encoder: Path, **options: Any) -> Judge:
    return make(encoder, head="zero-shot", **options)


# --- The trained head


@pytest.mark.usefixtures("without_checkpoints")
@pytest.mark.parametrize("adapter", [AdapterSettings(), ADAPTER], ids=["full", "adapter"])
@pytest.mark.slow
def test_fine_tuning_memorises_eight_battles(tiny_language_model: Path, adapter: AdapterSettings):
    battles = replace(arena_of_words(8), winner=np.array([0, 1, 2, 2, 1, 0, 1, 0]))
    recipe = replace(FAST, learning_rate=1e-2, epochs=60, weight_decay=0.0)
    model = make(tiny_language_model, training=recipe, adapter=adapter, both_sides=False).fit(battles)
    proba = model.predict_proba(battles)
    assert proba.argmax(axis=1).tolist() == battles.labels.tolist()
    assert log_loss(proba, battles.labels) < 0.25


def test_every_parameter_has_a_finite_gradient_that_is_not_zero(tiny_language_model: Path):
    model = make(tiny_language_model)
    model._open(tiny_language_model)
    rows = [model._row(text) for text in model._texts(arena_of_words(8))]
    logits = model.module_.eval()(**model._collate(rows))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])).backward()
    for name, parameter in model.module_.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A common shift of all keys does not change the softmax, so that gradient is 0 but for rounding.
        assert parameter.grad.abs().max() > 1e-9 or "k_proj.bias" in name, name


def test_the_head_begins_as_the_seed_draws_it(tiny_language_model: Path):
    heads = []
    for seed in (0, 0, 1):
        model = make(tiny_language_model, seed=seed)
        torch.manual_seed(len(heads))
        model._open(tiny_language_model)
        heads.append(model.module_.head.weight.detach())
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_fine_tuned_judge_is_saved_whole(tiny_language_model: Path, tmp_path: Path):
    base = write_language_model(tmp_path / "base", "qwen2")
    model = make(base).fit(arena_of_words(16))
    save_model(model, tmp_path / "saved")
    for file in base.iterdir():
        file.unlink()
    expected = model.predict_proba(arena_of_words(5, seed=2))
    assert np.array_equal(load_model(tmp_path / "saved").predict_proba(arena_of_words(5, seed=2)), expected)


def test_an_adapter_is_saved_with_its_head_and_without_the_model(tiny_language_model: Path, tmp_path: Path):
    before = sha256_of(tiny_language_model / "model.safetensors")
    model = make(tiny_language_model, adapter=ADAPTER).fit(arena_of_words(16))
    save_model(model, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        *("adapter.safetensors", "encoder.json", "head.safetensors", "model.json")
    ]
    assert sha256_of(tiny_language_model / "model.safetensors") == before
    saved = load_file(tmp_path / "head.safetensors")["head.weight"]
    assert torch.equal(saved, model.module_.head.weight.detach().cpu())
    unseen = arena_of_words(5, seed=2)
    assert np.array_equal(load_model(tmp_path).predict_proba(unseen), model.predict_proba(unseen))
    untrained = make(tiny_language_model, adapter=ADAPTER)
    untrained._open(tiny_language_model)
    assert np.abs(untrained.predict_proba(unseen) - model.predict_proba(unseen)).max() > 1e-3


def test_a_merged_judge_predicts_what_its_adapter_did(tiny_language_model: Path, tmp_path: Path):
    model = make(tiny_language_model, adapter=ADAPTER).fit(arena_of_words(16))
    save_model(model, tmp_path / "adapter")
    merged = make(tiny_language_model, adapter=ADAPTER).load_merged(tmp_path / "adapter")
    save_model(merged, tmp_path / "merged")
    unseen = arena_of_words(5, seed=2)
    expected = pytest.approx(model.predict_proba(unseen), abs=1e-6)
    assert load_model(tmp_path / "merged").predict_proba(unseen) == expected


def test_activation_checkpointing_changes_nothing_even_under_an_adapter(tiny_language_model: Path):
    battles, unseen = arena_of_words(8), arena_of_words(5, seed=2)
    for adapter in (AdapterSettings(), ADAPTER):
        plain, checkpointed = (
            make(
                tiny_language_model,
                adapter=adapter,
                training=replace(FAST, epochs=1, activation_checkpointing=used),
            )
            .fit(battles)
            .predict_proba(unseen)
            for used in (False, True)
        )
        assert checkpointed == pytest.approx(plain, abs=1e-6)


# --- Both orders


def test_both_orders_are_averaged_unless_a_trained_head_reads_one(tiny_language_model: Path):
    battles = arena_of_words(6, seed=1)
    one = make(tiny_language_model, both_sides=False).fit(arena_of_words(16))
    both = make(tiny_language_model).fit(arena_of_words(16))
    assert (one.symmetric, both.symmetric) == (False, True)
    straight, swapped = one.predict_proba(battles), one.predict_proba(battles.swap())[:, [1, 0, 2]]
    assert np.abs(straight - swapped).max() > 1e-5
    mean = np.sqrt(straight * swapped)
    assert both.predict_proba(battles) == pytest.approx(mean / mean.sum(axis=1, keepdims=True), abs=1e-6)


@pytest.mark.parametrize("head", ["trained", "zero-shot"])
def test_swapping_commutes_exactly_in_bf16_for_the_same_battles(tiny_language_model: Path, head):
    recipe = replace(FAST, epochs=1, precision="bf16")
    model = make(tiny_language_model, head=head, training=recipe).fit(arena_of_words(12))
    battles = arena_of_words(6, seed=1)
    assert np.array_equal(model.predict_proba(battles.swap())[:, [1, 0, 2]], model.predict_proba(battles))


@pytest.mark.parametrize("head", ["trained", "zero-shot"])
def test_every_battle_in_a_block_of_its_own_is_predicted_the_same(tiny_language_model: Path, head, monkeypatch):
    model = make(tiny_language_model, head=head, training=replace(FAST, epochs=1)).fit(arena_of_words(12))
    battles = arena_of_words(5, seed=1)
    expected, coverage = model.predict_proba(battles), model.report()["tokens"]
    monkeypatch.setattr(judge, "BLOCK", 1)
    monkeypatch.setattr("pairrank.encoders.outcome_logits.BLOCK", 1)
    assert model.predict_proba(battles) == pytest.approx(expected, abs=1e-5)
    assert model.report()["tokens"] == coverage


# --- Without training


def test_a_zero_shot_judge_is_what_the_model_reads_after_calibration(tiny_language_model: Path):
    train, unseen = arena_of_words(30), arena_of_words(6, seed=1)
    raw, fitted = (zero_shot(tiny_language_model, calibrated=calibrated).fit(train) for calibrated in (False, True))
    assert (raw.learns, fitted.learns) == (False, True)
    assert raw.calibration_ == Calibration()
    assert fitted.predict_proba(unseen) == pytest.approx(fitted.calibration_(raw.predict_proba(unseen)), abs=1e-12)
    assert log_loss(fitted.predict_proba(train), train.labels) < log_loss(raw.predict_proba(train), train.labels)
    report = fitted.report()
    assert report["parameters"] == 2
    assert report["temperature"] == fitted.calibration_.temperature
    assert report["lost_a_side"] == 0
    assert raw.report()["parameters"] == 0


def test_a_judge_without_calibration_needs_no_battles(tiny_language_model: Path):
    none = arena_of_words(4).take(slice(0))
    assert len(zero_shot(tiny_language_model, calibrated=False).fit(none).predict_proba(arena_of_words(3))) == 3
    assert "no battles to learn from" in complaint(lambda: zero_shot(tiny_language_model).fit(none))


def test_a_saved_zero_shot_judge_names_its_model_and_refuses_another(tmp_path: Path):
    base = write_language_model(tmp_path / "base", "qwen2")
    save_model(zero_shot(base).fit(arena_of_words(12)), tmp_path / "saved")
    names = {file.name for file in (tmp_path / "saved").iterdir()}
    assert names == {"model.json", "encoder.json", "calibration.json"}
    load_model(tmp_path / "saved")
    write_language_model(base, "qwen2", initializer_range=0.2)
    message = complaint(lambda: load_model(tmp_path / "saved"))
    assert "trained on an encoder with SHA-256" in message


def test_the_model_is_read_once_for_fit_and_prediction(tiny_language_model: Path, tmp_path: Path, monkeypatch):
    monkeypatch.delenv("PAIRRANK_NO_CACHE")
    monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path / "cache"))
    battles = arena_of_words(9)
    first = zero_shot(tiny_language_model).fit(battles)
    monkeypatch.setattr(OutcomeReader, "_read", lambda *_: pytest.fail("battles were read again"))
    again = zero_shot(tiny_language_model).fit(battles)
    assert np.array_equal(again.predict_proba(battles.take(slice(0, 5))), first.predict_proba(battles)[:5])


# --- What is refused


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_tokens": 0}, "max_tokens = 0: expected 1 or more"),
        ({"head": "zero-shot", "both_sides": False}, "both_sides = false"),
        ({"head": "zero-shot", "swap_augmentation": True}, "swap_augmentation = true"),
        ({"head": "zero-shot", "adapter": ADAPTER}, "adapter.rank = 4"),
        ({"head": "zero-shot", "soft_targets": True, "calibrated": False}, "soft_targets = true"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(options: dict[str, Any], expected: str):
    assert expected in complaint(lambda: Judge(**options))


@pytest.mark.parametrize("head", ["trained", "zero-shot"])
def test_an_encoder_that_is_not_causal_is_refused(tiny_bert: Path, head):
    message = complaint(lambda: make(tiny_bert, head=head).fit(arena_of_words(4)))
    assert "bert is not a causal language model" in message


def test_a_window_that_the_model_has_no_positions_for_is_refused(tiny_language_model: Path):
    message = complaint(lambda: make(tiny_language_model, max_tokens=ROOM + 1).fit(arena_of_words(4)))
    assert f"Set max_tokens to {ROOM} or less" in message


# --- Stacks and large tables


@pytest.mark.slow
def test_predictions_of_a_zero_shot_judge_are_a_column_of_a_stack(tiny_language_model: Path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = DataFolder(write_folder(tmp_path / "data", 30, tests=4))
    settings = f'name = "judge"\nhead = "zero-shot"\nmax_tokens = 200\nencoder = ["{tiny_language_model}"]'
    write_experiment(tmp_path, "judge-tiny", f"[model]\n{settings}\n[model.training]\nprecision = 'fp32'")
    text = 'inputs = ["judge-tiny"]\n[model]\nname = "gbdt"\nlearner = "multinomial"\ngroups = []'
    write_experiment(tmp_path, "stack-tiny", text)
    stack = resolve_run(load_experiment("stack-tiny"), data, tmp_path / "runs")
    cross_validate(stack)
    [judged] = stack.builds_on
    for run in (judged, stack):
        assert len(read_predictions(run.folder / "oof.csv")) == 30
        assert len(read_predictions(run.folder / "test.csv")) == 4
    # Without other columns, the stack predicts the same for battles that the judge predicts the same.
    model = load_model(stack.folder / "fold0")
    asked = replace(data.train, inputs=np.tile([0.5, 0.3, 0.2], (30, 1, 1)), input_names=("judge-tiny",))
    assert np.ptp(model.predict_proba(asked), axis=0).max() < 1e-9


def large(n: int, seed: int = 0) -> Battles:
    """n battles with different texts of a few words."""
    rows = [((f"why {seed} {i}",), (f"good {i}",), (f"bad {i}",)) for i in range(n)]
    return replace(conversations(*rows), id=object_array([str(i) for i in range(n)]))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["trained", "zero-shot"])
def test_the_memory_of_a_prediction_does_not_grow_with_the_table(tiny_language_model: Path, head: str):
    """The tokens of a battle in both orders take more than 1,000 bytes, its results and its key about 550."""
    model = make(tiny_language_model, head=head, training=replace(FAST, epochs=1)).fit(arena_of_words(12))

    def peak(n: int) -> int:
        battles = large(n, seed=n)
        tracemalloc.start()
        model.predict_proba(battles)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    few, many = peak(1_000), peak(4_000)
    assert (many - few) / 3_000 < 700

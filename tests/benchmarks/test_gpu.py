"""The measurement of a GPU counts operations as the other measurements do, and its tiny form runs on a CPU."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import AutoConfig, AutoModel, PreTrainedConfig

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        return importlib.import_module("gpu")


@pytest.fixture(scope="module")
def meter(gpu: ModuleType) -> ModuleType:
    return importlib.import_module("gpu_meter")


@pytest.fixture(scope="module")
def speed_worker() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        return importlib.import_module("speed_worker")


def shape(name: str) -> PreTrainedConfig:
    """The configuration of a random encoder."""
    architecture, sizes = importlib.import_module("gpu_cases").SHAPES[name]
    return AutoConfig.for_model(architecture, **sizes)


def test_the_operations_of_bert_are_those_that_the_comparison_of_speeds_counts(meter, speed_worker):
    encoder = AutoModel.from_config(shape("tiny-bert"))
    layers = meter.layers_of(encoder)
    lengths = [3, 50, 64]
    expected = speed_worker.operations(encoder.config, lengths)
    assert layers.operations(lengths) == pytest.approx(expected)
    # Nothing is frozen and attention is not causal: gradients take twice the forward pass.
    assert layers.operations(lengths, training=True) == pytest.approx(3 * expected)


def test_a_causal_mask_halves_attention_and_frozen_weights_have_no_gradient(meter):
    """One layer of width 4 and 100 weights: 10 tokens take 2,000 operations, and 1,600 more in attention."""
    full = meter.Layers(linear=100, trained=100, width=4, count=1, causal=False)
    causal = meter.Layers(linear=100, trained=0, width=4, count=1, causal=True)
    assert full.operations([10]) == 2_000 + 1_600
    assert causal.operations([10]) == 2_000 + 800
    assert full.operations([10], training=True) == 3 * 2_000 + 3 * 1_600
    assert causal.operations([10], training=True) == 2 * 2_000 + 3 * 800


def test_the_layers_of_a_causal_encoder_are_measured_without_its_vocabulary(meter):
    """A layer has queries and outputs of 32 x 32, keys and values of 32 x 16, and three matrices of 32 x 64."""
    encoder = AutoModel.from_config(shape("tiny-llama"))
    for parameter in encoder.layers[0].parameters():
        parameter.requires_grad_(False)
    layers = meter.layers_of(encoder)
    one = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64
    assert layers == meter.Layers(linear=2 * one, trained=one, width=32, count=2, causal=True)


@pytest.mark.parametrize(
    ("name", "million"), [("minilm", 22.7), ("smollm2", 134.5), ("qwen-0.5b", 494.0)], ids=lambda value: str(value)
)
def test_the_random_encoders_have_the_sizes_of_the_real_ones(gpu, name: str, million: float):
    with torch.device("meta"):
        encoder = AutoModel.from_config(shape(name))
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count / 1e6 == pytest.approx(million, rel=0.01)


def test_without_a_gpu_only_the_tiny_form_runs(gpu, monkeypatch: pytest.MonkeyPatch):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="no GPU was found"):
        gpu.main()


@pytest.mark.slow
def test_the_tiny_form_prints_json_lines_and_a_table(gpu, monkeypatch, capsys, tmp_path: Path):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--out", str(tmp_path / "figures.jsonl")])
    gpu.main()
    out = capsys.readouterr().out
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert rows == [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    found = {(row["name"], row["encoder"]) for row in rows}
    assert {("siamese", "tiny-bert"), ("siamese", "tiny-llama")} <= found
    assert len(found) + out.count("skipped: ") == len(gpu.TINY)
    for row in rows:
        for name in ("train", "predict"):
            assert row[f"{name}_tokens_per_second"] > 100
            assert 0 < row[f"{name}_share_of_product"] < 1
            assert 0 <= row[f"{name}_padding_share"] < 0.5
            assert row[f"{name}_peak_mb"] > 10
            assert ":" in row[f"{name}_attention"]
    assert "tokens/s" in out
    assert "plain product" in out

"""A backend is chosen once for an encoder and a machine: the fastest whose outputs are right."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pairrank.encoders import backend_choice, inference
from pairrank.encoders.backend_choice import (
    WORTHWHILE,
    Sample,
    choose_backend,
    describe_rates,
    known_measurements,
    measure_backends,
    read_backend,
    write_backend,
)
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.devices import default_backend
from pairrank.encoders.transformer import TextEncoder
from pairrank.errors import UserError

LONG = WORTHWHILE * 1e3
"""Tokens of a run that is long for any encoder."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PAIRRANK_NO_CACHE", raising=False)
    monkeypatch.setattr(backend_choice, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(backend_choice, "usable_backends", lambda: ["matmul", "sdpa", "eager"])
    return tmp_path / "cache" / "backends"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of each measurement, whose result is that "eager" is the fastest."""
    calls: list[list[str]] = []

    def measure(sample, names, precision):
        calls.append(list(names))
        return {"matmul": 1.0, "eager": 3.0, "sdpa": 2.0}

    monkeypatch.setattr(backend_choice, "measure_backends", measure)
    return calls


def choose(
    folder: Path,
    requested: str = "auto",
    tokens: float = LONG,
    window: int = 32,
    sha: str = "0" * 64,
    kind: str = "vectors",
) -> str:
    encoder = Encoder("tiny", folder, sha)
    sample = Sample(torch.nn.Identity(), [], dict)
    return choose_backend(requested, encoder, kind, "fp32", window, tokens, lambda: sample)


def test_a_requested_backend_is_used_without_a_measurement(tiny_bert, measured, monkeypatch):
    assert choose(tiny_bert, "sdpa") == "sdpa"
    monkeypatch.setattr("pairrank.encoders.backends.reason_against", lambda name: "it is missing")
    with pytest.raises(UserError, match="backend = 'openvino': it is missing"):
        choose(tiny_bert, "openvino")
    assert not measured


def test_few_texts_use_the_default_without_a_measurement(tiny_bert, measured):
    assert choose(tiny_bert, tokens=1_000) == default_backend()
    assert not measured


def test_many_texts_are_measured_once_and_few_ones_then_use_the_same(tiny_bert, measured, cache):
    assert [choose(tiny_bert), choose(tiny_bert), choose(tiny_bert, tokens=1_000)] == ["eager"] * 3
    assert measured == [["matmul", "sdpa", "eager"]]
    [known] = known_measurements()
    assert describe_rates(known) == "eager 3, sdpa 2, matmul 1 tokens per second"
    assert (known.encoder, known.max_tokens) == ("tiny", 32)


def test_another_encoder_output_window_or_machine_is_measured_again(tiny_bert, measured, monkeypatch):
    choose(tiny_bert)
    choose(tiny_bert, window=64)
    choose(tiny_bert, kind="logits")
    choose(tiny_bert, sha="1" * 64)
    monkeypatch.setattr(backend_choice, "processor", lambda: "another processor")
    choose(tiny_bert)
    assert len(measured) == 5
    assert len(known_measurements()) == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"backend": "eager"}', '{"other": 1}'])
def test_a_damaged_record_is_measured_again(tiny_bert, measured, cache, content):
    choose(tiny_bert)
    [file] = cache.iterdir()
    file.write_text(content)
    assert choose(tiny_bert) == "eager"
    assert len(measured) == 2


def test_of_the_measured_backends_one_that_is_left_is_chosen(tiny_bert, measured, monkeypatch):
    choose(tiny_bert)
    monkeypatch.setattr(backend_choice, "usable_backends", lambda: ["matmul", "sdpa"])
    assert choose(tiny_bert) == "sdpa"
    assert len(measured) == 1


def test_a_new_backend_is_measured_with_the_others(tiny_bert, measured, monkeypatch):
    monkeypatch.setattr(backend_choice, "usable_backends", lambda: ["matmul", "sdpa"])
    choose(tiny_bert)
    monkeypatch.setattr(backend_choice, "usable_backends", lambda: ["matmul", "sdpa", "eager"])
    assert choose(tiny_bert) == "eager"
    assert measured == [["matmul", "sdpa"], ["matmul", "sdpa", "eager"]]


def test_without_a_right_backend_the_default_is_used_and_nothing_is_kept(tiny_bert, monkeypatch, log_lines):
    monkeypatch.setattr(backend_choice, "measure_backends", lambda *_: {})
    assert choose(tiny_bert) == default_backend()
    assert not known_measurements()
    assert any("no backend" in line for line in log_lines)


def test_a_cache_that_cannot_be_written_costs_a_measurement_alone(tiny_bert, measured, monkeypatch, log_lines):
    monkeypatch.setenv("PAIRRANK_CACHE", "/proc/none")
    assert [choose(tiny_bert), choose(tiny_bert)] == ["eager", "eager"]
    assert len(measured) == 2
    assert any("cannot be kept" in line for line in log_lines)


def test_without_a_home_folder_a_short_run_uses_the_default(tiny_bert, measured, monkeypatch):
    def fail() -> Path:
        raise UserError("no home folder")

    monkeypatch.setattr(backend_choice, "cache_folder", fail)
    assert choose(tiny_bert, tokens=1_000) == default_backend()
    assert known_measurements() == []


def test_the_first_of_several_processes_chooses_for_all(tiny_bert, measured, monkeypatch):
    monkeypatch.setattr(backend_choice, "from_first", lambda work: "sdpa")  # what the first process sends
    assert choose(tiny_bert) == "sdpa"
    assert not measured


def test_openvino_is_not_tried_with_weights_that_it_would_copy_at_length(tiny_bert, measured, monkeypatch):
    monkeypatch.setattr(backend_choice, "usable_backends", lambda: ["sdpa", "openvino"])
    monkeypatch.setattr(backend_choice, "COPIED", 1_000)
    choose(tiny_bert)
    assert measured == [["sdpa"]]


def test_8_bit_products_are_never_chosen_by_themselves(tiny_bert, measured, monkeypatch):
    monkeypatch.setattr(backend_choice, "usable_backends", lambda: ["sdpa", "openvino", "openvino-int8"])
    choose(tiny_bert)
    assert measured == [["sdpa", "openvino"]]


def test_compiling_is_tried_for_very_many_texts_only(tiny_bert, measured, monkeypatch):
    monkeypatch.setattr(backend_choice, "usable_backends", lambda: ["sdpa", "compile"])
    weights = sum(file.stat().st_size for file in tiny_bert.glob("*.safetensors")) / 4
    choose(tiny_bert, tokens=WORTHWHILE / weights)
    choose(tiny_bert, tokens=10 * WORTHWHILE / weights)
    assert measured == [["sdpa"], ["sdpa", "compile"]]


def test_a_short_run_does_not_compile_although_a_long_one_did(tiny_bert, monkeypatch):
    monkeypatch.setattr(backend_choice, "usable_backends", lambda: ["matmul", "sdpa", "compile"])
    rates = {"matmul": 1.0, "sdpa": 2.0, "compile": 3.0}
    monkeypatch.setattr(backend_choice, "measure_backends", lambda *_: rates)
    assert [choose(tiny_bert), choose(tiny_bert, tokens=1_000)] == ["compile", "sdpa"]


def test_without_a_cache_and_on_a_gpu_nothing_is_measured(tiny_bert, measured, monkeypatch):
    monkeypatch.setenv("PAIRRANK_NO_CACHE", "1")
    assert choose(tiny_bert) == default_backend()
    monkeypatch.delenv("PAIRRANK_NO_CACHE")
    monkeypatch.setattr(backend_choice, "device", lambda: torch.device("cuda"))
    choose(tiny_bert)
    assert not measured


# --- The measurement


def sample(folder: Path) -> Sample:
    module = TextEncoder(folder, "mean")
    rows = [np.arange(5, 5 + length, dtype=np.int32) for length in (5, 9, 17, 22, 3, 12)]
    return Sample(module, rows, module.collate)


def test_only_backends_whose_outputs_are_right_are_measured(tiny_bert, monkeypatch, log_lines):
    real = backend_choice.open_backend

    def spoiled(name, module, precision):
        if name == "broken":
            raise RuntimeError("no compiler\nfor this architecture")
        opened = real("sdpa", module, precision)
        return {
            "zero": lambda batch: opened(batch) * 0,
            "nan": lambda batch: opened(batch) * float("nan"),
            "sides": lambda batch: opened(batch).flip(0),
        }.get(name, opened)

    monkeypatch.setattr(backend_choice, "open_backend", spoiled)
    rates = measure_backends(sample(tiny_bert), ["sdpa", "zero", "nan", "sides", "broken"], "fp32")
    assert list(rates) == ["sdpa"]
    assert rates["sdpa"] > 0
    assert sum("is not used" in line for line in log_lines) == 4
    assert any("no compiler" in line and "architecture" not in line for line in log_lines)


def test_the_batches_reach_from_short_to_long_texts(tiny_bert, monkeypatch):
    monkeypatch.setattr(inference, "tokens_at_once", lambda: 20)
    seen: list[tuple[int, ...]] = []
    real = backend_choice.open_backend

    def watching(name, module, precision):
        opened = real(name, module, precision)

        def compute(batch):
            seen.append(tuple(batch["input_ids"].shape))
            return opened(batch)

        return compute

    monkeypatch.setattr(backend_choice, "open_backend", watching)
    measure_backends(sample(tiny_bert), ["sdpa"], "fp32")
    widths = {shape[1] for shape in seen}
    assert min(widths) <= 9
    assert max(widths) == 22


# --- A saved model


def test_a_saved_backend_is_read_again(tmp_path):
    assert read_backend(tmp_path) == ""
    write_backend("eager", tmp_path)
    assert read_backend(tmp_path) == "eager"


@pytest.mark.parametrize("content", ['"openvino"', '"unknown"', "3", "0", "null", "[]"])
def test_a_backend_that_cannot_be_used_here_is_replaced_and_named(tmp_path, content, log_lines):
    (tmp_path / "backend.json").write_text(content)
    assert read_backend(tmp_path) == default_backend()
    [line] = log_lines
    assert str(json.loads(content)) in line
    assert default_backend() in line

"""Every backend computes the outputs of transformers, whatever the company of a text, and changes no module."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from transformers import AutoModel

from pairrank.encoders import backends, devices
from pairrank.encoders.backends import OPENVINO, open_backend, reason_against, require_backend, usable_backends
from pairrank.encoders.inference import Batch, compute_outputs
from pairrank.encoders.transformer import TextEncoder
from pairrank.errors import UserError
from tests.support.architectures import ARCHITECTURES, some_fast, write_checkpoint

QUICK = ["matmul", "sdpa", "eager", "openvino", "openvino-int8"]
"""All backends but "compile", which takes half a minute."""
SLIDING = ["gemma3", "modernbert"]
"""Architectures with a sliding window, where OpenVINO returns NaN for windows of padding alone."""
EXACT = [name for name in QUICK if name != "openvino-int8"]
"""Those whose outputs differ by rounding alone."""
ROUGH = 0.05
"""Largest difference of outputs in bf16, whose mean size is about 1."""


def batch(*lengths: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 30, (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def need(backend: str) -> None:
    if backend in OPENVINO:
        pytest.importorskip("openvino")


def mean_of_tokens(folder: Path, rows: Batch) -> torch.Tensor:
    """The mean over the tokens, from transformers and in fp32."""
    model = AutoModel.from_pretrained(folder).eval()
    inside = rows["attention_mask"][:, :, None]
    with torch.no_grad():
        vectors = model(**rows).last_hidden_state
    mean: torch.Tensor = (vectors * inside).sum(1) / inside.sum(1)
    return mean


def compute(backend: str, module: nn.Module, precision: str, rows: Batch) -> torch.Tensor:
    with torch.inference_mode():
        return open_backend(backend, module, precision)(rows).float()


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("name", some_fast(set(ARCHITECTURES) - {"t5"}, ("bert", "gpt2")))
def test_every_backend_computes_what_transformers_does(name: str, backend: str, tmp_path: Path):
    need(backend)
    if backend == "openvino" and name in SLIDING:
        pytest.skip("the next test")
    module, rows = TextEncoder(write_checkpoint(tmp_path, name), "mean"), batch(11, 3, 1, 8, 11)
    expected = mean_of_tokens(tmp_path, rows)
    exact, rough = (compute(backend, module, precision, rows) for precision in ("fp32", "bf16"))
    assert (exact - expected).abs().max() < 1e-4 * expected.abs().max()
    assert 0 < (rough - expected).abs().max() < ROUGH * expected.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", SLIDING)
def test_outputs_that_openvino_cannot_compute_are_computed_again(name: str, tmp_path: Path):
    need("openvino")
    module, lengths = TextEncoder(write_checkpoint(tmp_path, name), "mean"), (22, 3, 1, 8, 11)
    rows = [np.arange(5, 5 + length, dtype=np.int32) for length in lengths]
    outputs = compute_outputs(
        module, rows, module.collate, "fp32", compute=open_backend("openvino", module, "fp32")
    )
    expected = mean_of_tokens(tmp_path, module.collate(rows)).numpy()
    assert np.abs(outputs - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of PyTorch's own compiler
def test_a_compiled_module_computes_what_transformers_does(tiny_bert: Path):
    if reason := reason_against("compile"):
        pytest.skip(reason)
    module = TextEncoder(tiny_bert, "mean")
    for precision, most in (("fp32", 1e-4), ("bf16", ROUGH)):
        with torch.inference_mode():
            opened = open_backend("compile", module, precision)
            for rows in (batch(11, 3, 1, 8, 11), batch(20, 7)):
                expected = mean_of_tokens(tiny_bert, rows)
                assert (opened(rows).float() - expected).abs().max() < most * expected.abs().max()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_compiled_modules_have_weights_as_constants_each_its_own(tiny_bert: Path):
    if reason := reason_against("compile"):
        pytest.skip(reason)
    modules, rows = [TextEncoder(tiny_bert, "mean") for _ in range(2)], batch(11, 3)
    with torch.inference_mode():
        for weight in modules[1].parameters():
            weight.mul_(1.5)
        counters.clear()
        opened = [open_backend("compile", module, "fp32") for module in modules]
        found = [each(rows) for each in (*opened, *opened)]
        expected = [open_backend("sdpa", module, "fp32")(rows) for module in (*modules, *modules)]
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(found, expected, strict=True))
    assert not torch.allclose(found[0], found[1], atol=0.1)
    if devices.cpu_has_bf16():  # else PyTorch has no other layout for them
        with torch.inference_mode():
            open_backend("compile", modules[0], "bf16")(rows)
        assert counters["inductor"]["mkldnn_linear_weight_pack_matcher_count"] > 0


@pytest.mark.parametrize("backend", QUICK)
def test_one_opened_backend_takes_batches_of_any_size(backend: str, tiny_bert: Path):
    need(backend)
    with torch.inference_mode():
        opened = open_backend(backend, TextEncoder(tiny_bert, "mean"), "fp32")
        together = opened(batch(11, 3, 8))
        alone = torch.cat([opened({k: v[i : i + 1] for k, v in batch(11, 3, 8).items()}) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("backend", QUICK)
def test_a_module_is_left_as_it_was(backend: str, precision: str, tiny_bert: Path):
    need(backend)
    module = TextEncoder(tiny_bert, "mean")
    weights, config = copy.deepcopy(module.state_dict()), module.transformer.model.config
    attention = config._attn_implementation
    compute(backend, module, precision, batch(5, 3))
    assert config._attn_implementation == attention
    for name, weight in module.state_dict().items():
        assert weight.dtype == weights[name].dtype
        assert torch.equal(weight, weights[name])
    assert all(weight.requires_grad for weight in module.parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU converts the weights anew")
def test_weights_are_converted_once(tiny_bert: Path):
    module = TextEncoder(tiny_bert, "mean")
    with torch.inference_mode():
        opened = open_backend("sdpa", module, "bf16")
        before = opened(batch(5, 3))
        for weight in module.parameters():
            weight.zero_()
        assert torch.equal(opened(batch(5, 3)), before)
        assert not torch.equal(open_backend("sdpa", module, "bf16")(batch(5, 3)), before)


def test_very_large_weights_are_not_copied(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    module = TextEncoder(tiny_bert, "mean")
    monkeypatch.setattr(backends, "COPIED", 1_000)
    prepared = backends._prepared_copy(module, "bf16")
    assert {id(weight) for weight in prepared.parameters()} == {id(weight) for weight in module.parameters()}


def test_the_default_depends_on_the_processor(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "device", lambda: torch.device("cpu"))
    for has_amx, expected in ((True, "sdpa"), (False, "matmul")):
        monkeypatch.setattr(devices, "cpu_has_amx", lambda has_amx=has_amx: has_amx)
        assert devices.default_backend() == expected
    monkeypatch.setattr(devices, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(devices, "cpu_has_amx", lambda: False)
    assert devices.default_backend() == "sdpa"


@pytest.mark.parametrize(
    ("backend", "remedy"), [("openvino", "pip install 'pairrank[openvino]'"), ("compile", "Install g++")]
)
def test_what_is_missing_is_named_with_its_remedy(backend: str, remedy: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(backends.shutil, "which", lambda name: None)
    monkeypatch.setattr(backends, "device", lambda: torch.device("cpu"))
    assert backend not in usable_backends()
    with pytest.raises(UserError, match=f"backend = '{backend}'") as caught:
        require_backend(backend)
    assert remedy in str(caught.value)
    monkeypatch.setattr(backends, "device", lambda: torch.device("cuda"))
    assert "for a CPU" in reason_against(backend)


def test_a_conversion_reports_nothing_to_the_makers_of_openvino(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    need("openvino")
    telemetry = pytest.importorskip("openvino_telemetry").Telemetry
    for name in ("init", "start_session", "send_event", "end_session"):
        monkeypatch.setattr(telemetry, name, lambda *_, **__: pytest.fail("usage data would be sent"))
    compute("openvino", TextEncoder(tiny_bert, "mean"), "fp32", batch(5, 3))

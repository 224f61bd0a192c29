import pytest
import torch

from pairrank.encoders import devices
from pairrank.encoders.devices import choose_precision, device_name


@pytest.mark.parametrize(
    ("gpu", "bf16", "requested", "chosen"),
    [
        (True, True, "auto", "bf16"),
        (True, False, "auto", "fp16"),  # Kaggle's T4
        (True, False, "fp16", "fp16"),
        (False, True, "auto", "bf16"),
        (False, False, "auto", "fp32"),
        (False, False, "bf16", "bf16"),
        (True, True, "fp32", "fp32"),
    ],
)
def test_choose_precision_by_device(monkeypatch: pytest.MonkeyPatch, gpu, bf16, requested, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: bf16 and not including_emulation
    )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: bf16)
    assert choose_precision(requested) == chosen
    assert device_name(requested).startswith("Tesla T4" if gpu else "CPU")
    assert device_name(requested).endswith(chosen)


@pytest.mark.parametrize("present", [[], ["_is_avx512_bf16_supported"], ["_is_amx_tile_supported"]])
def test_choose_precision_returns_bf16_on_a_cpu_that_has_it(monkeypatch: pytest.MonkeyPatch, present):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in present)
    assert devices.cpu_has_bf16() is bool(present)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert devices.cpu_has_bf16() is ("_is_avx512_bf16_supported" in present)

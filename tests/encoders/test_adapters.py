"""The settings of an adapter have bounds, and an adapter adds what the formula of LoRA says."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from pairrank.encoders.adapter_settings import AdapterSettings, require_bitsandbytes
from pairrank.encoders.adapters import (
    add_adapter,
    base_options,
    count_parameters,
    merge_adapter,
    set_trained_weights,
    trained_weights,
)
from pairrank.nested import from_mapping
from tests.support.runs import complaint


class Headed(nn.Module):
    """A tiny encoder with a head."""

    def __init__(self, settings: AdapterSettings, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
        )
        self.encoder = BertModel(config, add_pooling_layer=False).eval()
        self.head = nn.Linear(8, 3)
        add_adapter(self.encoder, settings, seed)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(ids).last_hidden_state)


IDS = torch.arange(6)[None]


# --- Settings


def test_all_complaints_come_at_once():
    message = complaint(lambda: AdapterSettings(rank=-1, alpha=0.0, dropout=1.0, targets=[]))
    for name in ("rank = -1", "alpha = 0.0", "dropout = 1.0", "targets = []"):
        assert name in message


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"targets": ["all-linear", "query"]}, "targets = "),
        ({"whole": ["norm"]}, "without an adapter everything is trained"),
        ({"rank": 2, "targets": ["query"], "whole": ["query"]}, "both name 'query'"),
        ({"base_bits": 5}, "base_bits = 5: expected one of 32, 16, 8, 4"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(values: dict[str, Any], expected: str):
    assert expected in complaint(lambda: from_mapping(AdapterSettings, values, "adapter"))


def test_a_single_target_may_be_a_string():
    assert from_mapping(AdapterSettings, {"targets": "all-linear"}, "adapter") == AdapterSettings()


@pytest.mark.parametrize(("bits", "key"), [(4, "load_in_4bit"), (8, "load_in_8bit")])
def test_the_encoder_is_quantised_without_the_named_layers(monkeypatch: pytest.MonkeyPatch, bits: int, key: str):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    options = base_options(AdapterSettings(rank=2, base_bits=bits, whole=["norm"]), ("score",))
    quantised = options["quantization_config"].to_dict()
    assert quantised[key] is True
    assert quantised["llm_int8_skip_modules"] == ["score", "norm"]
    assert options["device_map"] == {"": 1}
    assert options["dtype"] == torch.bfloat16


def test_a_missing_bitsandbytes_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("pairrank.encoders.adapter_settings.importlib.util.find_spec", lambda name: None)
    assert "pip install 'pairrank[quant]'" in complaint(lambda: require_bitsandbytes("base_bits = 4"))


# --- The adapter


@pytest.mark.parametrize(("rank_stabilised", "scale"), [(False, 8 / 4), (True, 8 / 4**0.5)])
def test_a_layer_computes_its_own_output_plus_the_scaled_product(rank_stabilised: bool, scale: float):
    module = Headed(AdapterSettings(rank=4, alpha=8.0, targets=["query"], rank_stabilised=rank_stabilised))
    layer = module.encoder.encoder.layer[0].attention.self.query
    a, b, own = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.base_layer
    x = torch.randn(5, 8)
    assert torch.equal(layer(x), own(x))
    nn.init.normal_(b)
    torch.testing.assert_close(layer(x), own(x) + scale * x @ a.T @ b.T)


def test_the_seed_draws_the_adapter_and_leaves_the_global_random_state():
    state = torch.random.get_rng_state()
    first, again, other = (trained_weights(Headed(AdapterSettings(rank=2), seed)) for seed in (1, 1, 2))
    drawn = [name for name in first if "lora_A" in name]
    assert drawn
    for name in drawn:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
    torch.manual_seed(0)
    model = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    state = torch.random.get_rng_state()
    add_adapter(model, AdapterSettings(rank=2))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_trained_weights_are_exchanged_exactly():
    settings = AdapterSettings(rank=2, whole=["LayerNorm"])
    one, other = (Headed(settings, seed) for seed in (1, 2))
    for parameter in one.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    assert not torch.equal(one(IDS), other(IDS))
    set_trained_weights(other, trained_weights(one))
    assert torch.equal(one(IDS), other(IDS))
    assert set(trained_weights(one)) == {name for name, value in one.named_parameters() if value.requires_grad}


def test_weights_of_another_rank_are_refused():
    small, large = (Headed(AdapterSettings(rank=rank)) for rank in (2, 4))
    message = complaint(lambda: set_trained_weights(small, trained_weights(large)))
    assert "(4, 8)" in message
    assert "(2, 8)" in message


def test_parameters_are_counted():
    module = Headed(AdapterSettings(rank=2, targets=["query"]))
    # A and B of one layer, 2 x 8 and 8 x 2, and the head of 8 x 3 + 3.
    assert count_parameters(module)["trained_parameters"] == 16 + 16 + 24 + 3
    plain = Headed(AdapterSettings())
    assert count_parameters(plain) == {"parameters": sum(p.numel() for p in plain.parameters())}


@pytest.mark.parametrize("dora", [False, True])
def test_merging_leaves_the_outputs_and_a_plain_model(dora: bool):
    module = Headed(AdapterSettings(rank=2, dora=dora))
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    expected = module(IDS)
    merge_adapter(module.encoder)
    torch.testing.assert_close(module(IDS), expected)
    assert {name for name, _ in module.named_parameters()} == {
        name for name, _ in Headed(AdapterSettings()).named_parameters()
    }

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModel

from pairrank.encoders.adapter_settings import AdapterSettings
from pairrank.encoders.adapters import add_adapter
from pairrank.encoders.transformer import TextEncoder
from pairrank.training.fine_tuning import fine_tune
from pairrank.training.recipe import Recipe, parameter_groups
from tests.support.architectures import ARCHITECTURES, some_fast, write_checkpoint
from tests.support.fine_tuning import Bag, collate, some_rows

RECIPE = Recipe(learning_rate=0.01, epochs=1, batch_size=8, warmup=0.0, hold_out=0.0, precision="fp32")


class Headed(nn.Module):
    """A tiny pretrained encoder with something on top."""

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__()
        self.pretrained = AutoModel.from_pretrained(write_checkpoint(folder, kind), local_files_only=True)
        self.head = nn.Linear(3, 2)


@pytest.fixture(params=["bert", "distilbert"])
def headed(request: pytest.FixtureRequest, tmp_path: Path) -> Headed:
    return Headed(tmp_path, request.param)


def rates(module: nn.Module, recipe: Recipe) -> dict[str, float]:
    """The learning rate of each parameter by name; those that do not learn are absent."""
    groups = parameter_groups(module, recipe)
    by_id = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(by_id) == sum(len(group["params"]) for group in groups)
    named = dict(module.named_parameters())
    assert {name for name, p in named.items() if p.requires_grad} == {n for n, p in named.items() if id(p) in by_id}
    return {name: by_id[id(p)] for name, p in named.items() if id(p) in by_id}


def test_by_default_all_parameters_learn_at_one_rate(headed: Headed):
    found = rates(headed, RECIPE)
    assert set(found) == {name for name, _ in headed.named_parameters()}
    assert set(found.values()) == {0.01}


def test_head_rate_and_layer_decay_set_the_learning_rates(headed: Headed):
    found = rates(headed, replace(RECIPE, head_rate=5.0, layer_decay=0.5))
    for name, rate in found.items():
        if name.startswith("head."):
            assert rate == pytest.approx(0.05)
        elif "layer.1." in name or "pooler" in name:
            assert rate == pytest.approx(0.01), name
        elif "layer.0." in name:
            assert rate == pytest.approx(0.005), name
        else:
            assert "embeddings" in name
            assert rate == pytest.approx(0.0025)


@pytest.mark.parametrize(("layers", "frozen"), [(1, ("embeddings", "layer.0.")), (2, ("embeddings", "layer."))])
def test_frozen_layers_freezes_the_lowest_layers_and_the_embeddings(headed: Headed, layers: int, frozen):
    found = rates(headed, replace(RECIPE, frozen_layers=layers))
    named = {name for name, _ in headed.named_parameters()}
    assert set(found) == {name for name in named if not any(part in name for part in frozen)}


def test_an_adapter_learns_at_the_rate_of_its_layer_and_its_base_not_at_all(headed: Headed):
    add_adapter(headed.pretrained, AdapterSettings(rank=2))
    found = rates(headed, replace(RECIPE, head_rate=5.0, layer_decay=0.5))
    assert {name for name in found if not name.startswith("head.")} == {
        name for name, _ in headed.named_parameters() if "lora_" in name
    }
    for name, rate in found.items():
        expected = 0.05 if name.startswith("head.") else 0.005 if "layer.0." in name else 0.01
        assert rate == pytest.approx(expected), name


def test_only_matrices_have_weight_decay(headed: Headed):
    groups = parameter_groups(headed, replace(RECIPE, weight_decay=0.3))
    for group in groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0)


def test_the_learning_rates_reach_the_training(tmp_path: Path):
    def moved(recipe: Recipe) -> tuple[bool, bool]:
        module, rows = Bag(), some_rows(8)
        fine_tune(module, rows, None, collate, recipe, tmp_path / str(id(recipe)))
        fresh = Bag()
        return tuple(
            not torch.equal(part, same)
            for part, same in ((module.words.weight, fresh.words.weight), (module.head.weight, fresh.head.weight))
        )

    assert moved(RECIPE) == (True, True)
    assert moved(replace(RECIPE, learning_rate=1e-12, weight_decay=0.0, head_rate=1e10)) == (False, True)


class Opened(nn.Module):
    """The encoder of an architecture, as the models of pairrank open it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.pretrained = TextEncoder(folder, "auto").transformer


@pytest.mark.parametrize("name", some_fast({*ARCHITECTURES} - {"albert"}))
def test_the_lowest_layer_is_found_in_every_architecture(tmp_path: Path, name: str):
    module = Opened(write_checkpoint(tmp_path, name))
    rates(module, replace(RECIPE, frozen_layers=1))
    model = module.pretrained.model
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == 2]
    lowest, highest = lists[0]  # the list of the layers contains all others
    assert not any(parameter.requires_grad for parameter in lowest.parameters())
    assert all(parameter.requires_grad for parameter in highest.parameters())
    assert not model.get_input_embeddings().weight.requires_grad


def test_layers_that_share_their_weights_are_not_frozen_and_a_warning_says_so(tmp_path: Path, log_lines: list[str]):
    module = Opened(write_checkpoint(tmp_path, "albert"))
    found = rates(module, replace(RECIPE, frozen_layers=1, layer_decay=0.5))
    assert {rate for name, rate in found.items() if "albert_layers" in name} == {0.01}
    assert not [name for name in found if "embeddings" in name]
    [line] = log_lines
    assert "the layers of this encoder share their weights" in line
    rates(module, RECIPE)
    assert len(log_lines) == 1

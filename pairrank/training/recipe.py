"""How a pretrained model is fine-tuned: towards what, and what of it learns at which rate."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from pairrank.data.battles import Battles
from pairrank.encoders.devices import Precision
from pairrank.errors import UserError, bounds_complaints


@dataclass(frozen=True)
class Recipe:
    """How a pretrained model is fine-tuned. The defaults are the published recipe, made fast."""

    learning_rate: float = 2e-5
    epochs: int = 3
    batch_size: int = 8
    """Battles that go through the model at once."""
    accumulation: int = 1
    """Batches whose gradients are added up before a step."""
    tokens_at_once: int = 0
    """A batch of more, padding included, goes through the model in parts of like length, whose gradients add up to
    those of the whole; 0 takes what the device does fast."""
    head_rate: float = 1.0
    """Times `learning_rate`: the rate of what was not pretrained."""
    layer_decay: float = 1.0
    """Each layer of the encoder learns at this share of the rate of the layer above."""
    frozen_layers: int = 0
    """The lowest layers that do not learn, nor the embeddings under them; 0 freezes nothing."""
    weight_decay: float = 0.01
    warmup: float = 0.1
    """Share of the steps in which the learning rate climbs; afterwards it falls linearly to 0."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over all three outcomes."""
    activation_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, about a third slower."""
    hold_out: float = 0.1
    """Share of the training prompts kept out to watch the training; 0 watches nothing and trains on all."""
    keep_best: bool = True
    """Go back to the epoch with the best log loss on the held-out training prompts."""
    patience: int = 0
    """Epochs without a better held-out log loss after which training stops; 0 never stops early."""
    precision: Precision = "auto"
    """bf16 and fp16 compute in that format and keep fp32 weights; "auto" chooses for the device."""
    group_by_length: bool = True
    """Put battles of like length in one batch, so that little of it is padding."""

    def __post_init__(self) -> None:
        bounds = {
            "learning_rate": (self.learning_rate >= 0, "0 or more"),
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "accumulation": (self.accumulation >= 1, "1 or more"),
            "tokens_at_once": (self.tokens_at_once >= 0, "0 or more"),
            "head_rate": (self.head_rate > 0, "above 0"),
            "layer_decay": (0 < self.layer_decay <= 1, "a share above 0, at most 1"),
            "frozen_layers": (self.frozen_layers >= 0, "0 or more"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "warmup": (0 <= self.warmup < 1, "a share from 0 to below 1"),
            "label_smoothing": (0 <= self.label_smoothing <= 1, "a share from 0 to 1"),
            "hold_out": (0 <= self.hold_out < 1, "a share from 0 to below 1"),
            "patience": (self.patience >= 0, "0 or more"),
        }
        wrong = bounds_complaints(self, bounds)
        if wrong:
            raise UserError(" ".join(wrong))


def make_targets(battles: Battles, soft: bool = False, label_smoothing: float = 0.0) -> npt.NDArray[np.float64]:
    """(n, 3) targets: the winner's row is one-hot, or `battles.soft` where `soft` asks for it.

    A row sums to the battle's weight: the cross-entropy is linear in its target, so that weights the loss.
    """
    targets = battles.soft if soft and battles.soft is not None else np.eye(3)[battles.labels]
    smoothed = (1 - label_smoothing) * targets + label_smoothing / 3
    weighted: npt.NDArray[np.float64] = smoothed * battles.weights[:, None]
    return weighted


def parameter_groups(module: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """What learns, at which rate; what is frozen is told so. Matrices decay, biases and norms do not.

    Layers are counted from the output down, so the uppermost learns at `learning_rate` (Howard and Ruder 2018).
    """
    pretrained: nn.Module = module.pretrained  # type: ignore[assignment]
    depths = {id(parameter): _depth(name) for name, parameter in pretrained.named_parameters()}
    layers = max([0, *(depth for depth in depths.values() if depth is not None)])
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for parameter in module.parameters():
        depth = depths.get(id(parameter), -1)
        if depth == -1:
            rate = recipe.learning_rate * recipe.head_rate
        else:
            frozen = recipe.frozen_layers > 0 and depth is not None and depth <= recipe.frozen_layers
            parameter.requires_grad_(not frozen)
            rate = recipe.learning_rate * recipe.layer_decay ** (0 if depth is None else layers - depth)
        if parameter.requires_grad:
            decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
            group = groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})
            group["params"].append(parameter)
    return list(groups.values())


def _depth(name: str) -> int | None:
    """0 for a parameter of the embeddings, i + 1 for one of layer i, None for what stands above all layers."""
    if layer := re.search(r"\b(?:layers?|h|blocks?)\.(\d+)\.", name):
        return int(layer[1]) + 1
    return 0 if "embed" in name or "relative_attention_bias" in name or re.search(r"\bw[tp]e\b", name) else None

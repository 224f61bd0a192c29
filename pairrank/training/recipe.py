"""The settings of a fine-tuning: the targets of the loss, and the learning rate of each parameter."""

import logging
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from pairrank.data.battles import Battles
from pairrank.encoders.adapter_settings import AdapterSettings, require_bitsandbytes, require_libraries
from pairrank.encoders.adapters import contains_adapter
from pairrank.encoders.devices import Precision
from pairrank.errors import UserError, bounds_complaints

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Settings of a fine-tuning. The defaults are the published recipe with changes that make it faster."""

    learning_rate: float = 2e-5
    """Highest learning rate of the encoder; `warmup` and a linear decay lower it."""
    epochs: int = 3
    """Passes over the training battles; `keep_best` and `patience` may use fewer."""
    extra_epochs: int = 0
    """Passes over the extra battles alone, before the epochs, which are then over the other battles alone. 0 mixes
    all battles in every epoch. A weight that all extra battles share has no effect if they are alone, since AdamW
    does not depend on the scale of the loss."""
    batch_size: int = 8
    """Battles per batch."""
    accumulation: int = 1
    """Batches per optimizer step, whose gradients are averaged."""
    tokens_at_once: int = 0
    """Most tokens, padding included, that go through the model at once. A larger batch is split into parts of
    similar length; the gradients stay the same. 0 uses the number that is fast on the device. With an adapter, the
    limit holds in prediction as well."""
    head_rate: float = 1.0
    """Factor on `learning_rate` for the parameters that were not pretrained."""
    layer_decay: float = 1.0
    """Learning rate of an encoder layer as a share of the rate of the layer above; 1 gives all the same rate."""
    frozen_layers: int = 0
    """Number of lowest encoder layers that are frozen together with the embeddings; 0 freezes nothing."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW on matrices; biases and norms have none."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises from 0; afterwards it falls linearly to 0."""
    label_smoothing: float = 0.0
    """Share of each target that is spread evenly over the three outcomes."""
    activation_checkpointing: bool = False
    """Compute activations a second time instead of storing them, which needs less memory and a third more time."""
    hold_out: float = 0.1
    """Share of the training prompts held out for validation; 0 trains on all of them, without validation."""
    keep_best: bool = True
    """Keep the weights of the epoch that has the best log loss on the held-out training prompts."""
    choose_by: Literal["loss", "calibrated loss"] = "loss"
    """The log loss by which `keep_best` and `patience` compare epochs: as it is, or with the logits divided by the
    temperature, from 0.5 to 2, that makes it lowest. Predictions then use the temperature of the kept epoch."""
    patience: int = 0
    """Stop after this many epochs without a better held-out log loss; 0 never stops early."""
    optimizer: Literal["adamw", "paged-adamw-8bit"] = "adamw"
    """"paged-adamw-8bit" holds its two numbers per trained weight in 8 bits; it needs an NVIDIA GPU."""
    precision: Precision = "auto"
    """bf16 and fp16 compute in that format with weights in fp32; "auto" chooses the fast one for the device."""
    group_by_length: bool = True
    """Put battles of similar length into one batch, which then needs little padding."""

    def __post_init__(self) -> None:
        bounds = {
            "learning_rate": (self.learning_rate >= 0, "0 or more"),
            "epochs": (self.epochs >= 1, "1 or more"),
            "extra_epochs": (self.extra_epochs >= 0, "0 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "accumulation": (self.accumulation >= 1, "1 or more"),
            "tokens_at_once": (self.tokens_at_once >= 0, "0 or more"),
            "head_rate": (self.head_rate > 0, "a number above 0"),
            "layer_decay": (0 < self.layer_decay <= 1, "a share above 0, at most 1"),
            "frozen_layers": (self.frozen_layers >= 0, "0 or more"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "warmup": (0 <= self.warmup < 1, "a share from 0 to below 1"),
            "label_smoothing": (0 <= self.label_smoothing <= 1, "a share from 0 to 1"),
            "hold_out": (0 <= self.hold_out < 1, "a share from 0 to below 1"),
            "patience": (self.patience >= 0, "0 or more"),
        }
        complaints = bounds_complaints(self, bounds)
        if complaints:
            raise UserError(" ".join(complaints))

    @property
    def metric(self) -> str:
        """The name, in the Trainer's log after "eval_", of the loss by which epochs are compared."""
        return "calibrated_log_loss" if self.choose_by == "calibrated loss" else "log_loss"


def require_available(recipe: Recipe, adapter: AdapterSettings) -> None:
    """Raise UserError if recipe or adapter need a package or a device that is missing; call it before loading."""
    require_libraries(adapter)
    if recipe.optimizer != "adamw":
        require_bitsandbytes(f'training.optimizer = "{recipe.optimizer}"')


def make_targets(battles: Battles, soft: bool = False, label_smoothing: float = 0.0) -> npt.NDArray[np.float64]:
    """Return (n, 3) targets of the cross-entropy: one-hot winners or, with `soft`, `battles.soft` if there are any.

    A row is multiplied by the weight of its battle. The cross-entropy is linear in its target, so this weights the
    loss. Raises UserError if winners are needed and missing.
    """
    targets = battles.soft if soft and battles.soft is not None else np.eye(3)[battles.labels]
    smoothed = (1 - label_smoothing) * targets + label_smoothing / 3
    weighted: npt.NDArray[np.float64] = smoothed * battles.weights[:, None]
    return weighted


def tokens_in_prediction(module: nn.Module, recipe: Recipe) -> int:
    """Return the most tokens that go through a fine-tuned module at once in prediction; 0 is the device's number.

    That number would be too large for a language model, which has an adapter.
    """
    return recipe.tokens_at_once if contains_adapter(module) else 0


def parameter_groups(module: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the optimizer's parameter groups, one per learning rate and weight decay; freeze the lowest layers.

    The top layer of the encoder, `module.pretrained`, learns at `recipe.learning_rate`, and each layer below at
    `recipe.layer_decay` times the rate of the one above (discriminative fine-tuning: Howard and Ruder 2018, section
    3.2). An adapter in a layer learns at the rate of the layer. All other parameters learn at `head_rate` times
    `recipe.learning_rate`. Weights that are frozen already stay frozen, and only matrices have weight decay.
    """
    pretrained: nn.Module = module.pretrained  # type: ignore[assignment]
    depths = {id(parameter): _depth(name) for name, parameter in pretrained.named_parameters()}
    layers = max([0, *(depth for depth in depths.values() if depth is not None)])
    if not layers and (recipe.frozen_layers or recipe.layer_decay < 1):
        logger.warning(
            "frozen_layers = %d, layer_decay = %g: the layers of this encoder share their weights, or have unknown "
            "names. They all learn at one rate, and only embeddings are frozen.",
            recipe.frozen_layers,
            recipe.layer_decay,
        )
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for parameter in module.parameters():
        depth = depths.get(id(parameter), -1)
        if depth == -1:
            rate = recipe.learning_rate * recipe.head_rate
        else:
            if recipe.frozen_layers > 0 and depth is not None and depth <= recipe.frozen_layers:
                parameter.requires_grad_(False)
            rate = recipe.learning_rate * recipe.layer_decay ** (0 if depth is None else layers - depth)
        if parameter.requires_grad:
            decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
            group = groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})
            group["params"].append(parameter)
    return list(groups.values())


def _depth(name: str) -> int | None:
    """Return 0 for a parameter of the embeddings, i + 1 for one of layer i, None for one above all layers."""
    if layer := re.search(r"\b(?:layers?|h|blocks?)\.(\d+)\.", name):
        return int(layer[1]) + 1
    # T5 calls the vectors of its tokens "shared".
    is_embedding = "embed" in name or "relative_attention_bias" in name or re.search(r"\b(?:w[tp]e|shared)\b", name)
    return 0 if is_embedding else None

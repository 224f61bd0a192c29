"""What makes a pretrained encoder faster on a processor, and changes what it says by rounding alone."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from pairrank.encoders.attention import FIRST_TOKEN, use_matmul_attention

PROBE = 6
"""Tokens of the text that tells whether a short cut changes an encoder's answer."""


def apply_speedups(model: PreTrainedModel) -> None:
    """Attention by matrix products, and, in half precision, half of the memory traffic between the layers."""
    use_matmul_attention(model)
    embeddings = getattr(model.base_model, "embeddings", None)
    if isinstance(embeddings, nn.Module):
        embeddings.register_forward_hook(_in_half_precision)


def _in_half_precision(module: nn.Module, given: Any, embedded: Any) -> Any:
    """Vectors between layers in the precision of the layers: otherwise each layer casts them anew, three times."""
    # On a GPU, autocast takes layer norms in fp32 anyway.
    on_processor = isinstance(embedded, torch.Tensor) and embedded.device.type == "cpu"
    mixed = on_processor and torch.is_autocast_enabled("cpu")
    return embedded.to(torch.get_autocast_dtype("cpu")) if mixed else embedded


def compute_first_token_only(model: PreTrainedModel, answer: Callable[..., torch.Tensor]) -> bool:
    """Spare the last layer's tokens that nobody reads, where `answer(input_ids, attention_mask)` reads the first.

    In an encoder of BERT's kind, what follows the last attention goes on token by token. So all tokens but the
    first can be dropped there, and none but the first needs to attend: an eighth of the work of six layers, for
    the very same answer. Whether it is the same is tried out on a short text; returns False, and leaves the model
    alone, where it is not.
    """
    layers = [part for part in model.base_model.modules() if isinstance(part, nn.ModuleList) and len(part)]
    if not layers:
        return False
    last = layers[-1][-1]
    norms = [part for part in last.modules() if isinstance(part, nn.LayerNorm)]
    attentions = [part for part in last.modules() if hasattr(part, "scaling") and hasattr(part, "is_causal")]
    if len(norms) != 2 or len(attentions) != 1:
        return False
    ids = torch.arange(1, PROBE + 1)[None] % model.config.vocab_size
    probe = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    training = model.training
    hook, same = None, False
    try:
        with torch.no_grad():
            model.train(False)
            full = answer(**probe)
            hook = norms[0].register_forward_pre_hook(lambda module, given: (given[0][:, :1], *given[1:]))
            setattr(attentions[0], FIRST_TOKEN, True)
            short = answer(**probe)
            same = short.shape == full.shape and torch.allclose(short, full, atol=1e-5)
    except (RuntimeError, IndexError, TypeError, ValueError):
        pass  # an encoder of another kind, which has no use for one token
    finally:
        model.train(training)
        if hook is not None and not same:
            hook.remove()
            delattr(attentions[0], FIRST_TOKEN)
    return same

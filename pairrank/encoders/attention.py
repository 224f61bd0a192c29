"""Attention by two matrix products and a softmax, which some CPUs compute faster than PyTorch's fused kernel."""

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

MATMUL = "pairrank_matmul"
"""The name under which this attention is registered in transformers; it is never written to a config file."""

FIRST_TOKEN = "pairrank_first_token"  # noqa: S105  # not a password
"""Attribute of an attention module of which only the first token is read; the outputs of the others are 0."""

MAX_TOKENS = 1_024
"""Most tokens for which all scores are held in memory. The fused kernel, for longer texts, holds only a part."""


def matmul_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Return softmax(s·QKᵀ + mask)V in the form of transformers: Q, K, V are (B, H, T, d), the result (B, T, H, d).

    PyTorch's fused attention computes the result where matrix products would be slower (a GPU, fp32, very long
    texts) or different (dropout, keys shared between heads, a position bias, causal attention without a mask).
    """
    causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    same = dropout == 0.0 and not (causal and attention_mask is None) and options.get("position_bias") is None
    if scaling is None or not same or not _is_faster(query, key, value):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    batch, heads, length, width = query.shape
    with torch.autocast("cpu", enabled=False):
        q, k, v = (part.reshape(batch * heads, length, width) for part in (query, key, value))
        read = 1 if getattr(module, FIRST_TOKEN, False) else length
        scores = torch.baddbmm(q.new_zeros(1), q[:, :read], k.transpose(1, 2), beta=0, alpha=scaling)
        if attention_mask is not None:
            bias = attention_mask[:, :, :read]
            if bias.dtype == torch.bool:
                bias = torch.where(bias, 0.0, torch.finfo(scores.dtype).min)
            scores.view(batch, heads, read, length).add_(
                bias.clamp(min=torch.finfo(scores.dtype).min).to(scores.dtype)
            )
        mixed = torch.bmm(scores.softmax(dim=-1), v)
        mixed = nn.functional.pad(mixed, (0, 0, 0, length - read))
    return mixed.view(batch, heads, length, width).transpose(1, 2), None


def _is_faster(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Return whether matrix products can compute this attention, and do so faster than the fused kernel."""
    on_cpu = query.device.type == "cpu" and query.dtype == torch.bfloat16
    return on_cpu and key.shape == query.shape == value.shape and query.shape[2] <= MAX_TOKENS


AttentionInterface.register(MATMUL, matmul_attention)
AttentionMaskInterface.register(MATMUL, sdpa_mask)


def set_attention(module: nn.Module, name: str) -> None:
    """Use an attention, named as in transformers, in all parts of `module` that may use PyTorch's fused kernel."""
    for part in module.modules():
        if isinstance(part, PreTrainedModel) and part.config._attn_implementation in (MATMUL, "sdpa"):
            part.set_attn_implementation(name)

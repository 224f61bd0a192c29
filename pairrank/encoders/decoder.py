"""A causal decoder reads a text; its hidden state at the last position has seen every token."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairrank.encoders.architecture import is_causal
from pairrank.encoders.inference import Batch
from pairrank.encoders.opening import (
    check_positions,
    check_weights,
    open_config,
    open_pretrained,
    set_dropout,
)
from pairrank.encoders.padding import is_close
from pairrank.encoders.transformer import last_token
from pairrank.encoders.windows import Tokens
from pairrank.errors import UserError

PROBE_TOKENS = 6
"""Length of the text that tests whether the logits that are computed here are those of the model itself."""
SHORT, LONG = 2, 4
"""Lengths of the two beginnings that test whether a beginning can be computed once for several texts."""


def open_causal(folder: Path, max_tokens: int, head: bool, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the causal model in `folder`, with its language-model head or without, and its tokenizer.

    `options` are those of `from_pretrained` for the weights, such as their type. Raises UserError if the model is
    not causal, lacks weights, or has fewer positions than `max_tokens`.
    """
    from transformers import AutoModel, AutoModelForCausalLM

    config = open_config(folder)
    if not is_causal(config):
        raise UserError(
            f"{folder}: {config.model_type} is not a causal language model, which predicts each token from those "
            "before it. Use a decoder, such as smollm2."
        )
    check_positions(folder, getattr(config.get_text_config(), "max_position_embeddings", None), max_tokens)
    # Decoders are pretrained without dropout, GPT-2 excepted.
    set_dropout(config, 0.0, 0.0)
    kind = AutoModelForCausalLM if head else AutoModel
    model, tokenizer, loaded = open_pretrained(kind, folder, config, options)
    check_weights(folder, model, loaded)
    return model, tokenizer


def last_hidden(model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return (B, d) hidden states at the last position of token ids (B, T), with padding on either side."""
    positions = _positions(model, attention_mask)
    found = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **positions)
    return last_token(found.last_hidden_state, attention_mask)


def last_hidden_after(
    model: Any,
    shared_ids: torch.Tensor,
    shared_mask: torch.Tensor,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    share: bool = True,
) -> torch.Tensor:
    """Return (B, k, d) hidden states of k texts (B, k, T) that each follow the same beginning (B, P).

    With `share`, the keys and values of a beginning are computed once, in a pass of their own. Beginnings are
    padded on the left and texts on the right, so that distances between tokens, which windows of attention limit,
    are those without padding.
    """
    battles, orders, _ = input_ids.shape
    ids, mask = input_ids.flatten(0, 1), attention_mask.flatten(0, 1)
    whole = torch.cat([shared_mask.repeat_interleave(orders, dim=0), mask], dim=1)
    if not share:
        every = torch.cat([shared_ids.repeat_interleave(orders, dim=0), ids], dim=1)
        return last_hidden(model, every, whole).view(battles, orders, -1)
    positions = _positions(model, shared_mask)
    begun = model(input_ids=shared_ids, attention_mask=shared_mask, use_cache=True, **positions).past_key_values
    begun.batch_repeat_interleave(orders)
    positions = {name: value[:, shared_mask.shape[1] :] for name, value in _positions(model, whole).items()}
    found = model(input_ids=ids, attention_mask=whole, past_key_values=begun, use_cache=True, **positions)
    return last_token(found.last_hidden_state, mask).view(battles, orders, -1)


def can_share_beginnings(folder: Path, model: Any) -> bool:
    """Return whether `last_hidden_after` can compute a beginning once for the texts that follow it.

    Recurrent layers keep a state in place of keys and values, which is not repeated. No list of architectures would
    stay complete, so both ways are tried. Raises UserError if even whole texts, whose padding is on the left, are
    not read as they are without padding.
    """
    beginnings = [probe_of(model)[0, :length] for length in (SHORT, LONG)]
    rest = beginnings[1].flip(0)[:SHORT].expand(2, 1, SHORT)
    begun = [value.to(rest.device) for value in pad_left([ids.cpu().numpy() for ids in beginnings]).values()]
    batch = (begun[0], begun[1], rest, torch.ones_like(rest))
    with torch.inference_mode():
        alone = [torch.cat([ids, rest[0, 0]])[None] for ids in beginnings]
        expected = torch.cat([last_hidden(model, text, torch.ones_like(text)) for text in alone])[:, None]
        if not is_close(model, last_hidden_after(model, *batch, share=False), expected):
            raise UserError(
                f"{folder}: {model.config.model_type} reads a text differently after padding. Use another language "
                'model, or set head to "trained".'
            )
        try:
            return is_close(model, last_hidden_after(model, *batch, share=True), expected)
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return False


def _positions(model: Any, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the position of each token as an argument of the model, if it takes one: padding has no position."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return {}
    return {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)}


def pad_left(rows: Sequence[Tokens]) -> Batch:
    """Return token ids and attention mask (B, T) of rows that end at the same place."""
    width = max(map(len, rows))
    ids, mask = (torch.zeros((len(rows), width), dtype=torch.long) for _ in range(2))
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.from_numpy(row)
        mask[i, width - len(row) :] = 1
    return {"input_ids": ids, "attention_mask": mask}


def probe_of(model: Any) -> torch.Tensor:
    """Return token ids (1, `PROBE_TOKENS`) of a text that tests a model, on the model's device."""
    ids: torch.Tensor = torch.arange(1, PROBE_TOKENS + 1)[None] % model.config.get_text_config().vocab_size
    return ids.to(next(model.parameters()).device)


@dataclass(frozen=True)
class LogitScale:
    """What a language model does with the output of its head: logits = b tanh(s x / b), or s x without b."""

    scale: float
    """s, which is 1 in most models."""
    bound: float | None
    """b, the largest absolute value of a logit in Gemma 2."""

    def __call__(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of outputs of the head, in any shape."""
        logits = outputs * self.scale
        return logits if self.bound is None else self.bound * torch.tanh(logits / self.bound)


def logit_scale(config: Any) -> LogitScale:
    """Return the scale that a configuration names under the names of Cohere, Granite and Gemma."""
    text = config.get_text_config()
    scale = getattr(text, "logit_scale", None) or 1.0 / (getattr(text, "logits_scaling", None) or 1.0)
    return LogitScale(scale, getattr(text, "final_logit_softcapping", None))


class WordHead(nn.Module):
    """The rows of a language-model head that belong to a few words, in float32."""

    def __init__(self, model: Any, words: Sequence[int]) -> None:
        """Take the rows from the head of `model`; raises UserError if its own logits are not those of the rows."""
        super().__init__()
        head, rows = model.get_output_embeddings(), torch.tensor(words)
        self.weight = nn.Parameter(head.weight.detach()[rows].float(), requires_grad=False)
        bias = getattr(head, "bias", None)
        self.bias = None if bias is None else nn.Parameter(bias.detach()[rows].float(), requires_grad=False)
        self.scale = logit_scale(model.config)
        self._check(model, rows)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return (..., k) logits of the words from hidden states (..., d), computed in float32."""
        with torch.autocast(hidden.device.type, enabled=False):
            logits: torch.Tensor = self.scale(nn.functional.linear(hidden.float(), self.weight, self.bias))
            return logits

    @torch.inference_mode()
    def _check(self, model: Any, rows: torch.Tensor) -> None:
        ids = probe_of(model)
        expected = model(input_ids=ids, use_cache=False).logits[0, -1, rows].float()
        found = self(last_hidden(model.base_model, ids, torch.ones_like(ids)))[0]
        if not torch.allclose(found, expected, rtol=0.05, atol=0.1):
            raise UserError(
                f"the logits of {model.config.model_type} are computed in a way that is not known here. "
                'Use another language model, or set head to "trained".'
            )

"""A reward model is a pretrained transformer with a head of one output: the score of an answer to a prompt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairrank.encoders.architecture import is_causal
from pairrank.encoders.inference import Batch, Row, pad
from pairrank.encoders.opening import open_config, open_pretrained, position_limit, set_dropout
from pairrank.encoders.padding import check_padding, ensure_pad_token
from pairrank.encoders.speedups import apply_speedups, compute_first_token_only
from pairrank.encoders.static import is_static
from pairrank.encoders.transformer import FULL_WEIGHTS, last_token
from pairrank.errors import UserError

SHAPE = "A reward model has a sequence classification head with one output."


class Classifier(nn.Module):
    """A sequence classifier of transformers with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer


class RewardModel(nn.Module):
    """A sequence classifier with one output, with the interface of `TextEncoder`: its vectors are scores (B, 1)."""

    width = 1
    has_head = True
    pools_answer = False

    def __init__(
        self,
        folder: Path,
        attention_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        weights: Mapping[str, Any] = FULL_WEIGHTS,
    ) -> None:
        """Open the reward model in `folder`; `weights` are options of `from_pretrained` from `base_options`.

        Raises UserError if it cannot be opened or is none.
        """
        super().__init__()
        self.folder = folder
        self.transformer = Classifier(*_open(folder, attention_dropout, hidden_dropout, weights))
        model = self.transformer.model
        self.closed = is_causal(model.config)
        """Whether the last token is read. Then texts without a chat template end with the same token."""
        apply_speedups(model)
        self.positions = position_limit(model)
        if not self.closed:
            compute_first_token_only(model, self)
        check_padding(folder, self, self.tokenizer, self.collate)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of transformers."""
        return self.transformer.tokenizer

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return (B, 1) scores in float32 for token ids (B, T)."""
        model = self.transformer.model
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.closed and hasattr(model, "score"):
            # The classifier itself looks for the last token that is not the pad token, which may be a real one.
            hidden = model.base_model(**batch).last_hidden_state
            scores = model.score(last_token(hidden, attention_mask))
        else:
            scores = model(**batch).logits
        scored: torch.Tensor = scores.float()
        return scored

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Return token ids and attention mask (B, T), padded to the longest row."""
        return pad(rows, self.tokenizer.pad_token_id)


def _open(
    folder: Path, attention_dropout: float, hidden_dropout: float, weights: Mapping[str, Any]
) -> tuple[Any, Any]:
    """Return the classifier in a folder and its tokenizer."""
    from transformers import AutoModelForSequenceClassification

    if is_static(folder):
        raise UserError(f"{folder}: a static encoder has no head. {SHAPE}")
    config = open_config(folder)
    set_dropout(config, attention_dropout, hidden_dropout)
    if is_causal(config):
        config.use_cache = False  # keys and values of earlier tokens, which only help to generate text
    model, tokenizer, loaded = open_pretrained(AutoModelForSequenceClassification, folder, config, weights)
    _check_head(folder, model, loaded)
    ensure_pad_token(tokenizer, model)
    return model, tokenizer


def _check_head(folder: Path, model: Any, loaded: dict[str, Any]) -> None:
    """Raise UserError unless the checkpoint has all weights of the model, and a head of one output among them.

    `loaded` is what transformers reports: the names of missing weights, and of weights with another shape the name
    and both shapes.
    """
    prefix = f"{model.base_model_prefix}."
    if missing := sorted(loaded["missing_keys"]):
        part = "head" if not all(name.startswith(prefix) for name in missing) else "encoder"
        raise UserError(f"{folder}: its weights have no {part} (missing: {', '.join(missing[:3])}). {SHAPE}")
    if changed := sorted((name, tuple(shape)) for name, shape, _ in loaded["mismatched_keys"]):
        name, shape = changed[0]
        raise UserError(f"{folder}: {name} has the shape {shape}, which config.json contradicts. {SHAPE}")
    if model.config.num_labels != 1:
        raise UserError(f"{folder}: its head has {model.config.num_labels} outputs, expected one. {SHAPE}")

"""The published recipe: a three-class sequence classifier of the text `Prompt: … Response A: … Response B: …`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from pairrank.data.battles import Battles
from pairrank.data.probabilities import Proba, average_orders, softmax
from pairrank.encoders.adapter_settings import AdapterSettings
from pairrank.encoders.adapters import add_adapter, base_options, compute_in_float32
from pairrank.encoders.architecture import is_causal, lacks_decoder
from pairrank.encoders.backend_choice import Sample
from pairrank.encoders.backends import Backend
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.inference import Batch, compute_outputs, pad
from pairrank.encoders.opening import (
    check_positions,
    check_weights,
    open_config,
    open_pretrained,
    position_limit,
    set_dropout,
)
from pairrank.encoders.padding import check_padding, ensure_pad_token
from pairrank.encoders.quiet import quiet_transformers
from pairrank.encoders.speedups import apply_speedups, compute_first_token_only
from pairrank.encoders.transformer import last_token
from pairrank.encoders.windows import Budget, Cells, TokenCoverage, Tokens, template_rows
from pairrank.errors import UserError
from pairrank.models.base import register
from pairrank.models.fine_tuned import FineTuned
from pairrank.training.recipe import Recipe, tokens_in_prediction

logger = logging.getLogger(__name__)

LABELS = {0: "Model A", 1: "Model B", 2: "Tie"}


class _Logits(nn.Module):
    """A sequence classifier reduced to its logits (B, 3)."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.classifier = classifier
        self.causal = is_causal(classifier.config)
        """Whether the classifier reads the last token. Then texts end with the same token."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) logits of token ids (B, T)."""
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        head = getattr(self.classifier, "score", None)
        if not self.causal or head is None:
            logits: torch.Tensor = self.classifier(**batch).logits
            return logits
        # The classifier itself would look for the last token that is not the pad token, which may be a real one.
        last = last_token(self.pretrained(**batch).last_hidden_state, attention_mask)
        scored: torch.Tensor = head(last)
        return scored

    @property
    def pretrained(self) -> nn.Module:
        """The classifier without its head."""
        base: nn.Module = self.classifier.base_model
        return base

    def activation_checkpointing_enable(self, **options: Any) -> None:
        self.classifier.activation_checkpointing_enable(**options)


@register("baseline")
@dataclass
class Baseline(FineTuned):
    """A pretrained encoder reads prompt and both answers in one window and is fine-tuned to predict the winner."""

    encoder: list[str] = field(default_factory=lambda: ["distilbert/distilbert-base-uncased", "minilm"])
    """Encoders in order of preference: a local folder, a hub id with a pinned revision, or a catalogue name."""
    max_tokens: int = 512
    """Tokens of the window, special tokens included; bounded by the positions of the encoder."""
    budget: Budget = "fair"
    """How prompt, A and B share the window; "right" truncates the text at the end of the window, as published."""
    cells: Cells = "turns"
    """Text of a conversation: its turns, or with "json" the raw JSON list of the file, as published."""
    padding: Literal["longest", "window"] = "longest"
    """Pad each batch to its longest row, or with "window" every row to `max_tokens`, as published."""
    attention_dropout: float = 0.0
    """Dropout of attention weights. Above 0, PyTorch's fast attention is not used. The published recipe has 0.1."""
    hidden_dropout: float = 0.0
    """Dropout of the encoder's hidden states, which is slow on a CPU. The published recipe has 0.1."""
    swap_augmentation: bool = False
    """Train on both orders of every battle."""
    both_sides: bool = False
    """Average the predictions for both orders (geometric mean), at twice the cost; exactly symmetric in fp32."""
    soft_targets: bool = False
    """Train on `battles.soft`, if the battles carry it, instead of the winners."""
    training: Recipe = field(default_factory=Recipe)
    """Epochs, learning rates, batches, precision and the other settings of fine-tuning."""
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    """The adapter that is trained instead of the encoder's own weights; none by default."""
    backend: Backend = "auto"
    """What computes the logits in prediction; "auto" is measured where it pays."""
    seed: int = 0
    """Seed of the new head, the adapter, the order of the battles and the dropout."""

    @property
    def symmetric(self) -> bool:
        """True if both orders are averaged."""
        return self.both_sides

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities of A, B and tie."""
        if not len(battles):
            return np.empty((0, 3))
        tokens, self.coverage_ = self._tokens(battles)
        straight = self._predict(tokens)
        if not self.both_sides:
            return straight
        return average_orders(straight, self._predict(self._tokens(battles.swap())[0]))

    def _save_whole(self, folder: Path) -> None:
        """Write a folder that `AutoModelForSequenceClassification.from_pretrained` opens."""
        with quiet_transformers():
            self.module_.classifier.save_pretrained(folder)
            self.tokenizer_.save_pretrained(folder)

    def _load_whole(self, folder: Path) -> None:
        self._open(folder, {}, new_head=False)

    def _start_from(self, encoder: Encoder) -> None:
        """Add a new three-class head and an adapter, drawn from the seed, to the pretrained encoder."""
        names = {"num_labels": 3, "id2label": LABELS, "label2id": {name: i for i, name in LABELS.items()}}
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            new = self._open(encoder.folder, names, new_head=True)
        add_adapter(self.module_.pretrained, self.adapter, self.seed, new)
        check_positions(encoder.name, position_limit(self.module_), self.max_tokens)

    def _open(self, folder: Path, options: dict[str, Any], new_head: bool) -> list[str]:
        """Open a classifier with its tokenizer; with `new_head`, its head may be missing or have other outputs.

        Return the names of the modules of the encoder that the folder has no weights for, such as a pooler.
        """
        config = open_config(folder, **options)
        if lacks_decoder(config):
            raise UserError(
                f"{folder}: a classifier of {config.model_type} needs encoder and decoder, and this checkpoint has "
                "the encoder alone. Use the model 'siamese' or 'frozen', or the whole checkpoint."
            )
        if getattr(config, "classifier_dropout", "") is None and hasattr(config, "hidden_dropout_prob"):
            # BERT's head falls back to the encoder's dropout, which changes below. It keeps the pretrained value,
            # since dropout in the head costs no time.
            config.classifier_dropout = config.hidden_dropout_prob
        set_dropout(config, self.attention_dropout, self.hidden_dropout)
        if is_causal(config):
            config.use_cache = False  # keys and values of earlier tokens, which only help to generate text
        classifier, self.tokenizer_, loaded = open_pretrained(
            AutoModelForSequenceClassification, folder, config, self._weights(config)
        )
        pretrained = f"{classifier.base_model_prefix}." if new_head else ""
        replaced = check_weights(folder, classifier, loaded, pretrained)
        ensure_pad_token(self.tokenizer_, classifier)
        if replaced:
            listed = ", ".join(f"{name} {shape}" for name, shape in sorted(replaced.items()))
            logger.info("%s: a new head of three outcomes replaces its own (%s)", folder, listed)
        if self.adapter.base_bits != 32:
            for name, part in classifier.named_children():
                if name != classifier.base_model_prefix:
                    compute_in_float32(part)
        self.module_: _Logits = _Logits(classifier)
        apply_speedups(classifier)
        if not self.module_.causal:
            compute_first_token_only(classifier, self.module_)
        check_padding(folder, self.module_, self.tokenizer_, lambda rows: pad(rows, self.tokenizer_.pad_token_id))
        inside = f"{classifier.base_model_prefix}."
        missing = {name.rpartition(".")[0] for name in loaded["missing_keys"] if name.startswith(inside)}
        return sorted(name.removeprefix(inside) for name in missing)

    def _weights(self, config: Any) -> dict[str, Any]:
        """Return the options of `from_pretrained` for the weights; the head is not quantised."""
        if self.adapter.base_bits >= 16:
            return base_options(self.adapter)
        with torch.device("meta"):
            empty = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
        head = (name for name, _ in empty.named_children() if name != empty.base_model_prefix)
        return base_options(self.adapter, (*head, "pooler"))

    def _rows(self, battles: Battles) -> list[Tokens]:
        return self._tokens(battles)[0]

    def _sample(self, battles: Battles) -> Sample:
        return Sample(self.module_, self._rows(battles), self._collate)

    def _tokens(self, battles: Battles) -> tuple[list[Tokens], TokenCoverage]:
        closed = self.module_.causal
        return template_rows(battles, self.tokenizer_, self.max_tokens, self.budget, self.cells, closed)

    def _predict(self, tokens: list[Tokens]) -> Proba:
        most = tokens_in_prediction(self.module_, self.training)
        compute = self._open_backend(self.module_)
        logits = compute_outputs(self.module_, tokens, self._collate, self.training.precision, most, compute)
        return softmax(logits / self.temperature_)

    def _collate(self, rows: Sequence[Tokens]) -> Batch:
        """Return token ids and attention mask (B, T), padded according to `padding`."""
        return pad(rows, self.tokenizer_.pad_token_id, self.max_tokens if self.padding == "window" else 0)

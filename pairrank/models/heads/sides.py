"""One encoder reads both sides of a battle, and a head compares the two vectors."""

from typing import Any

import torch
from torch import nn

from pairrank.encoders.devices import tokens_at_once
from pairrank.encoders.inference import Batch, cut_by_tokens
from pairrank.encoders.reward_model import RewardModel
from pairrank.encoders.transformer import TextEncoder
from pairrank.models.heads.neural import Offsets, ScoreHead, as_sides, scores_as_sides


class SiameseNetwork(nn.Module):
    """Maps token ids of both sides to logits (B, 3)."""

    def __init__(self, encoder: TextEncoder | RewardModel, head: nn.Module, sources: int = 0) -> None:
        """Use a head of `models.heads.neural` for the vectors of `encoder`.

        `sources` is the number of known predictions per battle, whose margins and tie logits are added.
        """
        super().__init__()
        self.encoder, self.head = encoder, head
        self.offsets = Offsets(sources) if sources else None

    @property
    def pretrained(self) -> nn.Module:
        """The encoder without its pooling."""
        transformer: nn.Module = self.encoder.transformer
        return transformer

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        lengths: torch.Tensor | None = None,
        prompt_ids: torch.Tensor | None = None,
        prompt_mask: torch.Tensor | None = None,
        offsets: torch.Tensor | None = None,
        answer_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return (B, 3) logits of token ids (B, 2, T), which are encoded as 2B texts."""
        texts = {"input_ids": input_ids, "attention_mask": attention_mask}
        if answer_mask is not None:
            texts["answer_mask"] = answer_mask
        vectors = self._encode({name: value.flatten(0, 1) for name, value in texts.items()})
        a, b = vectors.view(len(input_ids), 2, -1).unbind(1)
        prompt = None if prompt_ids is None or prompt_mask is None else self.encoder(prompt_ids, prompt_mask)
        return self.compare(a, b, prompt, lengths, offsets)

    def _encode(self, texts: Batch) -> torch.Tensor:
        """Return (2B, d) vectors of 2B texts: on a CPU, where padding costs time, in groups of similar length."""
        if texts["input_ids"].device.type != "cpu":
            vectors: torch.Tensor = self.encoder(**texts)
            return vectors
        lengths = texts["attention_mask"].sum(dim=1).tolist()
        parts = cut_by_tokens(lengths, tokens_at_once())
        encoded = [
            self.encoder(**{name: value[part, : lengths[part[-1]]] for name, value in texts.items()})
            for part in parts
        ]
        return torch.cat(encoded)[torch.tensor([row for part in parts for row in part]).argsort()]

    def compare(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        prompt: torch.Tensor | None,
        lengths: torch.Tensor | None,
        offsets: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return (B, 3) logits of the vectors (B, d) of both sides and the known offsets (B, k, 2), in float32."""
        with torch.autocast(a.device.type, enabled=False):
            is_score = isinstance(self.head, ScoreHead)
            sides = scores_as_sides(a, b, lengths) if is_score else as_sides(a, b, prompt, lengths)
            logits: torch.Tensor = self.head(*sides)
            if self.offsets is not None and offsets is not None:
                logits = logits + self.offsets(offsets)
        return logits

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Pass the Trainer's request on to the encoder."""
        self.encoder.transformer.model.activation_checkpointing_enable(**options)

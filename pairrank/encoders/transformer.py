"""A transformer with pooling turns a text into one vector, for any encoder that `find_encoder` returns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from pairrank.encoders.catalogue import position_limit
from pairrank.encoders.inference import Batch, pad
from pairrank.encoders.opening import check_tokenizer, opening
from pairrank.encoders.quiet import quiet_transformers
from pairrank.encoders.speedups import apply_speedups, compute_first_token_only
from pairrank.encoders.static import is_static
from pairrank.encoders.windows import Tokens
from pairrank.errors import UserError

PoolingMode = Literal["mean", "cls", "attention"]
"""How the vectors of the tokens become one: their mean, that of the first token, or a learned weighted mean."""

FULL_WEIGHTS: Mapping[str, Any] = {"dtype": torch.float32}
"""Options of `from_pretrained` for weights of 32 bits."""


class AttentionPooling(nn.Module):
    """A mean weighted by a learned query; the query starts at 0, which gives equal weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Add `sentence_embedding` (B, d) to `token_embeddings` (B, T, d) and `attention_mask` (B, T)."""
        tokens, mask = features["token_embeddings"].float(), features["attention_mask"]
        scores = (tokens @ self.query).masked_fill(mask == 0, float("-inf"))
        features["sentence_embedding"] = (scores.softmax(dim=1)[:, :, None] * tokens).sum(dim=1)
        return features


class TextEncoder(nn.Module):
    """A pretrained transformer with its tokenizer and a pooling layer, as sentence-transformers combines them."""

    def __init__(
        self,
        folder: Path,
        pooling: PoolingMode,
        attention_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        weights: Mapping[str, Any] = FULL_WEIGHTS,
    ) -> None:
        """Open the encoder in `folder`; `weights` are options of `from_pretrained` from `base_options`.

        Raises UserError if it is static or cannot be opened.
        """
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
        from transformers import AutoConfig

        super().__init__()
        if is_static(folder):
            raise UserError(f"{folder}: a static encoder has no layers to train. Use it with the model 'frozen'.")
        # Unless it is forbidden, transformers asks at the terminal whether to run code from the folder.
        safely = {"local_files_only": True, "trust_remote_code": False}
        with opening(folder), quiet_transformers():
            known = AutoConfig.from_pretrained(folder, **safely)
            self.transformer = Transformer(
                str(folder),
                model_kwargs={"use_safetensors": True, **weights, **safely},
                config_kwargs=safely | dropout_settings(known, attention_dropout, hidden_dropout),
                processor_kwargs=dict(safely),
            )
            check_tokenizer(folder, self.transformer.tokenizer, self.transformer.model)
        if getattr(self.transformer.model, "pooler", None) is not None:
            self.transformer.model.pooler = None  # its output is unused, so its weights would get no gradient
        apply_speedups(self.transformer.model)
        self.width: int = self.transformer.get_embedding_dimension()
        self.pooling: nn.Module = (
            AttentionPooling(self.width) if pooling == "attention" else Pooling(self.width, pooling)
        )
        self.positions = position_limit(self.transformer)
        if pooling == "cls":
            compute_first_token_only(self.transformer.model, self)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of transformers."""
        return self.transformer.tokenizer

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return (B, d) vectors in float32 for token ids (B, T)."""
        features = self.transformer({"input_ids": input_ids, "attention_mask": attention_mask})
        pooled: torch.Tensor = self.pooling(features)["sentence_embedding"]
        return pooled.float()

    def collate(self, rows: Sequence[Tokens]) -> Batch:
        """Return token ids and attention mask (B, T), padded to the longest row."""
        return pad(rows, self.tokenizer.pad_token_id)


def dropout_settings(config: Any, attention: float, hidden: float) -> dict[str, float]:
    """Return the two dropout probabilities under the names that this encoder's configuration uses for them."""
    named = {"attention_dropout": attention, "attention_probs_dropout_prob": attention}
    named |= dict.fromkeys(("hidden_dropout", "hidden_dropout_prob", "dropout"), hidden)
    return {name: value for name, value in named.items() if name in vars(config)}

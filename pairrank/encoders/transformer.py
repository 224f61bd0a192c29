"""A transformer with pooling turns a text into one vector, for any encoder that `find_encoder` returns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairrank.encoders.answer_tokens import AnswerPooling, TextRow, pad_marks, token_ids
from pairrank.encoders.architecture import PoolingMode, choose_pooling, is_causal
from pairrank.encoders.inference import Batch, pad
from pairrank.encoders.opening import (
    SAFELY,
    check_tokenizer,
    check_weights,
    dropout_settings,
    open_config,
    opening,
    position_limit,
)
from pairrank.encoders.padding import check_padding, ensure_pad_token
from pairrank.encoders.quiet import quiet_transformers
from pairrank.encoders.speedups import apply_speedups, compute_first_token_only
from pairrank.encoders.static import is_static
from pairrank.errors import UserError

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


class LastToken(nn.Module):
    """The vector of the last token of each text, with padding on either side."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Add `sentence_embedding` (B, d) to `token_embeddings` (B, T, d) and `attention_mask` (B, T)."""
        features["sentence_embedding"] = last_token(features["token_embeddings"], features["attention_mask"])
        return features


def last_token(vectors: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return (B, d) vectors of the last token that each mask (B, T) shows, from the vectors (B, T, d) of all."""
    places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    last = (attention_mask * (places + 1)).argmax(dim=1)
    return vectors[torch.arange(len(vectors), device=vectors.device), last]


def _open_transformer(folder: Path, settings: dict[str, float], weights: Mapping[str, Any]) -> Any:
    """Open the transformer and the tokenizer in `folder` with other values for `settings` of its configuration.

    Raises UserError if weights are missing or have another shape, which would be drawn at random.
    """
    from sentence_transformers.sentence_transformer.modules import Transformer
    from transformers import AutoTokenizer

    class Checked(Transformer):
        def _load_model(
            self, model_name_or_path: str, transformer_task: Any, config: Any, *rest: Any, **model_kwargs: Any
        ) -> Any:
            config._attn_implementation = None  # as in `open_config`
            model_kwargs |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
            opened: Any = super()._load_model(model_name_or_path, transformer_task, config, *rest, **model_kwargs)
            model, loaded = opened
            check_weights(folder, model, loaded)
            return model

    try:
        return Checked(
            str(folder),
            model_kwargs={"use_safetensors": True, **weights, **SAFELY},
            config_kwargs=SAFELY | settings,
            processor_kwargs=dict(SAFELY),
        )
    except ValueError:
        # The reason why a tokenizer cannot be opened is lost among those of other processors.
        AutoTokenizer.from_pretrained(folder, **SAFELY)
        raise


class TextEncoder(nn.Module):
    """A pretrained transformer with its tokenizer and a pooling layer, as sentence-transformers combines them."""

    has_head = False
    """Whether the encoder was pretrained for the number that it returns, as a reward model is."""

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
        from sentence_transformers.sentence_transformer.modules import Pooling

        super().__init__()
        if is_static(folder):
            raise UserError(f"{folder}: a static encoder has no layers to train. Use it with the model 'frozen'.")
        pooling = choose_pooling(pooling, folder)
        known = open_config(folder)
        if pooling == "cls" and is_causal(known):
            raise UserError(
                f'{folder}: pooling = "cls" reads the first token, which sees no other one in a causal decoder. '
                'Set pooling to "auto", "last" or "mean".'
            )
        with opening(folder), quiet_transformers():
            settings = dropout_settings(known, attention_dropout, hidden_dropout)
            self.transformer = _open_transformer(folder, settings, weights)
            check_tokenizer(folder, self.transformer.tokenizer, self.transformer.model)
            ensure_pad_token(self.transformer.tokenizer, self.transformer.model)
        if getattr(self.transformer.model, "pooler", None) is not None:
            self.transformer.model.pooler = None  # its output is unused, so its weights would get no gradient
        apply_speedups(self.transformer.model)
        self.width: int = self.transformer.get_embedding_dimension()
        self.closed = pooling == "last"
        """Whether texts end with the same token, as `special_token_wrapper` closes them."""
        self.pools_answer = pooling == "answer"
        """Whether rows should have the tokens of their answer marked."""
        if pooling == "attention":
            self.pooling: nn.Module = AttentionPooling(self.width)
        elif pooling == "answer":
            self.pooling = AnswerPooling()
        else:
            self.pooling = LastToken() if pooling == "last" else Pooling(self.width, pooling)
        self.positions = position_limit(self.transformer)
        if pooling == "cls":
            compute_first_token_only(self.transformer.model, self)
        check_padding(folder, self, self.tokenizer, self.collate)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of transformers."""
        return self.transformer.tokenizer

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, answer_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return (B, d) vectors in float32 for token ids and masks (B, T); only `pools_answer` needs the last."""
        features = self.transformer({"input_ids": input_ids, "attention_mask": attention_mask})
        if answer_mask is not None:
            features["answer_mask"] = answer_mask
        pooled: torch.Tensor = self.pooling(features)["sentence_embedding"]
        return pooled.float()

    def collate(self, rows: Sequence[TextRow]) -> Batch:
        """Return token ids and attention mask (B, T), padded to the longest row, and what `pools_answer` needs."""
        batch = pad([*map(token_ids, rows)], self.tokenizer.pad_token_id)
        return batch | {"answer_mask": pad_marks(rows)} if self.pools_answer else batch

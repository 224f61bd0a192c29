"""What the tests of fine-tuning train: a quick recipe, and a bag of words on made-up texts."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from pairrank.training.fine_tuning import Rows
from pairrank.training.recipe import Recipe

FAST = Recipe(
    learning_rate=3e-3,
    epochs=2,
    batch_size=8,
    hold_out=0.0,
    precision="fp32",
)
"""What a random encoder learns something with in a second."""


class Bag(nn.Module):
    """The mean of a text's word vectors, read by a linear layer: the smallest thing that can be fine-tuned."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.words = nn.Embedding(12, 8)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(8, 3)

    @property
    def pretrained(self) -> nn.Module:
        return self.words

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask[:, :, None].float()
        mean = (self.words(input_ids) * mask).sum(1) / mask.sum(1)
        return self.head(self.dropout(mean))


def collate(rows: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    padded = np.stack([np.pad(row, (0, width - len(row))) for row in rows])
    mask = np.stack([np.arange(width) < len(row) for row in rows])
    return {"input_ids": torch.tensor(padded, dtype=torch.long), "attention_mask": torch.tensor(mask)}


def some_rows(n: int, seed: int = 0, shift: int = 0) -> Rows:
    """Texts of 1 to 9 words whose first word, modulo 3, is the outcome (or another one, by `shift`)."""
    rng = np.random.default_rng(seed)
    tokens = [rng.integers(0, 12, rng.integers(1, 10)).astype(np.int32) for _ in range(n)]
    # Said twice more, so that a bag of words can tell.
    tokens = [np.concatenate([row, [row[0]] * 9]).astype(np.int32) for row in tokens]
    return Rows(tokens, np.eye(3)[[(row[0] + shift) % 3 for row in tokens]])


class Killed(BaseException):
    """Stands for whatever ends a process: nothing below may catch it."""


class Mortal(Bag):
    """Dies in the training batch of this number."""

    def __init__(self, batch: int) -> None:
        super().__init__(dropout=0.5)
        self.left = batch

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        self.left -= self.training
        if self.left < 0:
            raise Killed
        return super().forward(**batch)

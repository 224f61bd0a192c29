"""The tokens of an answer are marked in the row of its prompt and answer, so that they alone can be pooled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pairrank.encoders.windows import Round, Tokens

PLACEHOLDER = -1
"""Stands for a token of an answer while its place is looked for; no token has this id."""


@dataclass(frozen=True, slots=True)
class MarkedTokens:
    """The token ids of a prompt with an answer, and which of them are the answer's."""

    ids: Tokens
    answer: npt.NDArray[np.bool_]
    """(length,) whether a token is of the answer; prompt, special tokens and template are not."""

    def __len__(self) -> int:
        return len(self.ids)

    def tobytes(self) -> bytes:
        """Return the bytes that identify the row; equal tokens with another answer are another row."""
        return self.ids.tobytes() + self.answer.tobytes()


TextRow = Tokens | MarkedTokens
"""The tokens of one text; those of an answer are marked only if they are pooled."""


def mark_answer(write: Callable[[Sequence[Round]], Tokens], rounds: Sequence[Round]) -> MarkedTokens:
    """Return the row that `write` makes of `rounds`, the tokens of prompt and answer of each turn, with marks.

    `write` may cut texts by their lengths and put other tokens around them. It is called a second time with a
    placeholder for every token of the answer, which shows where those that it kept are.
    """
    hidden = [(prompt, np.full_like(answer, PLACEHOLDER)) for prompt, answer in rounds]
    return MarkedTokens(write(rounds), write(hidden) == PLACEHOLDER)


def token_ids(row: TextRow) -> Tokens:
    """Return the token ids of a row."""
    return row.ids if isinstance(row, MarkedTokens) else row


def pad_marks(rows: Sequence[TextRow]) -> torch.Tensor:
    """Return (B, T) 1 for each token of an answer; a row without marks has none, and T is as in `inference.pad`."""
    marks = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
    for i, row in enumerate(rows):
        if isinstance(row, MarkedTokens):
            marks[i, : len(row)] = torch.from_numpy(row.answer)
    return marks


class AnswerPooling(nn.Module):
    """The mean vector of an answer's tokens or, where none is marked, of all tokens."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Add `sentence_embedding` (B, d) to `token_embeddings` (B, T, d) and both masks (B, T)."""
        marks, every = features["answer_mask"], features["attention_mask"]
        pooled = torch.where(marks.any(dim=1, keepdim=True), marks, every)[:, :, None]
        tokens = features["token_embeddings"].float().masked_fill(pooled == 0, 0.0)
        features["sentence_embedding"] = tokens.sum(dim=1) / pooled.sum(dim=1).clamp(min=1)
        return features

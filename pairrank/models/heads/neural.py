"""Neural heads turn the vectors of two sides into logits of A, B and tie."""

from typing import ClassVar

import torch
from torch import nn


class DifferenceHead(nn.Module):
    """Logits (m, -m, t): the margin m changes its sign when the sides are swapped, the tie logit t does not change.

    This is the Bradley-Terry model with Davidson's ties (Davidson 1970): 2m is the difference of the log strengths,
    and t is the logarithm of his nu. m = (g(a-b, a*b, |a-b|, c) - g(b-a, a*b, |a-b|, c)) / 2, where c is what both
    sides share. So m is exactly odd, without swap augmentation or a second pass. g has no final bias, which
    would cancel.
    """

    symmetric: ClassVar[bool] = True
    """Whether exchanging the sides exchanges A and B in the logits."""

    def __init__(self, width: int, shared: int = 0, hidden: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.margin = nn.Sequential(
            nn.Linear(3 * width + shared, hidden), nn.GELU(), nn.Linear(hidden, 1, bias=False)
        )
        self.tie = nn.Sequential(nn.Linear(2 * width + shared, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(self, a: torch.Tensor, b: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) logits of A, B, tie.

        `a` and `b` are the (B, width) columns of the sides, `shared` (B, shared) the common ones, from `as_sides`.
        """
        a, b = _dropped(self.dropout, a, b)
        odd, even = a - b, torch.cat([a * b, (a - b).abs(), shared], dim=1)
        margin = (self.margin(torch.cat([odd, even], dim=1)) - self.margin(torch.cat([-odd, even], dim=1))) / 2
        return torch.cat([margin, -margin, self.tie(even)], dim=1)


class ConcatHead(nn.Module):
    """Logits from [a, b, a-b, a*b], the usual head of sentence pairs, which can prefer a side for its position."""

    symmetric: ClassVar[bool] = False
    """Whether exchanging the sides exchanges A and B in the logits."""

    def __init__(self, width: int, shared: int = 0, hidden: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.outcome = nn.Sequential(nn.Linear(4 * width + shared, hidden), nn.GELU(), nn.Linear(hidden, 3))

    def forward(self, a: torch.Tensor, b: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) logits of A, B, tie.

        `a` and `b` are the (B, width) columns of the sides, `shared` (B, shared) the common ones, from `as_sides`.
        """
        a, b = _dropped(self.dropout, a, b)
        logits: torch.Tensor = self.outcome(torch.cat([a, b, a - b, a * b, shared], dim=1))
        return logits


HEADS: dict[str, type[DifferenceHead] | type[ConcatHead]] = {"difference": DifferenceHead, "concat": ConcatHead}
"""The heads of `siamese` by name."""


def build_head(kind: str, width: int, shared: int, hidden: int, dropout: float, seed: int) -> nn.Module:
    """Return a new head for sides of `width` numbers and `shared` common ones, with weights drawn from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HEADS[kind](width, shared, hidden, dropout)


def as_sides(
    a: torch.Tensor, b: torch.Tensor, prompt: torch.Tensor | None, lengths: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the inputs of a head: the columns of side A, those of side B, and those that both share.

    A side has its vector (B, d), its product with the prompt's vector if there is one, and its length from
    `lengths` (B, 2), log(1 + tokens). The prompt's vector is shared; without it the shared part is (B, 0). Vectors
    are scaled to length 1, as sentence encoders are trained; on the scale of a layer norm, a head overfits a
    thousand battles.
    """
    sides = [nn.functional.normalize(side, dim=1) for side in (a, b)]
    shared = a[:, :0]
    if prompt is not None:
        shared = nn.functional.normalize(prompt, dim=1)
        sides = [torch.cat([side, side * shared], dim=1) for side in sides]
    if lengths is not None:
        # Centre the log lengths, so that an answer of 150 tokens has the value 0.
        sides = [torch.cat([side, lengths[:, i : i + 1] - 5], dim=1) for i, side in enumerate(sides)]
    return sides[0], sides[1], shared


def _dropped(dropout: nn.Dropout, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply one dropout mask to both sides: with two, most of their difference would come from the masks."""
    mask = dropout(torch.ones_like(a))
    return a * mask, b * mask

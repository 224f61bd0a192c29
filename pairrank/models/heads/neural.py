"""From the vectors of two sides to the logits of A, B and tie."""

import torch
from torch import nn


class DifferenceHead(nn.Module):
    """Logits (m, -m, t): the margin m changes its sign when the sides change places, the tie logit t does not.

    That is the Bradley-Terry model with Davidson's ties (Davidson 1970): 2m is the difference of the log strengths,
    t the logarithm of his nu. m = (g(a-b, a*b, |a-b|, c) - g(b-a, a*b, |a-b|, c)) / 2, so it is odd to the last bit
    and needs neither swap augmentation nor a second pass; c is what both sides share. g has no last bias: it would
    cancel.
    """

    def __init__(self, width: int, shared: int = 0, hidden: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.margin = nn.Sequential(
            nn.Linear(3 * width + shared, hidden), nn.GELU(), nn.Linear(hidden, 1, bias=False)
        )
        self.tie = nn.Sequential(nn.Linear(2 * width + shared, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(self, a: torch.Tensor, b: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """(B, 3) logits of A, B, tie, from (B, width) a side and (B, shared) of both."""
        a, b = _dropped(self.dropout, a, b)
        odd, even = a - b, torch.cat([a * b, (a - b).abs(), shared], dim=1)
        margin = (self.margin(torch.cat([odd, even], dim=1)) - self.margin(torch.cat([-odd, even], dim=1))) / 2
        return torch.cat([margin, -margin, self.tie(even)], dim=1)


class ConcatHead(nn.Module):
    """Logits from [a, b, a-b, a*b], the usual head of sentence pairs: it can prefer a side for being first."""

    def __init__(self, width: int, shared: int = 0, hidden: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.outcome = nn.Sequential(nn.Linear(4 * width + shared, hidden), nn.GELU(), nn.Linear(hidden, 3))

    def forward(self, a: torch.Tensor, b: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """(B, 3) logits of A, B, tie, from (B, width) a side and (B, shared) of both."""
        a, b = _dropped(self.dropout, a, b)
        logits: torch.Tensor = self.outcome(torch.cat([a, b, a - b, a * b, shared], dim=1))
        return logits


HEADS = {"difference": DifferenceHead, "concat": ConcatHead}


def build_head(kind: str, width: int, shared: int, hidden: int, dropout: float, seed: int) -> nn.Module:
    """A head for sides of `width` and what both share of `shared` numbers, its weights drawn from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HEADS[kind](width, shared, hidden, dropout)


def as_sides(
    a: torch.Tensor, b: torch.Tensor, prompt: torch.Tensor | None, lengths: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a head compares: each side's vector (B, d), its product with the prompt's, and its length.

    Vectors have length 1, where sentence encoders are at home; on the scale of a layer norm a head of a thousand
    battles learns them by heart. `lengths` (B, 2) are log(1 + tokens). What both sides share is the prompt's
    vector, or nothing: (B, 0).
    """
    sides = [nn.functional.normalize(side, dim=1) for side in (a, b)]
    shared = a[:, :0]
    if prompt is not None:
        shared = nn.functional.normalize(prompt, dim=1)
        sides = [torch.cat([side, side * shared], dim=1) for side in sides]
    if lengths is not None:
        # An answer of 150 tokens is 0: log lengths around their middle, so that the head need not learn it.
        sides = [torch.cat([side, lengths[:, i : i + 1] - 5], dim=1) for i, side in enumerate(sides)]
    return sides[0], sides[1], shared


def _dropped(dropout: nn.Dropout, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sides under one mask: under two, most of a difference would be the masks'."""
    mask = dropout(torch.ones_like(a))
    return a * mask, b * mask

"""Neural heads turn the vectors of two sides into logits of A, B and tie."""

import inspect
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import nn

from pairrank import plugins
from pairrank.errors import UserError, excerpt, unknown_name


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


class ScoreHead(nn.Module):
    """Logits (m, -m, t) from the scores r of a reward model: m = s (r_a - r_b) / 2 and t = c - softplus(k) |m|.

    With s = 1, where training begins, this is the Bradley-Terry model of the reward model itself: 2m, the
    difference of log strengths, is that of the scores. The further the scores differ, the less likely is a tie.
    Other columns of a side, such as its length, add a multiple of their difference to m, and of its absolute value
    and their sum to t; these weights begin at 0. So m is exactly odd and t exactly even.
    """

    symmetric: ClassVar[bool] = True
    """Whether exchanging the sides exchanges A and B in the logits."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.log_scale, self.slope, self.bias = (nn.Parameter(torch.zeros(1)) for _ in range(3))
        self.odd = nn.Parameter(torch.zeros(width - 1)) if width > 1 else None
        self.even = nn.Parameter(torch.zeros(2 * (width - 1))) if width > 1 else None

    def forward(self, a: torch.Tensor, b: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) logits of A, B, tie.

        `a` and `b` are the (B, width) columns of the sides from `scores_as_sides`, the score first. `shared` is not
        used.
        """
        difference, total = a - b, a + b
        margin = self.log_scale.exp() * difference[:, 0] / 2
        if self.odd is not None:
            # Sums instead of a matrix product, which could round the two orders differently.
            margin = margin + (difference[:, 1:] * self.odd).sum(dim=1)
        tie = self.bias - nn.functional.softplus(self.slope) * margin.abs()
        if self.even is not None:
            tie = tie + (torch.cat([difference.abs()[:, 1:], total[:, 1:]], dim=1) * self.even).sum(dim=1)
        return torch.stack([margin, -margin, tie], dim=1)


Head = type[DifferenceHead] | type[ConcatHead]
HEADS: dict[str, Head] = {"difference": DifferenceHead, "concat": ConcatHead}
"""The heads of `siamese` by name."""
PARAMETERS = ("width", "shared", "hidden", "dropout")
"""Parameters of the constructor of every head."""


def head_class(name: str) -> Head:
    """Return the class of a head, which may be in code that the user has loaded: "mine.py:MyHead".

    Raises UserError for an unknown name, code that is not loaded, and a class that is no head.
    """
    if name in HEADS:
        plugins.refuse_twin("heads", name)
        return HEADS[name]
    if name not in plugins.installed("heads") and not plugins.is_reference(name):
        raise UserError(unknown_name("head", name, [*HEADS, "pretrained", *plugins.installed("heads")]))
    found = plugins.find("heads", name)
    if not _is_head(found):
        expected = (
            f"a torch.nn.Module with the class attribute `symmetric` and the parameters {', '.join(PARAMETERS)}"
        )
        raise UserError(f"{name}: found {excerpt(found, 80)}, expected {expected}.")
    return cast(Head, found)


def own_head(reference: str, folder: Path) -> str:
    """Load the code that the user names as a head, and return the head's name."""
    return plugins.canonical(reference, folder, _is_head, "head")


def _is_head(value: Any) -> bool:
    if not (
        inspect.isclass(value) and issubclass(value, nn.Module) and isinstance(getattr(value, "symmetric", 0), bool)
    ):
        return False
    return tuple(inspect.signature(value).parameters) == PARAMETERS


class Offsets(nn.Module):
    """Logits (m, -m, t) from k known margins and tie logits: the mean of each, after learned positive scales.

    All scales are 1 at first, which is the geometric mean of the k predictions.
    """

    def __init__(self, sources: int) -> None:
        super().__init__()
        self.log_scales = nn.Parameter(torch.zeros(sources, 2))

    def forward(self, offsets: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) logits of A, B, tie from (B, k, 2) margins and tie logits."""
        margin, tie = (offsets * self.log_scales.exp()).mean(dim=1).unbind(1)
        return torch.stack([margin, -margin, tie], dim=1)


def begin_at_zero(head: DifferenceHead | ConcatHead) -> None:
    """Set the last layers of a new head to 0, so that its logits are 0 until it has learned something."""
    for part in head.children():
        if isinstance(part, nn.Sequential):
            for parameter in part[-1].parameters():
                nn.init.zeros_(parameter)


def build_head(
    kind: str, width: int, shared: int, hidden: int, dropout: float, seed: int
) -> DifferenceHead | ConcatHead:
    """Return a new head for sides of `width` numbers and `shared` common ones, with weights drawn from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return head_class(kind)(width, shared, hidden, dropout)


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


def scores_as_sides(
    a: torch.Tensor, b: torch.Tensor, lengths: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the inputs of a `ScoreHead` for scores (B, 1): as `as_sides`, but on the scale of the scores."""
    sides = [a, b]
    if lengths is not None:
        sides = [torch.cat([side, lengths[:, i : i + 1] - 5], dim=1) for i, side in enumerate(sides)]
    return sides[0], sides[1], a[:, :0]


def _dropped(dropout: nn.Dropout, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply one dropout mask to both sides: with two, most of their difference would come from the masks."""
    mask = dropout(torch.ones_like(a))
    return a * mask, b * mask

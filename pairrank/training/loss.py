"""The loss of a battle has two parts, one for the margin and one for the tie; a battle may train one part alone."""

import numpy as np
import numpy.typing as npt
import torch

from pairrank.data.battles import Battles

HEADS = ("margin", "tie")
"""The parts of the loss, in the order of the columns of `heads_of`."""


def heads_of(battles: Battles) -> npt.NDArray[np.float64] | None:
    """Return (n, 2) ones where a battle trains the margin and the tie, zeros elsewhere; None if all train both."""
    if battles.teaches is None or (battles.teaches == "both").all():
        return None
    return np.stack([battles.taught(head) for head in HEADS], axis=1).astype(np.float64)


def battle_loss(logits: torch.Tensor, targets: torch.Tensor, heads: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean cross-entropy of logits (B, 3) for targets (B, 3), each of which sums to a weight.

    With (B, 2) `heads` from `heads_of`, only the named parts of a battle count. By the chain rule the cross-entropy
    is the sum of the two: the log-likelihood of a tie or not, and that of the winner of a battle without a tie.
    """
    if heads is None:
        return torch.nn.functional.cross_entropy(logits, targets)
    margin = (targets[:, :2] * logits[:, :2].log_softmax(dim=1)).sum(dim=1)
    log_p = logits.log_softmax(dim=1)
    tie = targets[:, 2] * log_p[:, 2] + targets[:, :2].sum(dim=1) * log_p[:, :2].logsumexp(dim=1)
    return -(heads * torch.stack([margin, tie], dim=1)).sum(dim=1).mean()

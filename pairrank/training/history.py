"""The measurements of a fine-tuning, and what a fine-tuned model reports about itself."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from pairrank import distributed
from pairrank.data.probabilities import FloatArray
from pairrank.encoders.adapters import count_parameters
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.devices import Precision, device_name
from pairrank.encoders.windows import TokenCoverage
from pairrank.evaluation.scoring import log_loss


@dataclass
class TrainingHistory:
    """The measurements of a training and its warnings."""

    rows: list[dict[str, float | None]] = field(default_factory=list)
    """One row per epoch, with the columns of `evaluation.history.HISTORY`."""
    warnings: list[str] = field(default_factory=list)
    """Warnings for readers of the results, such as that the model never beat the prior."""
    temperature: float = 1.0
    """Number by which the logits of the kept epoch are divided in prediction."""


def training_report(
    module: nn.Module,
    precision: Precision,
    encoder: Encoder | None,
    coverage: TokenCoverage | None,
    history: TrainingHistory | None,
) -> dict[str, Any]:
    """Return what a fine-tuned model reports: parameters, device, encoder, token coverage, history and warnings.

    A loaded model has neither its encoder nor its history, and a model without predictions has no coverage. Their
    entries are then missing.
    """
    processes = distributed.world_size()
    report: dict[str, Any] = {
        **count_parameters(module),
        "device": device_name(precision) + (f", {processes} processes" if processes > 1 else ""),
    }
    report |= reading_report(encoder, coverage)
    if history is not None:
        report |= {"history": history.rows, "warnings": history.warnings}
        report |= {"temperature": history.temperature} if history.temperature != 1 else {}
    return report


def reading_report(encoder: Encoder | None, coverage: TokenCoverage | None) -> dict[str, Any]:
    """Return what a model reports about the encoder that read the battles, and about their tokens that it read."""
    report: dict[str, Any] = {}
    if encoder is not None:
        report["encoder"] = encoder.identity()
    if coverage is not None:
        report["tokens"] = {"kept": coverage.kept, "of": coverage.total}
        report["lost_a_side"] = coverage.lost_a_side
    return report


def warn_if_stuck(history: TrainingHistory, train: FloatArray, validation: FloatArray) -> list[str]:
    """Return a warning if no epoch beat the outcome frequencies of the training battles, a common failure.

    `train` and `validation` are (n, 3) targets.
    """
    losses = [row["Log Loss"] for row in history.rows if row["Log Loss"] is not None]
    prior = log_loss(np.tile(train.sum(axis=0), (len(validation), 1)), validation.argmax(axis=1))
    if not losses or min(losses) < prior:
        return []
    return [
        f"stuck at the prior: the best held-out log loss is {min(losses):.4f}, and the outcome frequencies alone "
        f"give {prior:.4f}. "
        "Try more epochs, another learning rate or more battles."
    ]

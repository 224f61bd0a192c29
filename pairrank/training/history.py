"""The measurements of a fine-tuning, and what a fine-tuned model reports about itself."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pairrank import distributed
from pairrank.data.probabilities import FloatArray
from pairrank.encoders.devices import device_name
from pairrank.evaluation.scoring import log_loss


@dataclass
class TrainingHistory:
    """The measurements of a training and its warnings."""

    rows: list[dict[str, float | None]] = field(default_factory=list)
    """One row per epoch, with the columns of `evaluation.history.HISTORY`."""
    warnings: list[str] = field(default_factory=list)
    """Facts that a reader of the result must know, such as a model that never beat the prior."""


def training_report(model: Any) -> dict[str, Any]:
    """Return parameters, device, encoder, token coverage, history and warnings of a fine-tuned model.

    A loaded model has no encoder and no history, so its report is without them.
    """
    processes = distributed.world_size()
    report: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.module_.parameters()),
        "device": device_name(model.training.precision) + (f", {processes} processes" if processes > 1 else ""),
    }
    if hasattr(model, "encoder_"):
        report["encoder"] = {"name": model.encoder_.name, "sha256": model.encoder_.sha256}
    if hasattr(model, "coverage_"):
        report["tokens"] = {"kept": model.coverage_.kept, "of": model.coverage_.total}
        report["lost_a_side"] = model.coverage_.lost_a_side
    if hasattr(model, "history_"):
        report |= {"history": model.history_.rows, "warnings": model.history_.warnings}
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
        f"stuck at the prior: best held-out log loss {min(losses):.4f}, outcome frequencies alone {prior:.4f}. "
        "Try more epochs, another learning rate or more battles."
    ]

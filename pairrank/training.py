"""Fine-tuning: the Trainer of transformers does the loop; this adds what battles need and nothing else."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from pairrank.battles import Battles
from pairrank.curves import history_rows
from pairrank.devices import Precision, choose_precision, device
from pairrank.encoders import quiet_transformers
from pairrank.errors import UserError
from pairrank.predictions import Proba
from pairrank.scoring import log_loss
from pairrank.terminal import shows_progress

Batch = dict[str, torch.Tensor]
Collate = Callable[[list[npt.NDArray[np.int32]]], Batch]


@dataclass(frozen=True)
class Recipe:
    """How a pretrained model is fine-tuned. The defaults are the published recipe, made fast."""

    learning_rate: float = 2e-5
    epochs: int = 3
    batch_size: int = 8
    """Battles that go through the model at once."""
    accumulation: int = 1
    """Batches whose gradients are added up before a step."""
    weight_decay: float = 0.01
    warmup: float = 0.1
    """Share of the steps in which the learning rate climbs; afterwards it falls linearly to 0."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over all three outcomes."""
    activation_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, about a third slower."""
    hold_out: float = 0.1
    """Share of the training prompts kept out to watch the training; 0 watches nothing and trains on all."""
    keep_best: bool = True
    """Go back to the epoch with the best log loss on the held-out training prompts."""
    patience: int = 0
    """Epochs without a better held-out log loss after which training stops; 0 never stops early."""
    precision: Precision = "auto"
    """bf16 and fp16 compute in that format and keep fp32 weights; "auto" chooses for the device."""
    group_by_length: bool = True
    """Put battles of like length in one batch, so that little of it is padding."""

    def __post_init__(self) -> None:
        bounds = {
            "learning_rate": (self.learning_rate >= 0, "0 or more"),
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "accumulation": (self.accumulation >= 1, "1 or more"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "warmup": (0 <= self.warmup < 1, "a share from 0 to below 1"),
            "label_smoothing": (0 <= self.label_smoothing <= 1, "a share from 0 to 1"),
            "hold_out": (0 <= self.hold_out < 1, "a share from 0 to below 1"),
            "patience": (self.patience >= 0, "0 or more"),
        }
        wrong = [
            f"{name} = {getattr(self, name)}: expected {what}." for name, (good, what) in bounds.items() if not good
        ]
        if wrong:
            raise UserError(" ".join(wrong))


@dataclass
class Rows:
    """Battles as a model reads them; a data set in the Trainer's sense."""

    tokens: Sequence[npt.NDArray[np.int32]]
    """n rows of token ids."""
    targets: npt.NDArray[np.float64]
    """(n, 3) probabilities to learn."""

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": self.tokens[row], "labels": self.targets[row]}


def targets_of(battles: Battles, soft: bool = False, label_smoothing: float = 0.0) -> npt.NDArray[np.float64]:
    """(n, 3) probabilities to learn: the winner's row is one-hot, or `battles.soft` where `soft` asks for it."""
    targets = battles.soft if soft and battles.soft is not None else np.eye(3)[battles.labels]
    smoothed: npt.NDArray[np.float64] = (1 - label_smoothing) * targets + label_smoothing / 3
    return smoothed


class _WithLoss(nn.Module):
    """A module that returns logits (B, 3), made to return the dictionary that the Trainer needs."""

    # Otherwise the Trainer takes **batch for a loss that divides by the accumulation steps itself.
    accepts_loss_kwargs = False

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, labels: torch.Tensor, **batch: torch.Tensor) -> Batch:
        logits = self.module(**batch).float()
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    def activation_checkpointing_enable(self, **options: Any) -> None:
        self.module.activation_checkpointing_enable(**options)  # type: ignore[operator]


class _MarkComplete(TrainerCallback):
    """Marks each checkpoint when all of it is written; an unmarked one was cut off and is ignored."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / "complete").touch()


@dataclass
class _StopEarly(TrainerCallback):
    """Stops when the log says so. It keeps no count of its own, which a resumed training would not have."""

    patience: int

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop |= _is_past_its_best(state.log_history, self.patience)


@dataclass
class History:
    """What a training left to look at."""

    rows: list[dict[str, float | None]] = field(default_factory=list)
    """One per epoch, under the names of `curves.HISTORY`."""
    warnings: list[str] = field(default_factory=list)
    """What a reader of the result must know, such as a training that never left the prior."""


def fine_tune(
    module: nn.Module,
    train: Rows,
    validation: Rows | None,
    collate: Collate,
    recipe: Recipe,
    folder: Path,
    seed: int = 0,
) -> History:
    """Train `module`, whose `forward(**batch)` returns logits (B, 3), in place.

    Checkpoints are written to `folder` once an epoch, for the caller to remove; a call that finds a complete one
    goes on from it and ends with the same weights as one that was never interrupted. `validation` must be training
    prompts: the scored fold has no part in choosing an epoch. Raises UserError if there is nothing to learn from,
    or the logits cease to be numbers.
    """
    if not len(train):
        raise UserError("no battles to learn from. Give more of them, or a smaller hold_out.")
    precision = choose_precision(recipe.precision)
    watched = validation is not None and len(validation) > 0
    arguments = TrainingArguments(
        output_dir=str(folder),
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=2 * recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        activation_checkpointing=recipe.activation_checkpointing,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length" if recipe.group_by_length else "random",
        remove_unused_columns=False,
        label_names=["labels"],
        eval_strategy="epoch" if watched else "no",
        save_strategy="epoch",
        save_total_limit=2,
        logging_strategy="epoch",
        load_best_model_at_end=watched and recipe.keep_best,
        metric_for_best_model="log_loss",
        greater_is_better=False,
        report_to="none",
        seed=seed,
        disable_tqdm=not shows_progress(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )

    def to_batch(rows: list[dict[str, Any]]) -> Batch:
        labels = torch.tensor(np.stack([row["labels"] for row in rows]), dtype=torch.float32)
        return collate([row["input_ids"] for row in rows]) | {"labels": labels}

    callbacks: list[TrainerCallback] = [_MarkComplete()]
    if watched and recipe.patience:
        callbacks.append(_StopEarly(recipe.patience))
    trainer = Trainer(
        model=_WithLoss(module),
        args=arguments,
        train_dataset=train,
        eval_dataset=validation if watched else None,
        data_collator=to_batch,
        compute_metrics=_metrics,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = _last_complete(folder)
    if checkpoint is not None and recipe.patience:
        # The run was killed after it had decided to stop: another epoch would be one too many.
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        if _is_past_its_best(state["log_history"], recipe.patience):
            arguments.num_train_epochs = round(state["epoch"])
    with quiet_transformers():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    history = History(history_rows(trainer.state.log_history))
    if watched and validation is not None:
        history.warnings = _stuck(history, train.targets, validation.targets)
    return history


def predict_logits(
    module: nn.Module,
    tokens: Sequence[npt.NDArray[np.int32]],
    collate: Collate,
    batch_size: int,
    precision: str = "auto",
) -> Proba:
    """(n, 3) logits in float64, in the order of `tokens`.

    Rows go through the model in one canonical order, by length and then by content, so that the same rows give
    the same logits whatever order they come in, and little of a batch is padding.
    """
    where = device()
    chosen = choose_precision(precision)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[chosen]
    order = sorted(range(len(tokens)), key=lambda i: (len(tokens[i]), tokens[i].tobytes()))
    logits = np.zeros((len(tokens), 3))
    module.to(where).eval()
    with torch.inference_mode(), torch.autocast(where.type, dtype, enabled=dtype != torch.float32):
        steps = range(0, len(order), batch_size)
        for start in tqdm(steps, "predicting", disable=not shows_progress(), leave=False):
            rows = order[start : start + batch_size]
            batch = {name: value.to(where) for name, value in collate([tokens[i] for i in rows]).items()}
            logits[rows] = module(**batch).double().cpu().numpy()
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist()
    if broken and chosen != "fp32":
        # One battle that overflows half precision must not lose a submission.
        logits[broken] = predict_logits(module, [tokens[i] for i in broken], collate, batch_size, "fp32")
    return logits


def softmax(logits: Proba) -> Proba:
    """(n, 3) probabilities of (n, 3) logits, in float64."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Proba = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


def _metrics(result: Any) -> dict[str, float]:
    """Accuracy and log loss of an evaluation; the targets' largest entry is taken as the winner."""
    if not np.isfinite(result.predictions).all():
        raise UserError(
            "training diverged: the logits of held-out battles are infinite or no numbers. "
            "Try a smaller learning_rate, more warmup, or another precision."
        )
    winner = result.label_ids.argmax(axis=1)
    proba = softmax(np.asarray(result.predictions, dtype=np.float64))
    return {"accuracy": float((proba.argmax(axis=1) == winner).mean()), "log_loss": log_loss(proba, winner)}


def _last_complete(folder: Path) -> Path | None:
    """The newest checkpoint that was written whole."""
    marked = folder.glob("checkpoint-*/complete")
    checkpoints = sorted((marker.parent for marker in marked), key=lambda c: int(c.name.split("-")[1]))
    return checkpoints[-1] if checkpoints else None


def _is_past_its_best(log: list[dict[str, Any]], patience: int) -> bool:
    """Whether the best of the held-out log losses lies `patience` epochs back."""
    losses = [entry["eval_log_loss"] for entry in log if "eval_log_loss" in entry]
    return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience


def _stuck(history: History, train: Proba, validation: Proba) -> list[str]:
    """Say so if the best epoch is no better than the training battles' outcome frequencies: a common failure."""
    losses = [row["Log Loss"] for row in history.rows if row["Log Loss"] is not None]
    prior = log_loss(np.tile(train.mean(axis=0), (len(validation), 1)), validation.argmax(axis=1))
    if not losses or min(losses) < prior:
        return []
    return [
        f"stuck at the prior: best held-out log loss {min(losses):.4f}, outcome frequencies alone {prior:.4f}. "
        "Try more epochs, another learning rate or more battles."
    ]

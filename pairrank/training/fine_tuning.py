"""Fine-tuning: the Trainer of transformers does the loop; this adds what battles need and nothing else."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from pairrank import distributed
from pairrank.data.battles import Battles, concatenate
from pairrank.data.folds import hold_out
from pairrank.data.probabilities import Proba, softmax
from pairrank.encoders.cpu import prepare_cpu
from pairrank.encoders.devices import choose_precision, device_name, tokens_at_once
from pairrank.encoders.inference import Batch, Collate, Row, compute_outputs, cut_by_tokens
from pairrank.encoders.quiet import quiet_transformers
from pairrank.errors import UserError
from pairrank.evaluation.history import history_rows
from pairrank.evaluation.scoring import log_loss
from pairrank.progress import shows_progress
from pairrank.training.monitor import Monitor, ReportLoss
from pairrank.training.recipe import Recipe, make_targets, parameter_groups
from pairrank.training.tracking import PROJECT, run_name, tracker
from pairrank.training.trainer import (
    BattleTrainer,
    MarkComplete,
    Order,
    ReportEvaluation,
    StopEarly,
    WithLoss,
    is_past_its_best,
)


@dataclass
class Rows:
    """Battles as a model reads them; a data set in the Trainer's sense."""

    tokens: Sequence[Row]
    """n rows, as the model's collate takes them."""
    targets: npt.NDArray[np.float64]
    """(n, 3) targets of the cross-entropy; a row sums to the weight of its battle."""

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": self.tokens[row], "labels": self.targets[row]}


@dataclass
class TrainingHistory:
    """What a training left to look at."""

    rows: list[dict[str, float | None]] = field(default_factory=list)
    """One per epoch, under the names of `curves.HISTORY`."""
    warnings: list[str] = field(default_factory=list)
    """What a reader of the result must know, such as a training that never left the prior."""


def fine_tune_battles(
    module: nn.Module,
    train: Battles,
    read: Callable[[Battles], Sequence[Row]],
    collate: Collate,
    recipe: Recipe,
    folder: Path | None,
    seed: int = 0,
    soft_targets: bool = False,
    swap_augmentation: bool = False,
    monitor: Monitor | None = None,
) -> TrainingHistory:
    """`fine_tune` on battles, some of whose prompts are held out for validation; `read` makes a row of each.

    Checkpoints go to `folder`; without one, nothing is left of an interrupted training.
    """
    held = hold_out(train, recipe.hold_out, salt="watch")
    # Extra battles of less weight are related to those to be predicted, not like them: they choose no epoch.
    watched, learned = train.take(held & (train.weights == train.weights.max(initial=0))), train.take(~held)
    if swap_augmentation:
        learned = concatenate([learned, learned.swap()])
    with TemporaryDirectory() as scratch:
        return fine_tune(
            module,
            Rows(read(learned), make_targets(learned, soft_targets, recipe.label_smoothing)),
            # Watched against what people chose, whatever is learned from.
            Rows(read(watched), make_targets(watched)) if len(watched) else None,
            collate,
            recipe,
            (folder or Path(scratch)) / "checkpoints",
            seed,
            monitor.report if monitor is not None else None,
        )


def training_report(model: Any) -> dict[str, Any]:
    """What a fine-tuned model tells of itself, as far as it knows: a loaded one has no encoder and no history."""
    many = distributed.world_size()
    report: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.module_.parameters()),
        "device": device_name(model.training.precision) + (f", {many} processes" if many > 1 else ""),
    }
    if hasattr(model, "encoder_"):
        report["encoder"] = {"name": model.encoder_.name, "sha256": model.encoder_.sha256}
    if hasattr(model, "coverage_"):
        report["tokens"] = {"kept": model.coverage_.kept, "of": model.coverage_.total}
        report["lost_a_side"] = model.coverage_.lost_a_side
    if hasattr(model, "history_"):
        report |= {"history": model.history_.rows, "warnings": model.history_.warnings}
    return report


def fine_tune(
    module: nn.Module,
    train: Rows,
    validation: Rows | None,
    collate: Collate,
    recipe: Recipe,
    folder: Path,
    seed: int = 0,
    report: ReportLoss | None = None,
) -> TrainingHistory:
    """Train `module`, whose `forward(**batch)` returns logits (B, 3), in place.

    Its `pretrained` is the encoder in it, whose layers may learn slower or not at all.

    Checkpoints are written to `folder` once an epoch, for the caller to remove; a call that finds a complete one
    goes on from it and ends with the same weights as one that was never interrupted. `validation` must be training
    prompts: the scored fold has no part in choosing an epoch. After each epoch `report` receives its log loss.
    Raises UserError if there is nothing to learn from, or the logits cease to be numbers.
    """
    if not len(train):
        raise UserError("no battles to learn from. Give more of them, or a smaller hold_out.")
    if distributed.world_size() > 1 and not distributed.in_collective():
        raise UserError(
            "this fine-tuning is a step within another experiment, which several processes cannot share. "
            "Run it without torchrun."
        )
    many = distributed.world_size()
    if recipe.batch_size % many:
        raise UserError(
            f"batch_size = {recipe.batch_size}: cannot be shared evenly by {many} processes. "
            f"Start fewer, or --set training.batch_size={math.ceil(recipe.batch_size / many) * many}"
        )
    prepare_cpu()
    precision = choose_precision(recipe.precision)
    watched = validation is not None and len(validation) > 0
    arguments = TrainingArguments(
        output_dir=str(folder),
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size // many,
        ddp_find_unused_parameters=False,
        gradient_accumulation_steps=recipe.accumulation,
        activation_checkpointing=recipe.activation_checkpointing,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        remove_unused_columns=False,
        label_names=["labels"],
        eval_strategy="epoch" if watched else "no",
        save_strategy="epoch",
        save_total_limit=2,
        logging_strategy="epoch",
        load_best_model_at_end=watched and recipe.keep_best,
        metric_for_best_model="log_loss",
        greater_is_better=False,
        report_to=tracker() or "none",
        run_name=run_name(),
        project=PROJECT,
        seed=seed,
        disable_tqdm=not shows_progress(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )

    def to_parts(rows: list[dict[str, Any]]) -> list[Batch]:
        """A step's battles in parts of like length."""
        parts = cut_by_tokens(
            [len(row["input_ids"]) for row in rows], recipe.tokens_at_once or tokens_at_once(learning=True)
        )
        return [_batch([rows[i] for i in part], collate) for part in parts]

    def scores() -> dict[str, float]:
        """Loss, accuracy and log loss of the battles that are watched."""
        assert validation is not None  # noqa: S101  # or nothing is watched
        logits = compute_outputs(module, validation.tokens, collate, recipe.precision)
        return _scores(logits, validation.targets)

    callbacks: list[TrainerCallback] = [MarkComplete()]
    if watched and recipe.patience:
        callbacks.append(StopEarly(recipe.patience))
    if watched and report is not None:
        callbacks.append(ReportEvaluation(report))
    wrapped = WithLoss(module)
    optimizer, settings = Trainer.get_optimizer_cls_and_kwargs(arguments)
    # Without torchrun one GPU is used: torch would cut each batch in slices for all there are.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    step = recipe.batch_size * recipe.accumulation
    trainer = BattleTrainer(
        scores,
        Order([*map(len, train.tokens)], step if recipe.group_by_length else 0, seed),
        model=wrapped,
        args=arguments,
        train_dataset=train,
        eval_dataset=validation if watched else None,
        data_collator=to_parts,
        callbacks=callbacks,
        optimizer_cls_and_kwargs=(optimizer, settings | {"params": parameter_groups(module, recipe)}),
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = _last_complete(folder)
    if checkpoint is not None and recipe.patience:
        # The run was killed after it had decided to stop: another epoch would be one too many.
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        if is_past_its_best(state["log_history"], recipe.patience):
            arguments.num_train_epochs = round(state["epoch"])
    with quiet_transformers():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    history = TrainingHistory(history_rows(trainer.state.log_history))
    if watched and validation is not None:
        history.warnings = _stuck(history, train.targets, validation.targets)
    return history


def _batch(rows: Sequence[dict[str, Any]], collate: Collate) -> Batch:
    """Rows of a data set as the module with its loss takes them."""
    labels = torch.tensor(np.stack([row["labels"] for row in rows]), dtype=torch.float32)
    return collate([row["input_ids"] for row in rows]) | {"labels": labels}


def _scores(logits: Proba, targets: Proba) -> dict[str, float]:
    """Mean cross-entropy, accuracy and log loss; the targets' largest entry is taken as the winner."""
    if not np.isfinite(logits).all():
        raise UserError(
            "training diverged: the logits of held-out battles are infinite or no numbers. "
            "Try a smaller learning_rate, more warmup, or another precision."
        )
    winner, proba = targets.argmax(axis=1), softmax(logits)
    loss = nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets))
    accuracy = float((proba.argmax(axis=1) == winner).mean())
    return {"loss": float(loss), "accuracy": accuracy, "log_loss": log_loss(proba, winner)}


def _last_complete(folder: Path) -> Path | None:
    """The newest checkpoint that was written whole."""
    marked = folder.glob("checkpoint-*/complete")
    checkpoints = sorted((marker.parent for marker in marked), key=lambda c: int(c.name.split("-")[1]))
    return checkpoints[-1] if checkpoints else None


def _stuck(history: TrainingHistory, train: Proba, validation: Proba) -> list[str]:
    """Say so if the best epoch is no better than the training battles' outcome frequencies: a common failure."""
    losses = [row["Log Loss"] for row in history.rows if row["Log Loss"] is not None]
    prior = log_loss(np.tile(train.sum(axis=0), (len(validation), 1)), validation.argmax(axis=1))
    if not losses or min(losses) < prior:
        return []
    return [
        f"stuck at the prior: best held-out log loss {min(losses):.4f}, outcome frequencies alone {prior:.4f}. "
        "Try more epochs, another learning rate or more battles."
    ]

"""Fine-tuning: the Trainer of transformers runs the loop; this module adds only what battles need."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from pairrank import distributed
from pairrank.data.battles import Battles, concatenate
from pairrank.data.folds import hold_out
from pairrank.data.probabilities import FloatArray, softmax
from pairrank.encoders.cpu import prepare_cpu
from pairrank.encoders.devices import choose_precision, tokens_at_once
from pairrank.encoders.inference import Batch, Collate, Row, compute_outputs, cut_by_tokens
from pairrank.encoders.quiet import quiet_transformers
from pairrank.errors import UserError
from pairrank.evaluation.history import history_rows
from pairrank.evaluation.scoring import log_loss
from pairrank.progress import shows_progress
from pairrank.training.history import TrainingHistory, warn_if_stuck
from pairrank.training.loss import heads_of
from pairrank.training.monitor import Monitor, ReportLoss
from pairrank.training.recipe import Recipe, make_targets, parameter_groups, tokens_in_prediction
from pairrank.training.temperature import fit_temperature, temperature_in
from pairrank.training.tracking import PROJECT, run_name, tracker, untracked
from pairrank.training.trainer import (
    BattleTrainer,
    EpochSampler,
    MarkComplete,
    ModuleWithLoss,
    ReportEvaluation,
    ReportSteps,
    StopEarly,
    latest_checkpoint,
    should_stop,
)


@dataclass
class Rows:
    """Tokenised battles with their targets; a data set for the Trainer."""

    tokens: Sequence[Row]
    """n rows, in the form that the model's collate function takes."""
    targets: FloatArray
    """(n, 3) targets of the cross-entropy for A, B, tie; a row sums to the weight of its battle."""
    heads: FloatArray | None = None
    """(n, 2) the parts of the loss that each battle trains, from `heads_of`; None if all train both."""

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> dict[str, Any]:
        heads = {} if self.heads is None else {"heads": self.heads[row]}
        return {"input_ids": self.tokens[row], "labels": self.targets[row]} | heads


def fine_tune_battles(
    module: nn.Module,
    train: Battles,
    tokenise: Callable[[Battles], Sequence[Row]],
    collate: Collate,
    recipe: Recipe,
    folder: Path | None,
    seed: int = 0,
    soft_targets: bool = False,
    swap_augmentation: bool = False,
    monitor: Monitor | None = None,
) -> TrainingHistory:
    """Call `fine_tune` on battles and hold out a share of their prompts (`recipe.hold_out`) for validation.

    `tokenise` returns one row per battle. Checkpoints go to `folder`. Without a folder they are temporary, and an
    interrupted training starts from the beginning. `soft_targets` and `swap_augmentation` apply only to the battles
    that are learned from: validation uses the winners and the original order. With `recipe.extra_epochs`, extra
    battles are learned before the others, in a training of their own without validation.
    """
    # The salt decides which prompts are held out: another salt would change every result of a fine-tuning.
    held_out = hold_out(train, recipe.hold_out, salt="watch")
    # Extra battles differ from the battles to be predicted, so they are not used in validation.
    validation = train.take(held_out & train.own)
    learned = train.take(~held_out)
    if swap_augmentation:
        learned = concatenate([learned, learned.swap()])

    def rows(battles: Battles) -> Rows:
        targets = make_targets(battles, soft_targets, recipe.label_smoothing)
        return Rows(tokenise(battles), targets, heads_of(battles))

    with TemporaryDirectory() as scratch:
        checkpoints = (folder or Path(scratch)) / "checkpoints"
        if recipe.extra_epochs and not learned.own.all():
            extra, learned = learned.take(~learned.own), learned.take(learned.own)
            _learn_extra(module, rows(extra), collate, recipe, checkpoints / "extra", seed)
        return fine_tune(
            module,
            rows(learned),
            Rows(tokenise(validation), make_targets(validation)) if len(validation) else None,
            collate,
            recipe,
            checkpoints,
            seed,
            monitor.report if monitor is not None else None,
        )


def _learn_extra(module: nn.Module, extra: Rows, collate: Collate, recipe: Recipe, folder: Path, seed: int) -> None:
    """Train on extra battles alone for `recipe.extra_epochs`; the checkpoints stay, so that this is done once."""
    with untracked():  # its steps would be those of the main training once more
        fine_tune(module, extra, None, collate, replace(recipe, epochs=recipe.extra_epochs), folder, seed)


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
    """Train `module` in place; its `forward(**batch)` returns logits (B, 3) for A, B, tie.

    `module.pretrained` is the encoder, whose layers may learn at a lower rate or not at all. `validation` must hold
    training prompts: the scored fold must not affect the choice of an epoch. `report` receives the loss on
    `validation` by which epochs are compared, after each of them.

    A checkpoint is written to `folder` after each epoch; the caller deletes them. A call that finds a complete
    checkpoint resumes from it and ends with the same weights as an uninterrupted training.

    Raises UserError if `train` is empty, if the processes of a run cannot share this training or its batches, for
    fp16 without a GPU, and if the logits become infinite or NaN.
    """
    _refuse_impossible(train, recipe)
    prepare_cpu()
    if validation is not None and not len(validation):
        validation = None
    arguments = _training_arguments(recipe, folder, seed, validation is not None)
    checkpoint = latest_checkpoint(folder)
    if checkpoint is not None and recipe.patience:
        # A run that was killed after it had stopped early must not train for another epoch.
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        if should_stop(state["log_history"], recipe.patience, recipe.metric):
            arguments.num_train_epochs = round(state["epoch"])
    trainer = _make_trainer(module, train, validation, collate, recipe, arguments, report)
    with quiet_transformers():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    log = trainer.state.log_history
    history = TrainingHistory(history_rows(log), temperature=temperature_in(log, recipe.keep_best))
    if validation is not None:
        complete = slice(None) if train.heads is None else train.heads.all(axis=1)
        history.warnings = warn_if_stuck(history, train.targets[complete], validation.targets)
    return history


def _refuse_impossible(train: Rows, recipe: Recipe) -> None:
    """Raise UserError if there are no battles to learn from, or if the processes cannot share the training."""
    if not len(train):
        raise UserError("there are no battles to learn from. Use more battles or a smaller hold_out.")
    processes = distributed.world_size()
    if processes > 1 and not distributed.in_collective():
        raise UserError(
            "this fine-tuning is a step within another experiment, which several processes cannot share. "
            "Run it without torchrun."
        )
    if recipe.batch_size % processes:
        divisible = math.ceil(recipe.batch_size / processes) * processes
        raise UserError(
            f"batch_size = {recipe.batch_size}: {processes} processes cannot share a batch evenly. "
            f"Start fewer processes, or set training.batch_size={divisible} with --set."
        )


def _training_arguments(recipe: Recipe, folder: Path, seed: int, validated: bool) -> TrainingArguments:
    """Return the Trainer's arguments for a recipe; `validated` is whether there are validation battles."""
    precision, tracked_by = choose_precision(recipe.precision), tracker()
    arguments = TrainingArguments(
        output_dir=str(folder),
        learning_rate=recipe.learning_rate,
        optim="adamw_torch_fused" if recipe.optimizer == "adamw" else "paged_adamw_8bit",
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size // distributed.world_size(),
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
        eval_strategy="epoch" if validated else "no",
        save_strategy="epoch",
        save_total_limit=2,
        logging_strategy="epoch",
        load_best_model_at_end=validated and recipe.keep_best,
        metric_for_best_model=recipe.metric,
        greater_is_better=False,
        report_to="none" if tracked_by is None else tracked_by.value,
        run_name=run_name(),
        project=PROJECT,
        seed=seed,
        disable_tqdm=not shows_progress(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    # Without torchrun one GPU is used: torch would split each batch over all GPUs it finds.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _make_trainer(
    module: nn.Module,
    train: Rows,
    validation: Rows | None,
    collate: Collate,
    recipe: Recipe,
    arguments: TrainingArguments,
    report: ReportLoss | None,
) -> BattleTrainer:
    """Return the Trainer of these battles, with its callbacks and an optimizer of the recipe's parameter groups."""

    def split_batch(rows: list[dict[str, Any]]) -> list[Batch]:
        """Split the battles of a step into parts of similar length."""
        lengths = [len(row["input_ids"]) for row in rows]
        parts = cut_by_tokens(lengths, recipe.tokens_at_once or tokens_at_once(learning=True))
        return [_batch([rows[i] for i in part], collate) for part in parts]

    def score_validation() -> dict[str, float]:
        assert validation is not None  # noqa: S101  # the Trainer evaluates only if there are validation battles
        most = tokens_in_prediction(module, recipe)
        logits = compute_outputs(module, validation.tokens, collate, recipe.precision, most)
        return _scores(logits, validation.targets, calibrated=recipe.choose_by == "calibrated loss")

    callbacks: list[TrainerCallback] = [MarkComplete()]
    if arguments.disable_tqdm and not distributed.rank():
        callbacks.append(ReportSteps())
    if validation is not None and recipe.patience:
        callbacks.append(StopEarly(recipe.patience, recipe.metric))
    if validation is not None and report is not None:
        callbacks.append(ReportEvaluation(report, recipe.metric))
    optimizer, settings = Trainer.get_optimizer_cls_and_kwargs(arguments)
    grouped = recipe.batch_size * recipe.accumulation if recipe.group_by_length else 0
    trainer = BattleTrainer(
        score_validation,
        EpochSampler([*map(len, train.tokens)], grouped, arguments.seed),
        model=ModuleWithLoss(module),
        args=arguments,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=split_batch,
        callbacks=callbacks,
        optimizer_cls_and_kwargs=(optimizer, settings | {"params": parameter_groups(module, recipe)}),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _batch(rows: Sequence[dict[str, Any]], collate: Collate) -> Batch:
    """Collate rows of a data set and add what the loss needs, as ModuleWithLoss takes it."""
    names = ("labels", "heads") if "heads" in rows[0] else ("labels",)
    stacked = {name: torch.tensor(np.stack([row[name] for row in rows]), dtype=torch.float32) for name in names}
    return collate([row["input_ids"] for row in rows]) | stacked


def _scores(logits: FloatArray, targets: FloatArray, calibrated: bool) -> dict[str, float]:
    """Return mean cross-entropy, accuracy and log loss; the winner is the largest entry of a row of targets.

    If `calibrated`, also the best temperature and the log loss with it.

    Raises UserError if a logit is infinite or NaN.
    """
    if not np.isfinite(logits).all():
        raise UserError(
            "training diverged: logits of held-out battles are infinite or NaN. "
            "Try a smaller learning_rate, more warmup, or another precision."
        )
    winner, proba = targets.argmax(axis=1), softmax(logits)
    loss = nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets))
    accuracy = float((proba.argmax(axis=1) == winner).mean())
    scores = {"loss": float(loss), "accuracy": accuracy, "log_loss": log_loss(proba, winner)}
    if calibrated:
        temperature = fit_temperature(logits, winner)
        adjusted = log_loss(softmax(logits / temperature), winner)
        scores |= {"temperature": temperature, "calibrated_log_loss": adjusted}
    return scores

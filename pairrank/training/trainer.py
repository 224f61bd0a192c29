"""The Trainer of transformers, with three changes for battles.

A step goes through the model in parts of similar length, all processes read the battles in one order, and
validation scores are computed by the code that also makes predictions.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback
from transformers.trainer_pt_utils import get_length_grouped_indices
from transformers.trainer_utils import speed_metrics

from pairrank import distributed
from pairrank.atomic import sync
from pairrank.encoders.inference import Batch, parts_for_prediction
from pairrank.errors import UserError
from pairrank.files import damaged_files, read_json, sha256_of, write_json
from pairrank.progress import ProgressMessages
from pairrank.training.loss import battle_loss
from pairrank.training.monitor import ReportLoss


class ModuleWithLoss(nn.Module):
    """Wrap a module that returns logits (B, 3) and return the dictionary that the Trainer needs."""

    # By default the Trainer assumes that a forward with ** arguments divides its loss for accumulation itself.
    accepts_loss_kwargs = False

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.register_state_dict_post_hook(_drop_second_names)  # type: ignore[no-untyped-call]

    def forward(self, labels: torch.Tensor, heads: torch.Tensor | None = None, **batch: torch.Tensor) -> Batch:
        """Return the mean loss and the logits (B, 3) for targets `labels` (B, 3) and `heads` of `battle_loss`."""
        logits = self.module(**batch).float()
        return {"loss": battle_loss(logits, labels, heads), "logits": logits}

    def state_dict(self, *arguments: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return what training changes, for a checkpoint: frozen weights come from the encoder's own files."""
        learned = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        # Not everything else is a buffer: quantised layers add constants to their frozen weights.
        learned |= {name for name, _ in self.named_buffers()}
        state = super().state_dict(*arguments, **options)
        return {name: value for name, value in state.items() if name in learned}

    def load_state_dict(self, state: Mapping[str, Any], *_: Any, **__: Any) -> Any:  # type: ignore[override]
        """Load what `state_dict` returned; raises UserError if anything of it is missing or too much."""
        loaded = super().load_state_dict(state, strict=False)
        missing = self.state_dict().keys() & set(loaded.missing_keys)
        if wrong := sorted({*missing, *loaded.unexpected_keys}):
            raise UserError(
                f"a checkpoint does not fit the model ({wrong[0]}). Remove the checkpoints and run again."
            )
        return type(loaded)([], [])

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Pass the Trainer's request on to the wrapped module."""
        self.module.activation_checkpointing_enable(**options)  # type: ignore[operator]


def _drop_second_names(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Keep one name of each weight in a checkpoint: safetensors refuses the two names of T5's shared vectors."""
    named = {prefix + name for name, _ in module.named_parameters()}
    every = {prefix + name for name, _ in module.named_parameters(remove_duplicate=False)}
    for name in every - named:
        state.pop(name, None)


class EpochSampler(torch.utils.data.Sampler[int]):
    """An order of the rows that depends on seed and epoch only: the same in every process and after a restart."""

    def __init__(self, lengths: Sequence[int], grouped: int, seed: int) -> None:
        """Put rows of similar length into batches of `grouped` rows; 0 shuffles regardless of length."""
        self.lengths, self.grouped, self.seed, self.epoch = lengths, grouped, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; accelerate calls this before each one."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(1_000 * self.seed + self.epoch)
        if self.grouped:
            indices = get_length_grouped_indices(self.lengths, self.grouped, generator=generator)  # type: ignore[no-untyped-call]
            yield from indices
        else:
            yield from torch.randperm(len(self), generator=generator).tolist()


class BattleTrainer(Trainer):
    """The Trainer with steps in parts, a given order of the rows and a given validation function.

    The data collator returns a list of batches, the parts of one step. `score_validation` returns the scores of
    `eval_dataset` by name.
    """

    def __init__(
        self, score_validation: Callable[[], dict[str, float]], sampler: EpochSampler, **options: Any
    ) -> None:
        super().__init__(**options)
        self._score_validation, self._sampler = score_validation, sampler
        self._share = 1.0
        """Share of the step's battles that are in the current part."""

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return self._sampler

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Add up the gradients of the parts of a step; several processes exchange them after the last part."""
        battles = sum(len(part["labels"]) for part in inputs)
        loss = torch.zeros((), device=self.args.device)
        for i, part in enumerate(inputs):
            self._share = len(part["labels"]) / battles
            last = i == len(inputs) - 1
            with nullcontext() if last else self.accelerator.no_sync(model):
                loss += super().training_step(model, part)
        return loss

    def compute_loss(self, model: nn.Module, inputs: Any, *_: Any, **__: Any) -> Any:
        """Weight the mean loss of a part by its share of the step's battles: all battles count equally."""
        loss: Any = super().compute_loss(model, inputs)
        return loss * self._share

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Log the scores of the validation battles and call the callbacks."""
        started = time.time()
        scores = self._score_validation()
        validation: Any = self.eval_dataset
        steps = len(parts_for_prediction([*map(len, validation.tokens)]))
        metrics = {f"eval_{name}": value for name, value in scores.items()}
        metrics |= speed_metrics("eval", started, num_samples=len(validation), num_steps=steps)  # type: ignore[no-untyped-call]
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


MARK = "complete.json"
"""The last file of a checkpoint, with the hashes of the others."""


class MarkComplete(TrainerCallback):
    """Mark each checkpoint once it is written completely; `fine_tune` ignores one without a valid mark."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Find the best checkpoint next to the others; its recorded path is relative to an earlier folder."""
        if state.best_model_checkpoint:
            state.best_model_checkpoint = str(Path(args.output_dir) / Path(state.best_model_checkpoint).name)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the mark after each epoch."""
        distributed.barrier()  # each process writes its own random state
        if not distributed.rank():
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            files = sorted(file for file in folder.iterdir() if file.name != MARK)
            for file in files:
                sync(file)
            write_json(folder / MARK, {file.name: sha256_of(file) for file in files})
        distributed.barrier()  # the Trainer may remove older checkpoints next


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in `folder` that is whole, as is the best one until then; None if none is.

    Newer ones are damaged and are removed: the Trainer would keep them in place of those that it writes.
    """
    found = sorted(folder.glob("checkpoint-*/"), key=lambda each: int(each.name.split("-")[1]), reverse=True)
    usable = [each for each in found if _is_whole(each) and _is_whole(folder / _best_of(each))]
    distributed.barrier()  # no process may look at a checkpoint that another one has begun to remove
    for damaged in found[: found.index(usable[0])] if usable else found:
        shutil.rmtree(damaged, ignore_errors=True)
    return usable[0] if usable else None


def _is_whole(checkpoint: Path) -> bool:
    hashes = read_json(checkpoint / MARK)
    # Also without other files, some of which the Trainer would load.
    names = {file.name for file in checkpoint.iterdir()} - {MARK} if hashes is not None else set()
    return hashes is not None and names == hashes.keys() and not damaged_files(checkpoint, hashes)


def _best_of(checkpoint: Path) -> str:
    """Return the name of the best checkpoint that was known when this one was written."""
    state = read_json(checkpoint / "trainer_state.json") or {}
    return Path(state.get("best_model_checkpoint") or checkpoint).name


@dataclass
class StopEarly(TrainerCallback):
    """Stop after `patience` epochs without a better held-out loss.

    The decision is made from the Trainer's log: a separate counter would be lost when a training is resumed.
    """

    patience: int
    """Epochs, 1 or more."""
    metric: str
    """`Recipe.metric`."""

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask the Trainer to stop if the best epoch is too long ago."""
        control.should_training_stop |= should_stop(state.log_history, self.patience, self.metric)


@dataclass
class ReportEvaluation(TrainerCallback):
    """Report the held-out loss of every epoch."""

    report: ReportLoss
    metric: str
    """`Recipe.metric`."""

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report the epoch, from 1, and its loss."""
        self.report(round(state.epoch), state.log_history[-1][f"eval_{self.metric}"])


class ReportSteps(TrainerCallback):
    """Log how many steps are done and the time that remains, where no bar shows them."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start to count; the steps of a resumed training that an earlier process made are not counted."""
        self.messages = ProgressMessages("training, steps", state.max_steps, state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count a step."""
        self.messages.advance()


def should_stop(log: list[dict[str, Any]], patience: int, metric: str) -> bool:
    """Return whether the best held-out loss in the Trainer's log is at least `patience` epochs old.

    `metric` is `Recipe.metric`.
    """
    losses = [entry[f"eval_{metric}"] for entry in log if f"eval_{metric}" in entry]
    return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience

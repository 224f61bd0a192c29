"""The Trainer of transformers, as battles need it: steps in parts, one order for all, watched as models predict."""

import time
from collections.abc import Callable, Iterator, Sequence
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
from pairrank.encoders.devices import tokens_at_once
from pairrank.encoders.inference import Batch, cut_by_tokens
from pairrank.training.monitor import ReportLoss


class WithLoss(nn.Module):
    """A module that returns logits (B, 3), made to return the dictionary that the Trainer needs."""

    # Otherwise the Trainer takes **batch for a loss that divides by the accumulation steps itself.
    accepts_loss_kwargs = False

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, labels: torch.Tensor, **batch: torch.Tensor) -> Batch:
        """Loss and logits, from targets (B, 3)."""
        logits = self.module(**batch).float()
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Asked by the Trainer."""
        self.module.activation_checkpointing_enable(**options)  # type: ignore[operator]


class Order(torch.utils.data.Sampler[int]):
    """Rows in an order that seed and epoch alone decide: the same in every process, and after an interruption."""

    def __init__(self, lengths: Sequence[int], grouped: int, seed: int) -> None:
        """Batches of `grouped` rows are of like length; 0 leaves all to chance."""
        self.lengths, self.grouped, self.seed, self.epoch = lengths, grouped, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Told by accelerate before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(1_000 * self.seed + self.epoch)
        if self.grouped:
            indices = get_length_grouped_indices(self.lengths, self.grouped, generator=generator)  # type: ignore[no-untyped-call]
            yield from indices
        else:
            yield from torch.randperm(len(self), generator=generator).tolist()


class BattleTrainer(Trainer):
    """The Trainer, whose steps go through the model in parts, and which watches as models predict."""

    def __init__(self, watch: Callable[[], dict[str, float]], order: Order, **options: Any) -> None:
        super().__init__(**options)
        self._watch, self._order, self._share = watch, order, 1.0

    def _get_train_sampler(self, train_dataset: Any = None) -> Order:
        return self._order

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """The gradient of a step's battles, summed over its parts; several processes meet at the last one."""
        battles = sum(len(part["labels"]) for part in inputs)
        loss = torch.zeros((), device=self.args.device)
        for i, part in enumerate(inputs):
            self._share = len(part["labels"]) / battles
            last = i == len(inputs) - 1
            with nullcontext() if last else self.accelerator.no_sync(model):
                loss += super().training_step(model, part)
        return loss

    def compute_loss(self, model: nn.Module, inputs: Any, *_: Any, **__: Any) -> Any:
        """The mean loss of a part, times its share of the step's battles: so that each of them counts alike."""
        loss: Any = super().compute_loss(model, inputs)
        return loss * self._share

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Log the scores of the battles that are watched, and tell the callbacks."""
        begun = time.time()
        scores = self._watch()
        watched: Any = self.eval_dataset
        steps = len(cut_by_tokens([*map(len, watched.tokens)], tokens_at_once()))
        metrics = {f"eval_{name}": value for name, value in scores.items()}
        metrics |= speed_metrics("eval", begun, num_samples=len(watched), num_steps=steps)  # type: ignore[no-untyped-call]
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class MarkComplete(TrainerCallback):
    """Marks each checkpoint when all of it is written; an unmarked one was cut off and is ignored."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After each epoch."""
        distributed.barrier()  # each writes its own random state
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / "complete").touch()


@dataclass
class StopEarly(TrainerCallback):
    """Stops when the log says so. It keeps no count of its own, which a resumed training would not have."""

    patience: int

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After each epoch."""
        control.should_training_stop |= is_past_its_best(state.log_history, self.patience)


@dataclass
class ReportEvaluation(TrainerCallback):
    """Reports the held-out log loss of every epoch."""

    report: ReportLoss

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After each epoch."""
        self.report(round(state.epoch), state.log_history[-1]["eval_log_loss"])


def is_past_its_best(log: list[dict[str, Any]], patience: int) -> bool:
    """Whether the best of the held-out log losses lies `patience` epochs back."""
    losses = [entry["eval_log_loss"] for entry in log if "eval_log_loss" in entry]
    return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience

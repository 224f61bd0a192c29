"""A model that is trained and predicts step by step in a process of its own, for `speed.py` to time."""

import multiprocessing
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 8
"""Battles per training step."""
SIDE = 2048
"""Rows and columns of the matrices of the plain product."""


@dataclass(frozen=True)
class Setting:
    """One way to train and predict; each setting adds one switch to the one before."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of the model `baseline`."""
    precision: str = "fp32"
    """"fp32" or "bf16"."""
    grouped: bool = False
    """Whether a batch has texts of similar length."""
    ready: bool = False
    """Whether freed memory is kept and threads are set (pairrank/encoders/cpu.py)."""
    quick: bool = False
    """Whether attention is two matrix products, and vectors between layers are bf16 (encoders/speedups.py)."""
    first_token: bool = False
    """Whether the last layer computes the first token only, the one that is used (encoders/speedups.py)."""
    tokens_at_once: int = 10**9
    """Tokens of a batch that go through the model together."""
    frozen_layers: int = 0
    """Layers of the encoder, from the lowest, that are not trained."""


class Worker:
    """A model in this process with its batches and optimiser."""

    def __init__(self, setting: Setting, data: Path, battles: int) -> None:
        import torch

        from pairrank.data.folder import find_data
        from pairrank.encoders.catalogue import find_encoder
        from pairrank.encoders.cpu import prepare_cpu
        from pairrank.models import baseline
        from pairrank.models.base import build
        from pairrank.models.baseline import Baseline
        from pairrank.training.recipe import Recipe, make_targets, parameter_groups

        if setting.ready:
            prepare_cpu()
        if not setting.quick:
            baseline.apply_speedups = lambda model: None
        if not setting.first_token:
            baseline.compute_first_token_only = lambda model, answer: False
        torch.manual_seed(0)
        self.setting, self.torch = setting, torch
        taken = find_data(data).train.take(slice(battles))
        model = build("baseline", encoder=["minilm"], **setting.parameters)
        assert isinstance(model, Baseline)  # noqa: S101  # for the type checker
        model._start_from(find_encoder(["minilm"]))
        classifier = model.module_.classifier
        self.tokens, _ = model._tokens(taken)
        self.targets = torch.tensor(make_targets(taken), dtype=torch.float32)
        self.module, self.collate = model.module_, model._collate
        recipe = Recipe(frozen_layers=setting.frozen_layers)
        groups = parameter_groups(self.module, recipe)
        # Fused for all settings, as it is the default of the Trainer.
        self.optimizer = torch.optim.AdamW(groups, lr=2e-5, weight_decay=0.01, fused=True)
        self.dtype = torch.bfloat16 if setting.precision == "bf16" else torch.float32
        self.config = classifier.config
        self.padded = 0

    def batches(self) -> int:
        """Return the number of training steps."""
        return -(-len(self.tokens) // BATCH)

    def train(self, number: int) -> float:
        """Return the seconds of one step on the Trainer's batches, which are random or of similar length."""
        from pairrank.encoders.inference import cut_by_tokens

        torch = self.torch
        if not hasattr(self, "order"):
            self.order = self._order()
        rows = self.order[number * BATCH : (number + 1) * BATCH]
        begun = time.perf_counter()
        self.module.train()
        parts = cut_by_tokens([len(self.tokens[row]) for row in rows], self.setting.tokens_at_once)
        for part in parts:
            taken = [rows[i] for i in part]
            batch = self.collate([self.tokens[row] for row in taken])
            self.padded += batch["input_ids"].numel()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                logits = self.module(**batch)
            loss = torch.nn.functional.cross_entropy(logits.float(), self.targets[taken])
            (loss * len(part) / len(rows)).backward()
        torch.nn.utils.clip_grad_norm_([p for p in self.module.parameters() if p.requires_grad], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - begun

    def predict(self, share: int) -> float:
        """Return the seconds to predict a quarter of the battles, as `predict_proba` does or in batches of 16."""
        from pairrank.encoders.inference import compute_outputs

        torch = self.torch
        rows = self.tokens[share::4]
        begun = time.perf_counter()
        if self.setting.tokens_at_once < 10**9:
            compute_outputs(self.module, rows, self.collate)
        else:
            self.module.eval()
            order = (
                sorted(range(len(rows)), key=lambda i: len(rows[i])) if self.setting.grouped else range(len(rows))
            )
            mixed = torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16)
            with torch.inference_mode(), mixed:
                for start in range(0, len(rows), 16):
                    self.module(**self.collate([rows[i] for i in order[start : start + 16]]))
        return time.perf_counter() - begun

    def product(self, _: int) -> float:
        """Return the operations per second of a plain bf16 matrix product."""
        if not hasattr(self, "factors"):
            self.factors = [self.torch.randn(SIDE, SIDE, dtype=self.torch.bfloat16) for _ in range(2)]
        left, right = self.factors
        left @ right  # warm-up, not timed
        begun = time.perf_counter()
        left @ right
        return 2 * SIDE**3 / (time.perf_counter() - begun)

    def sums(self, _: int) -> dict[str, float]:
        """Return the tokens of all battles without and with padding, and the operations they take."""
        width, inner, layers = (
            self.config.hidden_size, self.config.intermediate_size, self.config.num_hidden_layers
        )  # fmt: skip
        lengths = np.array([len(row) for row in self.tokens], dtype=float)
        # Multiplications and additions of one layer: the linear layers, then QK' and AV.
        layer = 2 * lengths * (4 * width**2 + 2 * width * inner) + 4 * lengths**2 * width
        forward = layers * layer.sum()
        if self.setting.first_token:
            # The last layer computes attention and feed-forward of the first token only.
            forward -= (4 * lengths * width * inner + 4 * lengths**2 * width).sum()
        learned = forward - self.setting.frozen_layers * layer.sum()
        return {
            "tokens": lengths.sum(),
            "padded": float(self.padded),
            "forward": forward,
            "training": forward + 2 * learned,
        }

    def _order(self) -> list[int]:
        from transformers.trainer_pt_utils import get_length_grouped_indices

        generator = self.torch.Generator().manual_seed(0)
        if self.setting.grouped:
            lengths = [len(row) for row in self.tokens]
            order: list[int] = get_length_grouped_indices(lengths, BATCH, generator=generator)
            return order
        random: list[int] = self.torch.randperm(len(self.tokens), generator=generator).tolist()
        return random


def serve(pipe: Connection, setting: Setting, data: Path, battles: int) -> None:
    """Answer requests until the other end of the pipe is closed."""
    worker = Worker(setting, data, battles)
    pipe.send(worker.batches())
    while True:
        try:
            what, number = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(worker, what)(number))


class Remote:
    """A worker in a process of its own."""

    def __init__(self, setting: Setting, data: Path, battles: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, setting, data, battles), daemon=True)
        self.process.start()
        theirs.close()
        self.steps: int = self.pipe.recv()

    def ask(self, what: str, number: int = 0) -> Any:
        """Return the result of the worker's method."""
        self.pipe.send((what, number))
        return self.pipe.recv()

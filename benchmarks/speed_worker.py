"""A model that trains, predicts and encodes step by step in a process of its own, for `speed.py` to time."""

import multiprocessing
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

BATCH = 8
"""Battles per training step."""
PARTS = 4
"""Parts into which the battles or texts are divided for predicting and encoding."""
WINDOW = 512
"""Tokens of a battle, for training and predicting."""
TEXT_WINDOW = 256
"""Tokens of a prompt with one answer, for encoding: what all-MiniLM-L6-v2 was made for."""
SIDE = 2048
"""Rows and columns of the matrices of the plain product."""


@dataclass(frozen=True)
class Way:
    """How the model of a row computes, as the table names it."""

    attention: str
    """"matmul" (pairrank's two matrix products), "sdpa" or "eager" (of transformers), or "" for a backend's own."""
    backend: str
    """What runs the layers: "torch", or what a long run chooses for prediction, such as "openvino"."""
    precision: str
    """"bf16" or "fp32"; "bf16 weights" if the weights are stored in it as well."""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.attention, self.backend, self.precision)))


@dataclass(frozen=True)
class Timing:
    """What was done in a measured time."""

    seconds: float = 0.0
    texts: int = 0
    """Battles or, in encoding, texts."""
    tokens: int = 0
    """Real tokens."""
    padded: int = 0
    """Tokens, padding included."""
    operations: float = 0.0
    """Multiplications and additions on real tokens."""

    def __add__(self, other: "Timing") -> "Timing":
        return Timing(
            self.seconds + other.seconds,
            self.texts + other.texts,
            self.tokens + other.tokens,
            self.padded + other.padded,
            self.operations + other.operations,
        )


class Timed:
    """A model of which single steps are timed; tokenising is never timed."""

    way: Way
    measures: Collection[str]
    """Those of "train", "predict" and "encode" that it can do."""

    def named_way(self, _: int) -> Way:
        """Return how it has computed, which is chosen at the first prediction."""
        return self.way

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.padded = 0
        self.tokenising = 0.0

    def count(self, mask: torch.Tensor) -> None:
        """Count the texts of a batch with this attention mask (B, T)."""
        self.lengths += mask.sum(dim=-1).tolist()
        self.padded += mask.numel()

    def time(self, work: Callable[[], Any], operations: Callable[[Sequence[int]], float]) -> Timing:
        """Do the work; `operations` counts those for texts of given lengths."""
        self.lengths, self.padded, self.tokenising = [], 0, 0.0
        begun = time.perf_counter()
        work()
        seconds = time.perf_counter() - begun - self.tokenising
        return Timing(seconds, len(self.lengths), sum(self.lengths), self.padded, operations(self.lengths))

    def product(self, _: int) -> float:
        """Return the operations per second of a plain bf16 matrix product."""
        if not hasattr(self, "factors"):
            self.factors = [torch.randn(SIDE, SIDE, dtype=torch.bfloat16) for _ in range(2)]
        left, right = self.factors
        left @ right  # warm-up, not timed
        begun = time.perf_counter()
        left @ right
        return 2 * SIDE**3 / (time.perf_counter() - begun)


class Row(Protocol):
    """A row of the table, before it is measured."""

    @property
    def name(self) -> str:
        """What the row is called."""

    def open(self, data: Path, battles: int) -> Timed:
        """Return the model of the row with the first battles of the folder."""


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
    chooses: bool = False
    """Whether predictions and vectors are computed by the fastest backend, as in a long run; else by the module."""
    encodes: bool = False
    """Whether the same encoder is measured with its texts alone, as `frozen` and `siamese` use it."""

    def open(self, data: Path, battles: int) -> "Worker":
        """Return the model with its battles, in this process."""
        return Worker(self, data, battles)


def operations(config: Any, lengths: Sequence[int]) -> float:
    """Return the multiplications and additions of all layers of BERT for texts of these lengths in tokens."""
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    tokens = np.array(lengths, dtype=float)
    # The linear layers, then QK' and AV.
    layer = 2 * tokens * (4 * width**2 + 2 * width * inner) + 4 * tokens**2 * width
    return float(layers * layer.sum())


class Worker(Timed):
    """A model of pairrank in this process with its batches and optimiser."""

    def __init__(self, setting: Setting, data: Path, battles: int) -> None:
        from pairrank.data.folder import find_data
        from pairrank.encoders.catalogue import find_encoder
        from pairrank.encoders.cpu import prepare_cpu
        from pairrank.encoders.side_windows import side_texts
        from pairrank.encoders.transformer import TextEncoder
        from pairrank.models import baseline
        from pairrank.models.base import build
        from pairrank.models.baseline import Baseline
        from pairrank.training.recipe import Recipe, make_targets, parameter_groups

        super().__init__()
        if setting.ready:
            prepare_cpu()
        if not setting.quick:
            baseline.apply_speedups = lambda model: None
        if not setting.first_token:
            baseline.compute_first_token_only = lambda model, answer: False
        torch.manual_seed(0)
        self.setting = setting
        self.measures = ("train", "predict", "encode") if setting.encodes else ("train", "predict")
        taken = find_data(data).train.take(slice(battles))
        encoder = find_encoder(["minilm"])
        model = build("baseline", encoder=["minilm"], max_tokens=WINDOW, **setting.parameters)
        assert isinstance(model, Baseline)  # noqa: S101  # for the type checker
        model._start_from(encoder)
        self.tokens, _ = model._tokens(taken)
        self.targets = torch.tensor(make_targets(taken), dtype=torch.float32)
        self.module = model.module_
        self.collate = self._counted(model._collate)
        groups = parameter_groups(self.module, Recipe(frozen_layers=setting.frozen_layers))
        # Fused for all settings, as it is the default of the Trainer.
        self.optimizer = torch.optim.AdamW(groups, lr=2e-5, weight_decay=0.01, fused=True)
        self.dtype = torch.bfloat16 if setting.precision == "bf16" else torch.float32
        self.config = self.module.classifier.config
        attention = self.config._attn_implementation
        self.way = Way(attention.removeprefix("pairrank_"), "torch", setting.precision)
        self.model, self.opened = model, dict[str, Any]()
        self.order = self._order()
        if setting.encodes:
            self.encoder = TextEncoder(encoder.folder, "mean")
            rows, _ = side_texts(taken, self.encoder.tokenizer, TEXT_WINDOW)
            self.texts = [text for row in rows for text in (row.a, row.b)]
            self.collate_texts = self._counted(self.encoder.collate)

    def _counted(self, collate: Callable[..., dict[str, torch.Tensor]]) -> Callable[..., dict[str, torch.Tensor]]:
        """Return a function that collates and counts what it returns."""

        def collate_and_count(rows: Sequence[Any]) -> dict[str, torch.Tensor]:
            batch = collate(rows)
            self.count(batch["attention_mask"])
            return batch

        return collate_and_count

    def train(self, number: int) -> Timing:
        """Time one step on the Trainer's batches, which are random or of similar length."""
        rows = self.order[number * BATCH : (number + 1) * BATCH]
        return self.time(lambda: self._step(rows), self._operations_to_train)

    def predict(self, share: int) -> Timing:
        """Time the prediction of a part of the battles, as in `predict_proba` or in batches of 16."""
        if self.setting.chooses:
            self._opened("predict", self.module, self.tokens, self.model._collate)
        return self.time(lambda: self._predict(self.tokens[share::PARTS]), self._operations)

    def encode(self, share: int) -> Timing:
        """Time the vectors of a part of the texts, as `Embedder.vectors` computes them."""
        from pairrank.encoders.inference import compute_outputs

        texts, compute = (
            self.texts[share::PARTS],
            self._opened("encode", self.encoder, self.texts, self.encoder.collate),
        )
        return self.time(
            lambda: compute_outputs(self.encoder, texts, self.collate_texts, compute=compute),
            lambda lengths: operations(self.config, lengths),
        )

    def _step(self, rows: list[int]) -> None:
        from pairrank.encoders.inference import cut_by_tokens

        self.module.train()
        for part in cut_by_tokens([len(self.tokens[row]) for row in rows], self.setting.tokens_at_once):
            taken = [rows[i] for i in part]
            batch = self.collate([self.tokens[row] for row in taken])
            with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                logits = self.module(**batch)
            loss = torch.nn.functional.cross_entropy(logits.float(), self.targets[taken])
            (loss * len(part) / len(rows)).backward()
        torch.nn.utils.clip_grad_norm_([p for p in self.module.parameters() if p.requires_grad], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _predict(self, rows: list[Any]) -> None:
        from pairrank.encoders.inference import compute_outputs

        if self.setting.tokens_at_once < 10**9:
            compute_outputs(self.module, rows, self.collate, compute=self.opened.get("predict"))
            return
        self.module.eval()
        order = sorted(range(len(rows)), key=lambda i: len(rows[i])) if self.setting.grouped else range(len(rows))
        mixed = torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16)
        with torch.inference_mode(), mixed:
            for start in range(0, len(rows), 16):
                self.module(**self.collate([rows[i] for i in order[start : start + 16]]))

    def _opened(self, quantity: str, module: Any, rows: Sequence[Any], collate: Callable[..., Any]) -> Any:
        """Return what computes the outputs of a module; the fastest backend is measured and opened once."""
        from pairrank.encoders.backend_choice import COMPILES, Sample, candidates, measure_backends
        from pairrank.encoders.backends import open_backend
        from pairrank.encoders.catalogue import find_encoder

        if self.setting.chooses and quantity not in self.opened:
            sample = Sample(module, rows[:128], collate)
            names = candidates(find_encoder(["minilm"]), COMPILES)
            rates = measure_backends(sample, names, self.setting.precision)
            best = max(rates, key=rates.__getitem__)
            self.opened[quantity] = open_backend(best, module, self.setting.precision)
            chosen = f"{quantity}: {best}"
            named = chosen if self.way.backend == "torch" else f"{self.way.backend}, {chosen}"
            self.way = replace(self.way, backend=named)
        return self.opened.get(quantity)

    def _operations(self, lengths: Sequence[int]) -> float:
        """Return the operations of the forward pass."""
        forward = operations(self.config, lengths)
        if self.setting.first_token:
            # The last layer computes attention and feed-forward of the first token only.
            width, inner, tokens = self.config.hidden_size, self.config.intermediate_size, np.array(lengths, float)
            forward -= float((4 * tokens * width * inner + 4 * tokens**2 * width).sum())
        return forward

    def _operations_to_train(self, lengths: Sequence[int]) -> float:
        """Return the operations of forward and backward pass, which has no gradients of frozen layers."""
        forward = self._operations(lengths)
        frozen = self.setting.frozen_layers / self.config.num_hidden_layers
        return 3 * forward - 2 * frozen * operations(self.config, lengths)

    def _order(self) -> list[int]:
        from transformers.trainer_pt_utils import get_length_grouped_indices

        generator = torch.Generator().manual_seed(0)
        if self.setting.grouped:
            lengths = [len(row) for row in self.tokens]
            order: list[int] = get_length_grouped_indices(lengths, BATCH, generator=generator)
            return order
        random: list[int] = torch.randperm(len(self.tokens), generator=generator).tolist()
        return random


def serve(pipe: Connection, row: Row, data: Path, battles: int) -> None:
    """Answer requests until the other end of the pipe is closed."""
    worker = row.open(data, battles)
    pipe.send((worker.way, tuple(worker.measures)))
    while True:
        try:
            what, number = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(worker, what)(number))


class Remote:
    """The model of a row in a process of its own."""

    def __init__(self, row: Row, data: Path, battles: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, row, data, battles), daemon=True)
        self.process.start()
        theirs.close()
        self.way = Way("", "", "")
        self.measures: tuple[str, ...] = ()

    def wait(self) -> None:
        """Wait until the model is open."""
        self.way, self.measures = self.pipe.recv()

    def ask(self, what: str, number: int = 0) -> Any:
        """Return the result of the worker's method."""
        self.pipe.send((what, number))
        return self.pipe.recv()

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join()

"""How much faster than the published recipe do we train and predict? Both are timed in turn.

    python benchmarks/speed.py --data FOLDER [--battles 300] [--ends] [--whole] [--out FILE.json] [--check]

Same battles, encoder (minilm), batch size in battles, 512 tokens and kept text: all settings cut the raw text on
the right. On the way from the published recipe to ours one switch is changed at a time, so that the table says what
each contributes; `--ends` leaves out the stops between. Each setting lives in a process of its own, with its own
memory and threads; their steps are interleaved (A B C, A B C), because a shared machine's speed drifts, and every
setting goes once through all battles. A step is forward, backward, clipping and update; no evaluation and no
loading is timed. "of product" is the share of this machine's plain bf16 product of two 2048 x 2048 matrices,
measured between the steps: operations of linear layers and attention on real tokens, three times those of the
forward pass in training, less what is left out: gradients of frozen layers, and most of the last layer where only
one token is read.

`--whole` times whole runs as a user sees them, start-up, reading, evaluation and test predictions included: the
published notebook's loop (`published.py`) against `run baseline-top --fold 0`, on the same fold and kept text.
"""

import argparse
import multiprocessing
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

FLOORS = {"train": 7.0, "predict": 2.5}
"""Times the published recipe, below which `--check` fails; the aims are 10 and 4."""
BATCH = 8
SIDE = 2048


@dataclass(frozen=True)
class Setting:
    """One stop on the way from the published recipe to ours; each adds one switch to the one before."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    """Of the model `baseline`."""
    precision: str = "fp32"
    grouped: bool = False
    ready: bool = False
    """Whether memory is kept (pairrank/processor.py)."""
    quick: bool = False
    """Whether attention is matrix products, and vectors between layers are bf16 (pairrank/fast_encoder.py)."""
    first_token: bool = False
    """Whether the last layer is spared the tokens that nobody reads (the same file)."""
    tokens_at_once: int = 10**9
    frozen_layers: int = 0


def settings() -> list[Setting]:
    """The published recipe, then one switch more each, to ours."""
    published = {"attention_dropout": 0.1, "hidden_dropout": 0.1, "padding": "window", "budget": "right"}
    text = published | {"cells": "json"}
    short = text | {"padding": "longest"}
    fused = short | {"attention_dropout": 0.0}
    plain = fused | {"hidden_dropout": 0.0}
    return [
        Setting("published: fp32, padded to 512, dropout .1", text),
        Setting("+ padding to the longest row of a batch", short),
        Setting("+ batches of like length", short, grouped=True),
        Setting("+ bf16", short, "bf16", True),
        Setting("+ attention dropout 0 (fused kernel)", fused, "bf16", True),
        Setting("+ hidden dropout 0", plain, "bf16", True),
        Setting("+ memory kept", plain, "bf16", True, True),
        Setting("+ attention by products, bf16 in between", plain, "bf16", True, True, True),
        Setting("+ last layer for the first token alone", plain, "bf16", True, True, True, True),
        Setting("+ parts of 4,096 tokens = ours", plain, "bf16", True, True, True, True, 4_096),
        Setting("ours, lowest four of six layers frozen", plain, "bf16", True, True, True, True, 4_096, 4),
    ]


class Worker:
    """A model with its batches and optimiser in this process, ready to be stepped."""

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
        # Fused, for both recipes: it is what the Trainer takes by default.
        self.optimizer = torch.optim.AdamW(groups, lr=2e-5, weight_decay=0.01, fused=True)
        self.dtype = torch.bfloat16 if setting.precision == "bf16" else torch.float32
        self.config = classifier.config
        self.padded = 0

    def batches(self) -> int:
        """How many steps there are."""
        return -(-len(self.tokens) // BATCH)

    def train(self, number: int) -> float:
        """Seconds of one step, of the batches that the Trainer would cut: at random, or of like length."""
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
        """Seconds for a fourth of the battles: as `predict_proba` does it, or 16 at a time as they come."""
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
        """Operations a second of a plain bf16 matrix product."""
        if not hasattr(self, "factors"):
            self.factors = [self.torch.randn(SIDE, SIDE, dtype=self.torch.bfloat16) for _ in range(2)]
        left, right = self.factors
        left @ right  # does not count
        begun = time.perf_counter()
        left @ right
        return 2 * SIDE**3 / (time.perf_counter() - begun)

    def sums(self, _: int) -> dict[str, float]:
        """Tokens and operations of all battles, as asked and as done."""
        width, inner, layers = (
            self.config.hidden_size, self.config.intermediate_size, self.config.num_hidden_layers
        )  # fmt: skip
        lengths = np.array([len(row) for row in self.tokens], dtype=float)
        # Multiplications and additions of one layer: linear, and QK' with AV.
        layer = 2 * lengths * (4 * width**2 + 2 * width * inner) + 4 * lengths**2 * width
        forward = layers * layer.sum()
        if self.setting.first_token:
            # Of the last layer, all but the first token's attention and feed-forward is left out.
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
    """Answer until the other end is closed."""
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
        """What the worker's method answers."""
        self.pipe.send((what, number))
        return self.pipe.recv()


def compare(data: Path, battles: int, chosen: list[Setting]) -> dict[str, Any]:
    """Seconds of every setting's training steps and predictions, interleaved."""
    workers = [Remote(setting, data, battles) for setting in chosen]
    train, predict, products = [0.0] * len(workers), [0.0] * len(workers), []
    for worker in workers:
        worker.ask("train")  # does not count: threads, memory, kernels
        worker.ask("predict")
    before = [worker.ask("sums")["padded"] for worker in workers]
    for number in range(workers[0].steps):
        for i, worker in enumerate(workers):
            train[i] += worker.ask("train", number)
        products.append(workers[-1].ask("product"))
        print(f"step {number + 1} of {workers[0].steps}", end="\r", file=sys.stderr, flush=True)
    for number in range(4):
        for i, worker in enumerate(workers):
            predict[i] += worker.ask("predict", number)
        products.append(workers[-1].ask("product"))
    peak = statistics.median(products)
    rows = []
    for i, (setting, worker) in enumerate(zip(chosen, workers, strict=True)):
        sums = worker.ask("sums")
        model = setting.parameters
        rows.append(
            {
                "setting": setting.name,
                "dropout": [model["attention_dropout"], model["hidden_dropout"]],
                "train_battles_per_second": battles / train[i],
                "train_tokens_per_second": sums["tokens"] / train[i],
                "padding_share": 1 - sums["tokens"] / (sums["padded"] - before[i]),
                "train_share_of_product": sums["training"] / train[i] / peak,
                "train_times_published": train[0] / train[i],
                "train_times_before": train[max(i - 1, 0)] / train[i],
                "predict_battles_per_second": battles / predict[i],
                "predict_share_of_product": sums["forward"] / predict[i] / peak,
                "predict_times_published": predict[0] / predict[i],
            }
        )
    for worker in workers:
        worker.pipe.close()
        worker.process.join()
    return {"battles": battles, "product_gflops": peak / 1e9, "rows": rows}


def whole_runs(data: Path, battles: int) -> dict[str, float]:
    """Seconds of both whole runs, each in a process of its own, one after the other."""
    from pairrank.data.folder import table_in

    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as scratch:
        # Without the test battles, which only ours would predict.
        data = Path(shutil.copy(table_in(data, "train") or data, scratch)).parent
        published = [here / "published.py", "--data", data, "--battles", battles]
        ours = ["-m", "pairrank.experiments", "run", "baseline-top", "--set", "encoder=minilm", "--fold", "0"]
        ours += [
            "--set",
            "budget=right",
            "--set",
            "cells=json",
            "--data",
            data,
            "--limit",
            battles,
            "--runs",
            f"{scratch}/runs",
        ]
        seconds = {}
        for name, command in (("published", published), ("ours", ours)):
            begun = time.perf_counter()
            subprocess.run([sys.executable, *map(str, command)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
            seconds[name] = time.perf_counter() - begun
    return {"battles": battles, **seconds, "times_published": seconds["published"] / seconds["ours"]}


def show(figures: dict[str, Any]) -> None:
    """The table of all settings."""
    print(
        f"{'setting':44}{'dropout':>9}{'battles/s':>10}{'tokens/s':>10}{'padding':>9}{'of product':>11}"
        f"{'ratio':>7}{'switch':>8}{'predicts':>10}{'of product':>11}{'ratio':>7}"
    )
    for row in figures["rows"]:
        dropout = " ".join(f"{share:g}" for share in row["dropout"])
        print(
            f"{row['setting']:44}{dropout:>9}{row['train_battles_per_second']:10.2f}"
            f"{row['train_tokens_per_second']:10,.0f}{row['padding_share']:9.1%}"
            f"{row['train_share_of_product']:11.0%}{row['train_times_published']:7.2f}"
            f"{row['train_times_before']:8.2f}{row['predict_battles_per_second']:10.2f}"
            f"{row['predict_share_of_product']:11.0%}{row['predict_times_published']:7.2f}"
        )
    print(f"plain bf16 product: {figures['product_gflops']:.0f} GFLOP/s on {figures['machine']['threads']} threads")


def main() -> None:
    """Time, print the table, write the JSON, and hold the ratios against their floors if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv")
    parser.add_argument("--battles", type=int, default=300)
    parser.add_argument("--ends", action="store_true", help="only the published recipe and ours")
    parser.add_argument("--whole", type=int, metavar="BATTLES", help="time whole runs on this many battles, too")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--check", action="store_true", help=f"fail below {FLOORS} times the published recipe")
    options = parser.parse_args()

    import torch

    from pairrank.files import write_json

    stops = settings()
    figures = compare(options.data, options.battles, [stops[0], *stops[-2:]] if options.ends else stops)
    machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    figures |= {"machine": machine, "torch": torch.__version__}
    show(figures)
    if options.whole:
        figures["whole"] = whole = whole_runs(options.data, options.whole)
        print(
            f"whole run on {whole['battles']} battles: published {whole['published']:.0f} s, "
            f"ours {whole['ours']:.0f} s, {whole['times_published']:.1f} times as fast"
        )
    if options.out:
        write_json(options.out, figures)
    # `baseline-top`: three seeds of it are in LEADERBOARD.md beside the published recipe.
    ours = figures["rows"][-1]
    wrong = [
        f"{what}: {ours[f'{what}_times_published']:.2f} times the published recipe, the floor is {floor}"
        for what, floor in FLOORS.items()
        if ours[f"{what}_times_published"] < floor
    ]
    if options.whole and figures["whole"]["times_published"] < ours["train_times_published"]:
        wrong.append("the whole run gains less than its steps")
    if options.check and wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()

"""Measure how much faster than the published recipe pairrank trains and predicts.

    python benchmarks/speed.py --data FOLDER [--battles 300] [--ends] [--whole] [--out FILE.json] [--check]

All settings use the same battles, encoder (minilm), batch size in battles, 512 tokens and the same text, cut on
the right. From the published recipe to ours, one switch is changed at a time, so that the table shows what each
contributes; `--ends` leaves out the settings in between. Each setting runs in a process of its own, with its own
memory and threads, and uses every battle once. The steps alternate between the settings (A B C, A B C), because
the speed of a shared machine drifts. A step is forward, backward, clipping and update; evaluation and loading
are not timed.

"of product" is the rate of operations as a share of that of a plain bf16 product of two 2048 x 2048 matrices,
measured between the steps. Counted are the operations of linear layers and attention on real tokens. Training
counts three times the forward pass, minus the gradients of frozen layers, and minus most of the last layer where
only one token is used.

`--whole` times whole runs, with start-up, reading, evaluation and predictions: the published notebook's training
(`published.py`) and `run baseline-top --fold 0`, on the same fold and the same text.
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

MINIMUM = {"train": 7.0, "predict": 2.5}
"""Multiples of the published recipe's speed below which `--check` fails; the aims are 10 and 4."""
BATCH = 8
SIDE = 2048


@dataclass(frozen=True)
class Setting:
    """One way to train and predict; each setting adds one switch to the one before."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of the model `baseline`."""
    precision: str = "fp32"
    grouped: bool = False
    """Whether a batch has texts of similar length."""
    ready: bool = False
    """Whether freed memory is kept and threads are set (pairrank/encoders/cpu.py)."""
    quick: bool = False
    """Whether attention is two matrix products, and vectors between layers are bf16 (encoders/speedups.py)."""
    first_token: bool = False
    """Whether the last layer computes the first token only, the one that is used (encoders/speedups.py)."""
    tokens_at_once: int = 10**9
    frozen_layers: int = 0


def settings() -> list[Setting]:
    """Return the published recipe, then settings with one more switch each, up to ours."""
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


def compare(data: Path, battles: int, chosen: list[Setting]) -> dict[str, Any]:
    """Return the speeds of all settings, from training steps and predictions that alternate between them."""
    workers = [Remote(setting, data, battles) for setting in chosen]
    train, predict, products = [0.0] * len(workers), [0.0] * len(workers), []
    for worker in workers:
        worker.ask("train")  # warm-up, not timed
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
    """Return the seconds of both whole runs, made one after the other, each in a process of its own."""
    from pairrank.data.folder import table_in

    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as scratch:
        # Without the test battles, which only `run` would predict.
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
    """Print the table of all settings."""
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
    """Time the settings, print and write the figures, and check the ratios if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv")
    parser.add_argument("--battles", type=int, default=300)
    parser.add_argument("--ends", action="store_true", help="only the published recipe and ours")
    parser.add_argument("--whole", type=int, metavar="BATTLES", help="also time whole runs on this many battles")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--check", action="store_true", help=f"fail below {MINIMUM} times the published recipe")
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
    # This is `baseline-top`; LEADERBOARD.md compares three seeds of it with the published recipe.
    ours = figures["rows"][-1]
    wrong = [
        f"{what}: {ours[f'{what}_times_published']:.2f} times the published recipe, expected {minimum} or more"
        for what, minimum in MINIMUM.items()
        if ours[f"{what}_times_published"] < minimum
    ]
    if options.whole and figures["whole"]["times_published"] < ours["train_times_published"]:
        wrong.append("the whole run is sped up less than its training steps alone")
    if options.check and wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()

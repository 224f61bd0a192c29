"""How much faster than the published recipe are our training steps? Both are timed in turn, in one process.

    python benchmarks/speed.py --data FOLDER [--battles 300] [--ends] [--out FILE.json] [--check 5]

Same battles, encoder (minilm), batch size in battles, 512 tokens and kept text: both cut the raw text on the right.
No evaluation and no loading is timed. On the way from the published recipe to ours one switch is changed at a time,
so that the table says what each contributes; `--ends` leaves out the stops between. Steps are interleaved (A B C,
A B C), because a shared machine's speed drifts; every setting goes once through all battles.
"""

import argparse
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pairrank.data_folder import find_data
from pairrank.devices import cpu_has_bf16
from pairrank.encoders import find_encoder
from pairrank.files import write_json
from pairrank.models.base import build
from pairrank.models.baseline import Baseline
from pairrank.text import Tokens
from pairrank.training import targets_of


@dataclass(frozen=True)
class Setting:
    """One stop on the way from the published recipe to ours; each adds one switch to the one before."""

    name: str
    parameters: dict[str, Any]
    precision: str
    grouped: bool


def settings() -> list[Setting]:
    """The published recipe, then one switch more each, to ours."""
    fast = "bf16" if cpu_has_bf16() else "fp32"
    return [
        Setting("published: fp32, padded to 512, attention dropout .1", _published(0.1, "window"), "fp32", False),
        Setting("+ padding to the longest row of a batch", _published(0.1, "longest"), "fp32", False),
        Setting("+ batches of like length", _published(0.1, "longest"), "fp32", True),
        Setting(f"+ {fast}", _published(0.1, "longest"), fast, True),
        Setting("+ attention dropout 0 = ours", _published(0.0, "longest"), fast, True),
    ]


def _published(attention_dropout: float, padding: str) -> dict[str, Any]:
    return {"attention_dropout": attention_dropout, "padding": padding, "budget": "right", "cells": "json"}


class Trained:
    """A model with its batches and optimiser, ready to be stepped."""

    def __init__(self, setting: Setting, battles: Any, batch_size: int) -> None:
        model = build("baseline", encoder=["minilm"], **setting.parameters)
        assert isinstance(model, Baseline)  # noqa: S101  # for the type checker
        model._start_from(find_encoder(["minilm"]))
        tokens, _ = model._tokens(battles)
        self.module = model.module_.train()
        # Fused, for both recipes: it is what the Trainer takes by default.
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=2e-5, weight_decay=0.01, fused=True)
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(setting.precision)
        self.real_tokens = sum(map(len, tokens))
        targets = torch.tensor(targets_of(battles), dtype=torch.float32)
        self.batches = [
            (model._collate([tokens[i] for i in rows]), targets[rows])
            for rows in _batches(tokens, batch_size, setting)
        ]
        self.padded_tokens = sum(batch["input_ids"].numel() for batch, _ in self.batches)

    def step(self, number: int) -> float:
        """Seconds of one step on a batch: forward, backward, update."""
        batch, targets = self.batches[number]
        begun = time.perf_counter()
        with torch.autocast("cpu", self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            logits = self.module(**batch)
        torch.nn.functional.cross_entropy(logits.float(), targets).backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - begun


def _batches(tokens: list[Tokens], size: int, setting: Setting) -> list[list[int]]:
    """Batches as the Trainer cuts them: at random, or sorted by length within mega-batches of 50."""
    from transformers.trainer_pt_utils import get_length_grouped_indices

    generator = torch.Generator().manual_seed(0)
    if setting.grouped:
        order = get_length_grouped_indices([len(row) for row in tokens], size, generator=generator)
    else:
        order = torch.randperm(len(tokens), generator=generator).tolist()
    return [order[start : start + size] for start in range(0, len(order), size)]


def main() -> None:
    """Time, print the table, write the JSON, and hold the ratio against a floor if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train.csv; default as for the command line")
    parser.add_argument("--battles", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--ends", action="store_true", help="only the published recipe and ours")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--check", type=float, metavar="RATIO", help="fail if ours is not this many times faster")
    options = parser.parse_args()

    battles = find_data(options.data).train.take(slice(options.battles))
    torch.manual_seed(0)
    chosen = settings()[:: len(settings()) - 1] if options.ends else settings()
    trained = {setting.name: Trained(setting, battles, options.batch_size) for setting in chosen}
    seconds = dict.fromkeys(trained, 0.0)
    for one in trained.values():
        one.step(0)  # does not count: threads, memory, kernels
    steps = len(next(iter(trained.values())).batches)
    for number in range(steps):
        for name, one in trained.items():
            seconds[name] += one.step(number)
        print(f"step {number + 1} of {steps}", end="\r", file=sys.stderr, flush=True)

    rows, slowest, before = [], 0.0, 0.0
    for name, one in trained.items():
        taken = seconds[name]
        slowest, before = slowest or taken, before or taken
        rows.append(
            {
                "setting": name,
                "battles_per_second": len(battles) / taken,
                "real_tokens_per_second": one.real_tokens / taken,
                "padding_share": 1 - one.real_tokens / one.padded_tokens,
                "times_published": slowest / taken,
                "times_before": before / taken,
                "seconds": taken,
            }
        )
        before = taken
    print(f"{'setting':56}{'battles/s':>10}{'tokens/s':>10}{'padding':>9}{'ratio':>7}{'switch':>8}")
    for row in rows:
        print(
            f"{row['setting']:56}{row['battles_per_second']:10.2f}{row['real_tokens_per_second']:10,.0f}"
            f"{row['padding_share']:9.1%}{row['times_published']:7.2f}{row['times_before']:8.2f}"
        )
    ratio = rows[-1]["times_published"]
    print(f"ours / published: {ratio:.2f} on {torch.get_num_threads()} threads, bf16 in hardware: {cpu_has_bf16()}")
    if options.out:
        machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
        write_json(
            options.out, {"battles": len(battles), "machine": machine, "torch": torch.__version__, "rows": rows}
        )
    if options.check and ratio < options.check:
        raise SystemExit(f"ours is {ratio:.2f} times as fast, expected at least {options.check}")


if __name__ == "__main__":
    main()

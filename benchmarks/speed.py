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
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from speed_worker import Remote, Setting

MINIMUM = {"train": 7.0, "predict": 2.5}
"""Multiples of the published recipe's speed below which `--check` fails; the aims are 10 and 4."""


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

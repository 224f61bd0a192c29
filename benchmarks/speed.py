"""Measure how fast pairrank trains, predicts and encodes, against the published recipe and other libraries.

    python benchmarks/speed.py --data FOLDER [--battles 300] [--ends] [--only QUANTITY ...] [--whole 100]
                               [--out FILE.json] [--check]

All rows use the same battles, encoder (minilm), batch size in battles and 512 tokens. From the published recipe to
ours, one switch is changed at a time, so that the table shows what each contributes; `--ends` leaves out the
settings in between. Each of these reads the same text, cut on the right. Then follow sentence-transformers and the
plain Trainer with their own defaults (`speed_peers.py`); a row whose packages are not installed is skipped. Each
row runs in a process of its own, with its own memory and threads, and uses every battle once. The steps alternate
between the rows (A B C, A B C), because the speed of a shared machine drifts. A training step is forward, backward,
clipping and update; tokenising, evaluation and loading are not timed. Encoding turns each answer after its prompt
into a vector, at 256 tokens.

"Of product" is the rate of operations as a share of that of a plain bf16 product of two 2048 x 2048 matrices,
measured between the steps. Counted are the operations of linear layers and attention on real tokens. Training
counts three times the forward pass, minus the gradients of frozen layers, and minus most of the last layer where
only one token is used.

`--check` compares with the bounds of a processor that multiplies bf16 by AMX, or by AVX512-bf16 alone; on others
it does not apply.

`--whole` times whole runs, with start-up, reading, evaluation and predictions: the published notebook's training
(`published.py`) and `run baseline-top --fold 0`, on the same fold and the same text.
"""

import argparse
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speed_peers import Peer, peers
from speed_worker import BATCH, PARTS, Remote, Row, Setting, Timing, Way

BOUNDS = {
    "AMX": {"encode": 0.45, "predict": 5.0, "train": 12.0},
    "AVX512-bf16": {"encode": 0.65, "predict": 3.0, "train": 7.0},
}
"""What multiplies bf16 -> least share of the plain product in encoding, and least multiples of the published
recipe's speed in prediction and in training all layers."""
CHECKED = {
    "encode": ("encode_share_of_product", "of the plain product"),
    "predict": ("predict_times_published", "times the published recipe"),
    "train": ("train_times_published", "times the published recipe"),
}
"""The figure of each quantity that `--check` compares with its bound, and its unit."""
QUANTITIES = ("train", "predict", "encode")
"""What is measured, unless `--only` names less."""
OURS = "+ parts of 4,096 tokens = ours"
FROZEN = "ours, lowest four of six layers frozen"


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
        Setting(OURS, plain, "bf16", True, True, True, True, 4_096, chooses=True, encodes=True),
        Setting(FROZEN, plain, "bf16", True, True, True, True, 4_096, 4, chooses=True),
    ]


def compare(data: Path, battles: int, chosen: Sequence[Row], wanted: Sequence[str] = QUANTITIES) -> dict[str, Any]:
    """Return the wanted speeds of all rows, from steps that alternate between them."""
    from pairrank.data.folder import find_data

    battles = min(battles, len(find_data(data).train))
    workers = [Remote(row, data, battles) for row in chosen]
    for worker in workers:
        worker.wait()
    ours = workers[[row.name for row in chosen].index(OURS)]
    timings: dict[tuple[str, int], Timing] = defaultdict(Timing)
    products = []
    for quantity in wanted:
        rounds = -(-battles // BATCH) if quantity == "train" else PARTS
        measured = [i for i, worker in enumerate(workers) if quantity in worker.measures]
        for i in measured:
            workers[i].ask(quantity)  # warm-up, not timed
        for number in range(rounds):
            for i in measured:
                timings[quantity, i] += workers[i].ask(quantity, number)
            products.append(ours.ask("product"))
            print(f"{quantity}: {number + 1} of {rounds} ", end="\r", file=sys.stderr, flush=True)
    for worker in workers:
        worker.way = worker.ask("named_way")
        worker.close()
    peak = statistics.median(products)
    rows = []
    for i, (row, worker) in enumerate(zip(chosen, workers, strict=True)):
        found: dict[str, Any] = {"setting": row.name, "way": asdict(worker.way)}
        if isinstance(row, Setting):
            found["dropout"] = [row.parameters["attention_dropout"], row.parameters["hidden_dropout"]]
        for quantity in (each for each in worker.measures if each in wanted):
            timing = timings[quantity, i]
            unit = "texts" if quantity == "encode" else "battles"
            found |= {
                f"{quantity}_{unit}_per_second": timing.texts / timing.seconds,
                f"{quantity}_tokens_per_second": timing.tokens / timing.seconds,
                f"{quantity}_padding_share": 1 - timing.tokens / timing.padded,
                f"{quantity}_share_of_product": timing.operations / timing.seconds / peak,
            }
        rows.append(found)
    add_ratios(rows)
    return {"battles": battles, "product_gflops": peak / 1e9, "rows": rows}


def add_ratios(rows: Sequence[dict[str, Any]]) -> None:
    """Add to each row how fast it is relative to the first row and, if it is a setting, to the row above."""
    for i, row in enumerate(rows):
        for quantity in ("train", "predict"):
            speed = f"{quantity}_battles_per_second"
            if speed in row:
                row[f"{quantity}_times_published"] = row[speed] / rows[0][speed]
        if "train_battles_per_second" in row and "dropout" in row:
            before = rows[max(i - 1, 0)]
            row["train_times_before"] = row["train_battles_per_second"] / before["train_battles_per_second"]


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


def machine() -> dict[str, Any]:
    """Return what the speeds depend on: the processor, how it multiplies bf16, threads and the version of torch."""
    import torch

    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return {
        "processor": name[1] if name else platform.processor() or platform.machine(),
        "flags": [flag for flag in ("avx512_bf16", "amx_bf16") if re.search(rf"\b{flag}\b", text)],
        "bf16": bf16_unit(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def bf16_unit() -> str:
    """Return what multiplies bf16 in this processor, "AMX" or "AVX512-bf16", or ""."""
    from pairrank.encoders.devices import cpu_has_amx, cpu_has_bf16

    if cpu_has_amx():
        return "AMX"
    return "AVX512-bf16" if cpu_has_bf16() else ""


def table(figures: Mapping[str, Any]) -> str:
    """Return the table of all rows, as benchmarks/README.md shows it."""
    heads = [
        *("setting", "way", "dropout", "trains battles/s", "tokens/s", "padding", "of product", "× published"),
        *("this switch", "predicts battles/s", "of product", "× published", "encodes texts/s", "of product"),
    ]
    formats = {
        "train_battles_per_second": ".2f",
        "train_tokens_per_second": ",.0f",
        "train_padding_share": ".1%",
        "train_share_of_product": ".0%",
        "train_times_published": ".2f",
        "train_times_before": ".2f",
        "predict_battles_per_second": ".1f",
        "predict_share_of_product": ".0%",
        "predict_times_published": ".2f",
        "encode_texts_per_second": ".1f",
        "encode_share_of_product": ".0%",
    }
    lines = [heads, ["---"] * len(heads)]
    for row in figures["rows"]:
        dropout = " / ".join(f"{share:g}" for share in row.get("dropout", ()))
        cells = [format(row[name], how) if name in row else "" for name, how in formats.items()]
        lines.append([row["setting"], str(Way(**row["way"])), dropout, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def complaints(figures: Mapping[str, Any]) -> list[str]:
    """Return the bounds of the figures' processor that they miss. It must multiply bf16."""
    rows = {row["setting"]: row for row in figures["rows"]}
    ours = rows[OURS]
    bounds = BOUNDS[figures["machine"]["bf16"]]
    wrong = [
        f"{quantity}: {ours[name]:.2f} {unit}, expected {bounds[quantity]} or more"
        for quantity, (name, unit) in CHECKED.items()
        if name in ours and ours[name] < bounds[quantity]
    ]
    if "whole" in figures and figures["whole"]["times_published"] < rows[FROZEN]["train_times_published"]:
        wrong.append("the whole run is sped up less than its training steps alone")
    return wrong


def installed(rows: Sequence[Peer]) -> list[Peer]:
    """Return the rows whose packages are installed, and print which are skipped."""
    for row in rows:
        if missing := row.missing():
            print(f"skipped: {row.name}, which needs: pip install {' '.join(missing)}", file=sys.stderr)
    return [row for row in rows if not row.missing()]


def main() -> None:
    """Time the rows, print and write the figures, and check the bounds if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv")
    parser.add_argument("--battles", type=int, default=300)
    parser.add_argument("--ends", action="store_true", help="only the published recipe, ours and other libraries")
    parser.add_argument(
        "--only", nargs="+", choices=QUANTITIES, default=QUANTITIES, help="measure only these quantities"
    )
    parser.add_argument("--whole", type=int, metavar="BATTLES", help="also time whole runs on this many battles")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--check", action="store_true", help="fail below the bounds of this processor")
    options = parser.parse_args()
    if options.whole and "train" not in options.only:
        parser.error("--whole is compared with the training steps: --only needs train as well")

    from pairrank.files import write_json

    stops = settings()
    chosen = [stops[0], *stops[-2:]] if options.ends else stops
    figures = compare(options.data, options.battles, [*chosen, *installed(peers())], options.only)
    figures["machine"] = where = machine()
    print(table(figures))
    print(
        f"plain bf16 product: {figures['product_gflops']:.0f} GFLOP/s on {where['threads']} threads of "
        f"{where['processor']} ({where['bf16'] or 'without bf16'})"
    )
    if options.whole:
        figures["whole"] = whole = whole_runs(options.data, options.whole)
        print(
            f"whole run on {whole['battles']} battles: published {whole['published']:.0f} s, "
            f"ours {whole['ours']:.0f} s, {whole['times_published']:.1f} times as fast"
        )
    if options.out:
        write_json(options.out, figures)
    if options.check:
        check(figures)


def check(figures: Mapping[str, Any]) -> None:
    """Exit with an error if a bound of the figures' processor is not kept."""
    unit = figures["machine"]["bf16"]
    if not unit:
        print("the check does not apply: this processor does not multiply bf16")
        return
    ours = next(row for row in figures["rows"] if row["setting"] == OURS)
    bounds = {quantity: bound for quantity, bound in BOUNDS[unit].items() if CHECKED[quantity][0] in ours}
    print(f"checked against the bounds for {unit}: {bounds}")
    if wrong := complaints(figures):
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()

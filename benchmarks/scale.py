"""Measure how time and memory grow with the number of battles and the length of texts, on simulated battles.

    python benchmarks/scale.py battles [--most 50000] [--out FILE.json] [--check]
    python benchmarks/scale.py tokens [--out FILE.json] [--check]
    python benchmarks/scale.py memory [--battles 10000 1000000] [--out FILE.json] [--check]

`battles`: seconds of reading, and of predicting with `structure`, minilm-static and minilm (64 tokens per side, at
most 2,000 battles), for 500 battles up to `--most`. With `--check`, each must lie within 10 % of a straight line.
`tokens`: time of encoding and training one token of minilm at 64 to 512 tokens, compared with the operations of a
layer per token, 24 d² + 4 L d (three times that in training).
`memory`: peak memory of the command `predict`, in a process of its own, for files of these numbers of battles.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
LENGTHS = (64, 128, 256, 384, 512)
BLOCK = 5_000
MOST_WITH_LAYERS = 2_000
SHARE = 0.6
"""Share of the plain matrix product's rate below which `--check` fails for encoding."""
WITHIN = 0.10
"""Largest relative deviation that `--check` accepts: of time from a straight line, of memory from a constant."""


def blocks(n: int) -> Iterator[Any]:
    """Yield n simulated battles in blocks."""
    from pairrank.data.simulation import simulate

    for start in range(0, n, BLOCK):
        yield simulate(min(BLOCK, n - start), 0, start)[0]


def write_battles(path: Path, n: int) -> None:
    """Write n battles without winners as .csv or .parquet, without holding all of them in memory."""
    import pyarrow as pa
    from pyarrow import parquet

    from pairrank.data.battles import TEXTS

    names = ("id", *TEXTS)
    if path.suffix == ".parquet":
        schema = pa.schema([(name, pa.string()) for name in names])
        with parquet.ParquetWriter(path, schema) as writer:
            for battles in blocks(n):
                columns = [
                    battles.id.tolist(),
                    *([json.dumps(t) for t in getattr(battles, name)] for name in TEXTS),
                ]
                writer.write_table(pa.table(dict(zip(names, columns, strict=True)), schema=schema))
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for battles in blocks(n):
            for i, name in enumerate(battles.id):
                writer.writerow([name, *(json.dumps(getattr(battles, part)[i]) for part in TEXTS)])


def slope(sizes: list[int], seconds: list[float]) -> tuple[float, float, float]:
    """Return seconds per battle and fixed seconds of a straight line, and its largest relative error.

    It minimises the squares of the relative errors, so that all sizes have the same weight.
    """
    x, y = np.array(sizes, dtype=float), np.array(seconds)
    each, fixed = np.linalg.lstsq(np.stack([x / y, 1 / y], axis=1), np.ones(len(x)), rcond=None)[0]
    return float(each), float(fixed), float(np.abs((each * x + fixed) / y - 1).max())


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Return the median seconds of `work`, repeated with an empty cache of features each time."""
    from pairrank.features.counting import clear_cache

    seconds = []
    for _ in range(repeats):
        clear_cache()
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def measure_battles(most: int, repeats: int) -> dict[str, Any]:
    """Return the seconds of each step for each number of battles, and the straight line through them."""
    from pairrank.data.battles import concatenate
    from pairrank.data.reading import read_battles
    from pairrank.models.base import build

    sizes = [size for size in SIZES if size <= most]
    every = concatenate(list(blocks(sizes[-1])))
    train = every.take(slice(1_000))
    models = {
        "structure": build("structure").fit(train),
        "minilm-static": build("frozen", encoder=["minilm-static"], max_tokens=4096).fit(train),
        "minilm, 64 tokens": build("frozen", encoder=["minilm"], max_tokens=64).fit(train),
    }
    seconds: dict[str, dict[int, float]] = {"reading": {}, **{name: {} for name in models}}
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            path = Path(scratch) / f"{size}.csv"
            write_battles(path, size)
            seconds["reading"][size] = timed(partial(read_battles, path), repeats)
            battles = every.take(slice(size))
            for name, model in models.items():
                if name != "minilm, 64 tokens" or size <= MOST_WITH_LAYERS:
                    work = partial(model.predict_proba, battles)
                    seconds[name][size] = timed(work, repeats)
            print(size, {name: round(taken.get(size, 0), 2) for name, taken in seconds.items()}, flush=True)
    steps = {}
    for name, taken in seconds.items():
        each, fixed, off = slope(list(taken), list(taken.values()))
        steps[name] = {"seconds": taken, "ms_a_battle": each * 1e3, "fixed_seconds": fixed, "largest_error": off}
    return steps


def measure_tokens() -> dict[str, Any]:
    """Return the microseconds and operations per token of encoding and of training, for each length."""
    import torch

    from pairrank.encoders.catalogue import find_encoder
    from pairrank.encoders.cpu import prepare_cpu
    from pairrank.encoders.devices import choose_precision
    from pairrank.encoders.transformer import TextEncoder

    prepare_cpu()
    encoder = TextEncoder(find_encoder(["minilm"]).folder, "mean")
    config = encoder.transformer.model.config
    width, layers, vocabulary = config.hidden_size, config.num_hidden_layers, config.vocab_size
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=choose_precision() == "bf16")
    rng = np.random.default_rng(0)
    found: dict[str, dict[int, dict[str, float]]] = {"encode": {}, "train": {}}
    left, right = (torch.randn(2048, 2048, dtype=torch.bfloat16) for _ in range(2))
    for length in LENGTHS:
        rows = [rng.integers(1000, vocabulary, length).astype(np.int32) for _ in range(2048 // length)]
        batch = encoder.collate(rows)

        def encode(batch: Any = batch) -> None:
            with torch.inference_mode(), mixed:
                encoder.train(False)(**batch)

        def train(batch: Any = batch) -> None:
            with mixed:
                vectors = encoder.train()(**batch)
            vectors.square().sum().backward()
            encoder.zero_grad()

        operations = layers * (24 * width**2 + 4 * length * width)
        for name, work, times in (("encode", encode, 1), ("train", train, 3)):
            work()
            samples, rates = [], []
            for _ in range(12):
                begun = time.perf_counter()
                work()
                between = time.perf_counter()
                _ = left @ right
                rates.append(2 * 2048**3 / (time.perf_counter() - between))
                samples.append((between - begun) / sum(map(len, rows)))
            token = statistics.median(samples)
            rate = times * operations / token
            found[name][length] = {
                "microseconds_a_token": token * 1e6,
                "operations_a_token": times * operations,
                "gflops": rate / 1e9,
                "share_of_product": rate / statistics.median(rates),
            }
    return found


def measure_memory(sizes: list[int], kinds: list[str], models: list[str]) -> list[dict[str, Any]]:
    """Return peak memory and seconds of `predict`, each measured in a process of its own."""
    program = (
        "import resource, sys, runpy\n"
        "sys.argv = ['pairrank', *sys.argv[1:]]\n"
        "try:\n    runpy.run_module('pairrank.experiments', run_name='__main__')\n"
        "except SystemExit as ended:\n    assert not ended.code, ended.code\n"
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch) / "runs"
        prepare = ["run", *models, "--fold", "0", "--runs", str(runs)]
        subprocess.run([sys.executable, "-m", "pairrank.experiments", *prepare], check=True, capture_output=True)  # noqa: S603
        for kind in kinds:
            for size in sizes:
                file = Path(scratch) / f"battles{kind}"
                write_battles(file, size)
                for model in models:
                    out = Path(scratch) / "out.csv"
                    asked = ["predict", model, str(file), "--out", str(out), "--runs", str(runs), "--no-cache"]
                    begun = time.perf_counter()
                    done = subprocess.run(  # noqa: S603
                        [sys.executable, "-c", program, *asked], check=True, capture_output=True, text=True
                    )
                    seconds = time.perf_counter() - begun
                    with out.open(encoding="utf-8") as lines:
                        predicted = sum(1 for _ in lines) - 1
                    assert predicted == size, (predicted, size)  # noqa: S101  # no battle is lost or repeated
                    peak = int(done.stdout.rsplit("peak ", 1)[1])
                    rows.append(
                        {"file": kind, "model": model, "battles": size, "peak_mb": peak, "seconds": seconds}
                    )
                    print(rows[-1], flush=True)
                file.unlink()
    return rows


def complaints(part: str, found: Any) -> list[str]:
    """Return one line for each figure outside the limits of `--check`."""
    if part == "battles":
        return [
            f"{name}: {step['largest_error']:.0%} from a straight line, expected at most {WITHIN:.0%}"
            for name, step in found.items()
            if step["largest_error"] > WITHIN
        ]
    if part == "memory":
        peaks: dict[tuple[str, str], list[int]] = {}
        for row in found:
            peaks.setdefault((row["file"], row["model"]), []).append(row["peak_mb"])
        return [
            f"{model} on {file}: peaks of {values} MB, expected at most {WITHIN:.0%} above the first"
            for (file, model), values in peaks.items()
            if max(values) > (1 + WITHIN) * values[0]
        ]
    return [
        f"encoding {length} tokens: {row['share_of_product']:.0%} of the plain product, expected {SHARE:.0%}"
        for length, row in found["encode"].items()
        if row["share_of_product"] < SHARE
    ]


def main() -> None:
    """Measure one part, print and write its figures, and check them if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["battles", "tokens", "memory"])
    parser.add_argument("--most", type=int, default=50_000, help="largest number of battles, with `battles`")
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="repeats, with `battles`; the median counts",
    )
    parser.add_argument("--battles", type=int, nargs="+", default=[10_000, 1_000_000], help="sizes, with `memory`")
    parser.add_argument("--files", nargs="+", default=[".csv", ".parquet"], help="kinds of files, with `memory`")
    parser.add_argument("--models", nargs="+", default=["structure", "frozen-static"], help="with `memory`")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--check", action="store_true", help="fail if a figure is outside its limits")
    options = parser.parse_args()

    from pairrank.files import write_json

    # Cached vectors would be read instead of computed.
    os.environ["PAIRRANK_NO_CACHE"] = "1"
    if options.part == "battles":
        found: Any = measure_battles(options.most, options.repeats)
    elif options.part == "tokens":
        found = measure_tokens()
    else:
        found = measure_memory(options.battles, options.files, options.models)
    print(json.dumps(found, indent=2))
    if options.out:
        write_json(options.out, found)
    if options.check and (wrong := complaints(options.part, found)):
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()

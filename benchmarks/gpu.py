"""Measure training and prediction of fine-tuned models on a GPU, as a share of a plain product on it.

    benchmarks/gpu.sh [--out FILE.jsonl] [--minutes 6] [--random] [--tiny]

Measured are `siamese` with encoders of 22, 135 and 494 million parameters, and the experiments `judge-smollm2` and
`judge-qwen` where they exist. Each case prints a JSON object on a line; a table follows. A case that is not
available, has no time left or does not fit into memory is skipped, and a line says so. An encoder that is not
available is replaced by random weights of the same shape, which take the same time; `--random` does so for all.

Training is the model's own `fit` and prediction its own `predict_proba`, in bf16 where the device has it. Timed are
forward and backward passes and updates, without reading, tokenising and checkpoints; the first passes are not
timed. On a GPU the times are those of CUDA events. Counted are the operations of the linear layers, of QK' and of
AV in the layers of the encoder, on real tokens: half of QK' and AV if the mask is causal, and in training twice as
many for the gradients, minus those of weights that are not trained. The plain product is one of two large square
matrices in the same precision. "attention" is the implementation in transformers and the operators that PyTorch ran
in one forward pass, which tell FlashAttention from the other kernels of scaled dot-product attention.

`--tiny` measures tiny random encoders in seconds, on a CPU too. Only this form has been run so far; none of the
sizes has been measured on a GPU.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from gpu_cases import CASES, TINY, Case, build_case, find_or_make_encoder, random_battles
from gpu_meter import Meter, Pass, encoder_in, layers_of, now, peak_memory_mb, product_rate, seconds_between
from torch import nn

from pairrank.data.battles import Battles
from pairrank.encoders import inference
from pairrank.encoders.devices import choose_precision, device_name
from pairrank.errors import UserError, shorten
from pairrank.models.base import Model
from pairrank.training import fine_tuning

WARM_UP = 3
"""Forward passes of a training that are not timed."""


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a module of pairrank during this block."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def figures_of(
    meter: Meter, passes: Sequence[Pass], seconds: float, training: bool, product: float
) -> dict[str, Any]:
    """Return speed, share of the plain product and padding of these passes."""
    lengths = torch.cat([each.lengths for each in passes]).tolist()
    done = layers_of(encoder_in(meter.module)).operations(lengths, training)
    name = "train" if training else "predict"
    return {
        f"{name}_tokens_per_second": sum(lengths) / seconds,
        f"{name}_share_of_product": done / seconds / product,
        f"{name}_padding_share": 1 - sum(lengths) / sum(each.padded for each in passes),
        f"{name}_attention": meter.attention(),
    }


def measure_training(model: Model, battles: Battles, product: float) -> dict[str, Any]:
    """Fit the model and return the figures of its training; raises UserError if it has too few passes."""
    meter, with_loss = Meter(), fine_tuning.ModuleWithLoss
    with replaced(fine_tuning, "ModuleWithLoss", lambda module: meter.watch(with_loss(module))):
        peak = peak_memory_mb(lambda: model.fit(battles))
    timed = meter.passes[WARM_UP:]
    if len(timed) < 2:
        raise UserError(f"its training has {len(meter.passes)} forward passes, expected {WARM_UP + 2} or more")
    # A pass ends where the next one begins: the update of the weights is between them.
    seconds = seconds_between(timed[0].begun, timed[-1].begun)
    return figures_of(meter, timed[:-1], seconds, True, product) | {"train_peak_mb": peak}


def measure_prediction(model: Model, battles: Battles, product: float) -> dict[str, Any]:
    """Predict with a fitted model and return the figures."""
    meter, forward = Meter(), inference._forward
    times: list[tuple[Any, Any]] = []

    def timed(module: nn.Module, parts: Any, collate: Any, precision: str, _: Any) -> Any:
        # The module itself is watched, not the copy of a backend: on a GPU, both compute in the same way.
        meter.watch(module)
        begun = now()
        outputs = forward(module, parts, collate, precision, None)
        times.append((begun, now()))
        return outputs

    with replaced(inference, "_forward", timed):
        model.predict_proba(battles.take(slice(8)))
        warm_up = len(meter.passes), len(times)
        peak = peak_memory_mb(lambda: model.predict_proba(battles))
    seconds = sum(seconds_between(*pair) for pair in times[warm_up[1] :])
    return figures_of(meter, meter.passes[warm_up[0] :], seconds, False, product) | {"predict_peak_mb": peak}


def measure(case: Case, folder: Path, only_random: bool, side: int) -> dict[str, Any]:
    """Return the figures of one case."""
    encoder, weights = find_or_make_encoder(case, folder, only_random)
    model, battles = build_case(case, encoder), random_battles(case.battles)
    precision = choose_precision("auto")
    product = product_rate(precision, side)
    trained = measure_training(model, battles, product)
    predicted = measure_prediction(model, battles, product)
    return {
        **asdict(case),
        "weights": weights,
        "parameters": model.report()["parameters"],
        "device": device_name(precision),
        "product_gflops": product / 1e9,
        **trained,
        **predicted,
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table of all cases."""
    print(
        f"{'case':16}{'encoder':12}{'weights':9}{'parameters':>12}   {'':9}"
        "tokens/s  product  padding  peak MB  attention"
    )
    for row in rows:
        for name in ("train", "predict"):
            print(
                f"{row['name']:16}{row['encoder']:12}{row['weights']:9}{row['parameters']:12,}   {name:9}"
                f"{row[f'{name}_tokens_per_second']:8,.0f}{row[f'{name}_share_of_product']:9.1%}"
                f"{row[f'{name}_padding_share']:9.1%}{row[f'{name}_peak_mb']:9,.0f}  {row[f'{name}_attention']}"
            )
    if rows:
        print(f"plain product: {rows[-1]['product_gflops']:,.0f} GFLOP/s on {rows[-1]['device']}")


def main() -> None:
    """Measure the cases one after the other; print and write their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON lines to this file as well")
    parser.add_argument("--minutes", type=float, default=6.0, help="begin no case after this time")
    parser.add_argument(
        "--random", action="store_true", help="use random weights even where real ones are available"
    )
    parser.add_argument("--tiny", action="store_true", help="tiny random encoders, on a CPU too")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        raise SystemExit("no GPU was found, which these sizes need. On a CPU, use --tiny.")
    started, rows = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as scratch:
        for case in TINY if options.tiny else CASES:
            if time.perf_counter() - started > 60 * options.minutes:
                print(f"skipped: {case.name} with {case.encoder}: no time left")
                continue
            try:
                row = measure(case, Path(scratch), options.random or options.tiny, 256 if options.tiny else 8_192)
            except (UserError, torch.OutOfMemoryError) as error:
                print(f"skipped: {case.name} with {case.encoder}: {shorten(str(error), 120)}")
                continue
            rows.append(row)
            print(json.dumps(row), flush=True)
            if options.out:  # after each case, because gpu.sh ends after ten minutes
                options.out.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    show(rows)


if __name__ == "__main__":
    main()

"""Measure the speed of encoding, as a share of the rate of a plain matrix product on this machine.

    python benchmarks/encode.py --data FOLDER [--encoder minilm] [--battles 200] [--max-tokens 256] [--check .6]

The texts of both sides are encoded as `siamese` does for predictions, in order of length. Counted are the
operations of the linear layers, of QK' and of AV on real tokens, not on padding. The peak is the median rate of
2048 x 2048 products in the same precision and process, with the same threads. The products alternate with the
batches, because the speed of a shared machine drifts.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from pairrank.data.folder import find_data
from pairrank.encoders.catalogue import find_encoder
from pairrank.encoders.cpu import prepare_cpu
from pairrank.encoders.devices import choose_precision
from pairrank.encoders.side_windows import side_texts
from pairrank.encoders.transformer import TextEncoder
from pairrank.files import write_json

SIDE = 2048


def operations(config: Any, length: int) -> float:
    """Return the multiplications and additions that all layers do for one text of `length` tokens."""
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    linear = 2 * length * (4 * width * width + 2 * width * inner)
    attention = 2 * 2 * length * length * width
    return float(layers * (linear + attention))


def main() -> None:
    """Time batches and products in turn, print and write the figures, and check the share if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train.csv; default: ./Dataset, else the sample")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--battles", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--check", type=float, metavar="SHARE", help="fail if the share of the peak is smaller")
    options = parser.parse_args()

    prepare_cpu()
    precision = choose_precision("auto")
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    encoder = TextEncoder(find_encoder([options.encoder]).folder, "mean").eval()
    battles = find_data(options.data).train.take(slice(options.battles))
    rows, _ = side_texts(battles, encoder.tokenizer, options.max_tokens)
    texts = sorted((text for row in rows for text in (row.a, row.b)), key=len)
    batches = [texts[start : start + options.batch_size] for start in range(0, len(texts), options.batch_size)]
    left, right = (torch.randn(SIDE, SIDE, dtype=dtype) for _ in range(2))
    config = encoder.transformer.model.config
    encoding, rates = 0.0, []
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        encoder(**encoder.collate(batches[0]))  # warm-up, not timed
        for batch in batches:
            begun = time.perf_counter()
            encoder(**encoder.collate(batch))
            between = time.perf_counter()
            left @ right
            ended = time.perf_counter()
            encoding += between - begun
            rates.append(2 * SIDE**3 / (ended - between))
    done = sum(operations(config, len(text)) for text in texts)
    tokens, padded = sum(map(len, texts)), sum(len(batch) * len(batch[-1]) for batch in batches)
    peak = statistics.median(rates)
    figures = {
        "encoder": options.encoder,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "texts_per_second": len(texts) / encoding,
        "tokens_per_second": tokens / encoding,
        "padding_share": 1 - tokens / padded,
        "encoder_gflops": done / encoding / 1e9,
        "peak_gflops": peak / 1e9,
        "share_of_peak": done / encoding / peak,
    }
    for name, value in figures.items():
        print(f"{name:20}{value:,.3f}" if isinstance(value, float) else f"{name:20}{value}")
    if options.out:
        write_json(options.out, figures)
    if options.check and figures["share_of_peak"] < options.check:
        raise SystemExit(f"share of peak {figures['share_of_peak']:.2f} is below {options.check}")


if __name__ == "__main__":
    main()

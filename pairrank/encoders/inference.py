"""Rows of token ids go through a module in one canonical order and in the precision that is fast on the device."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pairrank import distributed
from pairrank.data.probabilities import FloatArray
from pairrank.encoders.cpu import prepare_cpu
from pairrank.encoders.devices import DTYPES, choose_precision, device, tokens_at_once
from pairrank.progress import with_progress

Batch = dict[str, torch.Tensor]
Compute = Callable[[Batch], torch.Tensor]
"""Returns the outputs (B, k) of a module whose weights do not change any more, for its keyword arguments."""
Row = Any
"""The tokens of one battle or text. Rows are ordered by their `len` and then by their `tobytes()`."""
Collate = Callable[[list[Row]], Batch]
"""Pads rows and puts them into tensors, the keyword arguments of the module."""

MOST_PADDING = 0.15
"""A part that is half full takes no row to which its shortest row would be padded by more than this share."""


def compute_outputs(
    module: nn.Module,
    rows: Sequence[Row],
    collate: Collate,
    precision: str = "auto",
    max_tokens: int = 0,
    compute: Compute | None = None,
) -> FloatArray:
    """Return (n, k) outputs of the module (logits or vectors) in float64, in the order of the rows.

    Rows go through the module in one canonical order, by length and then by content, and equal rows only once. The
    same rows therefore give the same outputs in whatever order they are passed. A part has up to `max_tokens`
    tokens, padding included; 0 uses the number that is fast on the device. Inside `distributed.collective`, each
    process computes its share of the parts. Rows whose outputs overflow half precision are computed again in fp32.
    `compute`, from `open_backend` in the same precision, computes in place of the module.
    """
    prepare_cpu()
    chosen = choose_precision(precision)
    keys = [(len(row), row.tobytes()) for row in rows]
    distinct = dict(zip(keys, rows, strict=True))
    order = sorted(distinct)
    parts = parts_for_prediction([length for length, _ in order], max_tokens)
    own = [parts[i] for i in distributed.own_share(len(parts))]
    outputs = _forward(module, [[distinct[order[i]] for i in part] for part in own], collate, chosen, compute)
    places = np.array([i for part in own for i in part], dtype=np.int64)
    gathered = distributed.gather_rows(outputs, places, len(order))
    place = {key: i for i, key in enumerate(order)}
    every: FloatArray = gathered[[place[key] for key in keys]]
    broken = np.flatnonzero(~np.isfinite(every).all(axis=1)).tolist()
    if broken and (chosen != "fp32" or compute is not None):
        # One battle that overflows half precision must not invalidate a submission. OpenVINO's attention returns
        # NaN where a sliding window has padding alone.
        every[broken] = compute_outputs(module, [rows[i] for i in broken], collate, "fp32", max_tokens)
    return every


def _forward(
    module: nn.Module, parts: Sequence[list[Row]], collate: Collate, precision: str, compute: Compute | None
) -> FloatArray:
    """Return (n, k) outputs for the rows of all parts, one part after the other; (0, 0) without parts."""
    target = device()
    module.to(target).eval()
    compute = compute or in_autocast(module, precision)
    outputs = []
    with torch.inference_mode():
        for rows in with_progress(parts, "predicting, batches"):
            batch = {name: value.to(target) for name, value in collate(rows).items()}
            outputs.append(compute(batch).double().cpu().numpy())
    return np.concatenate(outputs) if outputs else np.zeros((0, 0))


def in_autocast(run: Callable[..., torch.Tensor], precision: str) -> Compute:
    """Return a function that calls `run` with a batch, in "bf16", "fp16" or "fp32"."""
    target, dtype = device().type, DTYPES[precision]

    def compute(batch: Batch) -> torch.Tensor:
        with torch.autocast(target, dtype, enabled=dtype != torch.float32):
            return run(**batch)

    return compute


def parts_for_prediction(lengths: Sequence[int], max_tokens: int = 0) -> list[list[int]]:
    """Return the parts of `cut_by_tokens` in which rows of these lengths are predicted.

    `max_tokens` 0 uses the number that is fast on the device.
    """
    return cut_by_tokens(lengths, max_tokens or tokens_at_once(), MOST_PADDING)


def cut_by_tokens(lengths: Sequence[int], max_tokens: int, most_padding: float = 1.0) -> list[list[int]]:
    """Split rows of these lengths into parts of similar length, shortest first; return the indices of each part.

    A part has at most `max_tokens` tokens, padding to its longest row included, or is a single longer row. A part
    that is at least half full takes no row to whose length its shortest row would be padded by more than the share
    `most_padding`.
    """
    parts: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Rows come in ascending length, so the new row would be the longest of its part.
        length, part = lengths[row], parts[-1] if parts else []
        is_full = length * (len(part) + 1) > max_tokens
        if part and 2 * len(part) * lengths[part[-1]] >= max_tokens:
            is_full = is_full or length - lengths[part[0]] > most_padding * length
        if not part or is_full:
            parts.append([])
        parts[-1].append(row)
    return parts


def pad(rows: Sequence[npt.NDArray[np.int32]], padding: int, width: int = 0) -> Batch:
    """Return token ids and attention mask (B, T); T is `width` or the longest row's length if that is greater."""
    width = max(width, *map(len, rows))
    ids = torch.full((len(rows), width), padding, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.from_numpy(row)
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}

"""Token ids through a torch module: in one canonical order, in half precision where that is fast."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from pairrank.devices import choose_precision, device
from pairrank.predictions import Proba
from pairrank.terminal import shows_progress

Batch = dict[str, torch.Tensor]
Row = Any
"""What a model reads of one battle or text: it has a length, by which rows are put in batches."""
Collate = Callable[[list[Row]], Batch]


def outputs_of(
    module: nn.Module,
    rows: Sequence[npt.NDArray[np.int32]],
    collate: Collate,
    batch_size: int,
    precision: str = "auto",
) -> Proba:
    """(n, k) outputs (logits, vectors) in float64 for rows of token ids, in their order.

    Rows go through the module in one canonical order, by length and then by content, and equal ones only once: the
    same rows give the same outputs whatever order they come in, and little of a batch is padding.
    """
    where = device()
    chosen = choose_precision(precision)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[chosen]
    keys = [(len(row), row.tobytes()) for row in rows]
    distinct = dict(zip(keys, rows, strict=True))
    order = sorted(distinct)
    module.to(where).eval()
    parts = []
    with torch.inference_mode(), torch.autocast(where.type, dtype, enabled=dtype != torch.float32):
        steps = range(0, len(order), batch_size)
        for start in tqdm(steps, "predicting", disable=not shows_progress(), leave=False):
            batch = collate([distinct[key] for key in order[start : start + batch_size]])
            parts.append(module(**{name: value.to(where) for name, value in batch.items()}).double().cpu().numpy())
    if not parts:
        return np.zeros((0, 0))
    place = {key: i for i, key in enumerate(order)}
    outputs: Proba = np.concatenate(parts)[[place[key] for key in keys]]
    broken = np.flatnonzero(~np.isfinite(outputs).all(axis=1)).tolist()
    if broken and chosen != "fp32":
        # One battle that overflows half precision must not lose a submission.
        outputs[broken] = outputs_of(module, [rows[i] for i in broken], collate, batch_size, "fp32")
    return outputs


def pad(rows: Sequence[npt.NDArray[np.int32]], padding: int, width: int = 0) -> Batch:
    """Token ids and attention mask (B, T): T is `width`, or the longest row's length if that is more."""
    width = max(width, *map(len, rows))
    ids = torch.full((len(rows), width), padding, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.from_numpy(row)
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def softmax(logits: Proba) -> Proba:
    """(n, 3) probabilities of (n, 3) logits, in float64."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Proba = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result

"""Token ids through a torch module: in one canonical order, in half precision where that is fast."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from pairrank import distributed
from pairrank.data.probabilities import Proba
from pairrank.encoders.cpu import prepare_cpu
from pairrank.encoders.devices import choose_precision, device, tokens_at_once
from pairrank.progress import shows_progress

Batch = dict[str, torch.Tensor]
Row = Any
"""What a model reads of one battle or text: `len` and `tobytes` of it put rows in order."""
Collate = Callable[[list[Row]], Batch]


def compute_outputs(
    module: nn.Module,
    rows: Sequence[Row],
    collate: Collate,
    precision: str = "auto",
    most: int = 0,
) -> Proba:
    """(n, k) outputs (logits, vectors) in float64 for rows of token ids, in their order.

    Rows go through the module in one canonical order, by length and then by content, and equal ones only once: the
    same rows give the same outputs whatever order they come in. A part has up to `most` tokens, by default as many
    as the device does fast, and little of it is padding. In a block of several processes, each computes its share.
    """
    prepare_cpu()
    where = device()
    chosen = choose_precision(precision)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[chosen]
    keys = [(len(row), row.tobytes()) for row in rows]
    distinct = dict(zip(keys, rows, strict=True))
    order = sorted(distinct)
    module.to(where).eval()
    cut = cut_by_tokens([length for length, _ in order], most or tokens_at_once())
    mine = [cut[i] for i in distributed.own_share(len(cut))]
    outputs = []
    with torch.inference_mode(), torch.autocast(where.type, dtype, enabled=dtype != torch.float32):
        for part in tqdm(mine, "predicting", disable=not shows_progress(), leave=False):
            batch = collate([distinct[order[i]] for i in part])
            outputs.append(
                module(**{name: value.to(where) for name, value in batch.items()}).double().cpu().numpy()
            )
    places = np.array([i for part in mine for i in part], dtype=np.int64)
    known = distributed.gather_rows(np.concatenate(outputs) if outputs else np.zeros((0, 0)), places, len(order))
    place = {key: i for i, key in enumerate(order)}
    every: Proba = known[[place[key] for key in keys]]
    broken = np.flatnonzero(~np.isfinite(every).all(axis=1)).tolist()
    if broken and chosen != "fp32":
        # One battle that overflows half precision must not lose a submission.
        every[broken] = compute_outputs(module, [rows[i] for i in broken], collate, "fp32", most)
    return every


def cut_by_tokens(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Rows in parts of like length, shortest first, each of one row, or of at most `most` tokens with padding."""
    parts: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        # The last row of a part is its longest.
        if not parts or lengths[row] * (len(parts[-1]) + 1) > most:
            parts.append([])
        parts[-1].append(row)
    return parts


def pad(rows: Sequence[npt.NDArray[np.int32]], padding: int, width: int = 0) -> Batch:
    """Token ids and attention mask (B, T): T is `width`, or the longest row's length if that is more."""
    width = max(width, *map(len, rows))
    ids = torch.full((len(rows), width), padding, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.from_numpy(row)
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}

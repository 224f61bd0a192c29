"""What there is to compute on, and the precision it computes fast in."""

from typing import Literal

import torch

from pairrank.errors import UserError

Precision = Literal["auto", "bf16", "fp16", "fp32"]


def choose_precision(asked: str = "auto") -> str:
    """What the device computes fast in: bf16 where the processor or GPU has it, fp16 on older GPUs, else fp32.

    Raises UserError for fp16 without a GPU, which the Trainer would take without a word.
    """
    if asked == "fp16" and not torch.cuda.is_available():
        raise UserError('precision = "fp16" needs a GPU, and there is none here: set it to "auto" (or "fp32").')
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices in hardware; emulation is slower than fp32."""
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe() for probe in probes if probe)


def tokens_at_once(learning: bool = False) -> int:
    """Tokens, padding to the longest row included, that go through an encoder in one part.

    2,048 fit a processor's cache with the attention scores between them; where gradients of several parts must be
    added up, larger ones pay. A row counts as its longest text: of a siamese encoder, two go through. What a GPU
    takes is a guess that leaves room in 24 GB for an encoder of BERT's base size that learns.
    """
    if torch.cuda.is_available():
        return 8_192 if learning else 32_768
    return 4_096 if learning else 2_048


def device() -> torch.device:
    """Where models run: the first GPU, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(precision: str = "auto") -> str:
    """The device in words, and the precision it computes in."""
    where = (
        torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    )
    return f"{where}, {choose_precision(precision)}"

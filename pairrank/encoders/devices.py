"""The device that models run on, and the precision that is fast on it."""

from typing import Literal

import torch

from pairrank.errors import UserError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

Precision = Literal["auto", "bf16", "fp16", "fp32"]
"""Format in which a model computes; weights stay in fp32. "auto" chooses the fast one for the device."""


def choose_precision(requested: str = "auto") -> str:
    """Return the requested precision; for "auto", bf16 if the device has it, fp16 on older GPUs, else fp32.

    Raises UserError for fp16 without a GPU, which the Trainer would accept silently.
    """
    if requested == "fp16" and not torch.cuda.is_available():
        raise UserError('precision = "fp16" needs a GPU, and none was found. Set it to "auto" or "fp32".')
    if requested != "auto":
        return requested
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    """Return whether this CPU multiplies bf16 matrices in hardware; emulated bf16 is slower than fp32."""
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return cpu_has_amx() or bool(probe and probe())


def cpu_has_amx() -> bool:
    """Return whether this CPU has units for products of matrices in bf16, as Intel's Xeons have since 2023."""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe and probe())


def tokens_at_once(learning: bool = False) -> int:
    """Return how many tokens, padding included, go through an encoder in one part; `learning` for training.

    On a CPU, 2,048 tokens with the attention scores between them fit into the cache. In training larger parts are
    faster, because the gradients of fewer parts are added up. A row of a siamese encoder counts as its longer
    text, although two texts go through. The numbers for a GPU are estimates that leave room to train an encoder of
    the size of BERT base in 24 GB.
    """
    if torch.cuda.is_available():
        return 8_192 if learning else 32_768
    return 4_096 if learning else 2_048


def device() -> torch.device:
    """Return the device that models run on: the first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(precision: str = "auto") -> str:
    """Return the device and the precision it computes in, such as "CPU, 2 threads, bf16"."""
    where = (
        torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    )
    return f"{where}, {choose_precision(precision)}"


def default_backend() -> str:
    """Return the backend where nothing was measured.

    On two processors with bf16 but without AMX, attention by matrix products was faster than the fused kernel; with
    AMX and on a GPU, the fused kernel is.
    """
    return "matmul" if device().type == "cpu" and not cpu_has_amx() else "sdpa"

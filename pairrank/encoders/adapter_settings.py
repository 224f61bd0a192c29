"""The settings of an adapter are read without torch, and refused where a package or a device is missing."""

import importlib.util
from dataclasses import dataclass, field
from typing import Literal

from pairrank.errors import UserError, bounds_complaints, excerpt

ALL_LINEAR = "all-linear"

Bits = Literal[32, 16, 8, 4]
"""Bits per frozen weight; 8 and 4 quantise linear layers on an NVIDIA GPU."""


@dataclass(frozen=True)
class AdapterSettings:
    """Settings of an adapter, and of the frozen weights under it."""

    rank: int = 0
    """Rank of the trained matrices; 0 trains the encoder itself. 8 to 64 are usual; parameters grow with it."""
    alpha: float = 16.0
    """Scale of the adapter's output, which is multiplied by alpha / rank. Usual: the rank, or twice the rank."""
    dropout: float = 0.0
    """Dropout on the input of the adapter, while it is trained; 0.05 or 0.1 against overfitting."""
    targets: list[str] = field(default_factory=lambda: ["all-linear"])
    """Names of the linear layers that get an adapter, such as ["q_proj", "v_proj"]; "all-linear" names all."""
    rank_stabilised: bool = False
    """Multiply by alpha / sqrt(rank) instead (Kalajdzievski 2023), which keeps high ranks from learning slowly."""
    dora: bool = False
    """Train the length of each column of W as well (DoRA, Liu et al. 2024), which is slower and can be better."""
    whole: list[str] = field(default_factory=list)
    """Names of modules of the encoder that are trained and saved whole, such as its last norm."""
    base_bits: Bits = 32
    """Bits per frozen weight. 16 halves the memory; 8 and 4 (QLoRA) quantise linear layers on an NVIDIA GPU."""

    def __post_init__(self) -> None:
        bounds = {
            "rank": (self.rank >= 0, "0 or more"),
            "alpha": (self.alpha > 0, "a number above 0"),
            "dropout": (0 <= self.dropout < 1, "a share from 0 to below 1"),
            "targets": (
                bool(self.targets) and (ALL_LINEAR not in self.targets or len(self.targets) == 1),
                '"all-linear", or one or more names of layers',
            ),
        }
        complaints = bounds_complaints(self, bounds)
        if self.rank == 0 and self.whole:
            complaints.append(f"whole = {excerpt(self.whole)}: without an adapter everything is trained. Set rank.")
        if both := sorted({*self.targets} & {*self.whole}):
            complaints.append(f"targets and whole both name {excerpt(both[0])}. Keep one of them.")
        if complaints:
            raise UserError(" ".join(complaints))

    @property
    def is_used(self) -> bool:
        """Whether there is an adapter."""
        return self.rank > 0


def require_libraries(settings: AdapterSettings, training: bool = True) -> None:
    """Raise UserError if the settings need a package or a device that is missing; call it before loading anything.

    In `training`, an encoder without an adapter needs its weights in 32 bits.
    """
    if training and not settings.is_used and settings.base_bits != 32:
        raise UserError(
            f"adapter.base_bits = {settings.base_bits}: a full fine-tuning trains weights of 32 bits. Set "
            "adapter.rank to 1 or more, or base_bits to 32."
        )
    if settings.is_used and importlib.util.find_spec("peft") is None:
        raise UserError(
            f"adapter.rank = {settings.rank}: the package peft is not installed. Run: pip install 'pairrank[llm]'"
        )
    require_bits(settings.base_bits, "adapter.base_bits")


def require_bits(bits: Bits, name: str = "base_bits") -> None:
    """Raise UserError, which names the setting, if so few bits need a package or a device that is missing."""
    if bits < 16:
        require_bitsandbytes(f"{name} = {bits}")


def require_bitsandbytes(setting: str) -> None:
    """Raise UserError, beginning with the setting that needs it, without bitsandbytes or an NVIDIA GPU."""
    import torch

    if not torch.cuda.is_available():
        raise UserError(f"{setting}: needs an NVIDIA GPU, and none was found. Use base_bits = 16 and adamw here.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"{setting}: the package bitsandbytes is not installed. Run: pip install 'pairrank[quant]'")

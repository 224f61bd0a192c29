"""Forward passes are timed on the device's clock; their operations are counted from the sizes of the layers."""

import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil
import torch
from torch import nn
from torch.autograd.profiler import profile
from transformers import PreTrainedModel

from pairrank.encoders.architecture import is_causal

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
ATTENTION = re.compile(r"scaled_dot_product_\w*attention\w*|flash_?attn\w*|fmha\w*")
"""Names of the operators of attention."""


@dataclass(frozen=True)
class Pass:
    """One forward pass of the measured module."""

    begun: Any
    """A CUDA event, or the seconds of a clock."""
    lengths: torch.Tensor
    """Real tokens of each text."""
    padded: int
    """Tokens of all texts, padding included."""


@dataclass
class Meter:
    """Records the forward passes of a module, and the operators of the first one, which is slower for it."""

    passes: list[Pass] = field(default_factory=list)
    module: nn.Module | None = None
    profiler: profile = field(default_factory=lambda: profile(use_kineto=False))

    def watch(self, module: nn.Module) -> nn.Module:
        """Record the forward passes of this module from now on, and return it."""
        if module is not self.module:
            self.module = module
            module.register_forward_pre_hook(self._begin, with_kwargs=True)
            module.register_forward_hook(self._end)
        return module

    def _begin(self, _: nn.Module, args: Any, batch: dict[str, torch.Tensor]) -> None:
        mask = batch["attention_mask"]
        self.passes.append(Pass(now(), mask.sum(dim=-1).flatten(), mask.numel()))
        if len(self.passes) == 1:
            self.profiler.__enter__()

    def _end(self, *_: Any) -> None:
        if len(self.passes) == 1:
            self.profiler.__exit__(None, None, None)

    def attention(self) -> str:
        """Return the implementation in transformers and the operators of attention."""
        found = {name for event in self.profiler.function_events for name in ATTENTION.findall(event.name)}
        implementation = encoder_in(self.module).config._attn_implementation
        return f"{implementation}: {', '.join(sorted(found)) or 'no fused operator'}"


def now() -> Any:
    """Return a recorded CUDA event or, without a GPU, the seconds of a clock."""
    if not torch.cuda.is_available():
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(begun: Any, ended: Any) -> float:
    """Return the seconds between two results of `now`."""
    if isinstance(begun, float):
        return float(ended - begun)
    torch.cuda.synchronize()
    return float(begun.elapsed_time(ended) / 1_000)


@dataclass(frozen=True)
class Layers:
    """The sizes that decide how many operations the layers of an encoder take."""

    linear: int
    """Weights of all linear layers."""
    trained: int
    """Those of them that have a gradient."""
    width: int
    """Width of all attention heads together."""
    count: int
    causal: bool

    def operations(self, lengths: Sequence[int], training: bool = False) -> float:
        """Return the multiplications and additions for texts of these lengths."""
        tokens, squares = sum(lengths), sum(length**2 for length in lengths)
        attention = 4 * self.count * self.width * squares / (2 if self.causal else 1)
        if training:
            return float(2 * tokens * (2 * self.linear + self.trained) + 3 * attention)
        return float(2 * tokens * self.linear + attention)


def encoder_in(module: nn.Module | None) -> PreTrainedModel:
    """Return the model of transformers in a module."""
    assert module is not None  # noqa: S101  # for the type checker
    return next(part for part in module.modules() if isinstance(part, PreTrainedModel))


def layers_of(encoder: PreTrainedModel) -> Layers:
    """Return the sizes of the layers of an encoder: its longest list of modules."""
    config = encoder.config.get_text_config()
    layers = max((part for part in encoder.modules() if isinstance(part, nn.ModuleList)), key=len)
    weights = [part.weight for part in layers.modules() if isinstance(part, nn.Linear)]
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    return Layers(sum(w.numel() for w in weights), trained, width, len(layers), is_causal(encoder.config))


def product_rate(precision: str, side: int) -> float:
    """Return the operations per second of a product of two square matrices, the median of ten."""
    where = "cuda" if torch.cuda.is_available() else "cpu"
    left, right = (torch.randn(side, side, device=where, dtype=DTYPES[precision]) for _ in range(2))
    left @ right  # warm-up, not timed
    times = []
    for _ in range(10):
        begun = now()
        left @ right
        times.append((begun, now()))
    return 2 * side**3 / statistics.median(seconds_between(*pair) for pair in times)


def peak_memory_mb(work: Callable[[], Any]) -> float:
    """Do the work; return the most memory that tensors took on the GPU or, without one, that of the process."""
    if not torch.cuda.is_available():
        work()
        return psutil.Process().memory_info().rss / 2**20
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**20

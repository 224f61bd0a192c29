"""The backends that compute the outputs of a module in prediction. They differ in speed, and in rounding."""

import copy
import importlib.util
import shutil
from typing import Any, Literal, get_args

import torch
from torch import nn

from pairrank.encoders.attention import MATMUL, set_attention
from pairrank.encoders.devices import DTYPES, device
from pairrank.encoders.inference import Batch, Compute, in_autocast
from pairrank.errors import UserError

Backend = Literal["auto", "matmul", "sdpa", "eager", "compile", "openvino", "openvino-int8"]
"""What computes the outputs of an encoder in prediction; "auto" is measured where it pays, see `choose_backend`.

PyTorch with attention by matrix products, by its fused kernel, or as transformers writes it; PyTorch compiled for
this processor (needs a C++ compiler); or OpenVINO (needs `pip install 'pairrank[openvino]'`), also with matrix
products of 8-bit integers, which is faster and less exact than rounding, so "auto" never takes it.
"""
OPENVINO = ("openvino", "openvino-int8")
ATTENTIONS = {"matmul": MATMUL, "sdpa": "sdpa", "eager": "eager"}
"""The backends that differ in their attention alone, which training uses as well -> its name in transformers."""
COPIED = 2 * 2**30
"""Largest size in bytes of weights that are copied in half precision instead of converted again for each part."""


def usable_backends() -> list[str]:
    """Return the backends that can be used here."""
    names = [name for name in get_args(Backend) if name != "auto"]
    return [name for name in names if not reason_against(name)]


def reason_against(backend: str) -> str:
    """Return why a backend cannot be used here, and what to do; "" if it can."""
    if backend in ("compile", *OPENVINO) and device().type != "cpu":
        return "it is for a CPU. Set it to sdpa"
    if backend in OPENVINO and importlib.util.find_spec("openvino") is None:
        return "OpenVINO is not installed. Install it with: pip install 'pairrank[openvino]'"
    if backend == "compile" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        return "PyTorch needs a C++ compiler for it, and none was found. Install g++"
    return ""


def require_backend(backend: str) -> None:
    """Raise UserError if a backend cannot be used here; "auto" can."""
    if reason := reason_against(backend):
        raise UserError(f"backend = {backend!r}: {reason}.")


def open_backend(backend: str, module: nn.Module, precision: str) -> Compute:
    """Return a function that computes the outputs of a module with its present weights; see `Backend`.

    `precision` is "bf16", "fp16" or "fp32". The module itself is not changed.
    """
    if backend in OPENVINO:
        shared = _prepared_copy(module, "fp32")
        if shared is module:
            raise UserError(f"backend = {backend!r}: not for weights of 8 or 4 bits. Set base_bits = 32.")
        if backend == "openvino-int8" and any(each.dtype != torch.float32 for each in shared.parameters()):
            raise UserError(f"backend = {backend!r}: only for weights of 32 bits. Set base_bits = 32.")
        return _openvino(shared, precision, quantised=backend == "openvino-int8")
    prepared = _prepared_copy(module, precision)
    if prepared is not module:
        set_attention(prepared, ATTENTIONS.get(backend, "sdpa"))
    return in_autocast(_compiled(prepared) if backend == "compile" else prepared, precision)


def _compiled(module: nn.Module) -> Any:
    """Return a module compiled for this processor at the first batch.

    Frozen weights are constants, stored in the layout that the processor multiplies fastest.
    """
    from torch._inductor import config

    compiled = torch.compile(module, dynamic=True)

    def run(**batch: torch.Tensor) -> Any:
        # An option of `torch.compile` would come too late: the weights are inputs or constants before it is read.
        with config.patch(freezing=True):
            return compiled(**batch)

    return run


def _prepared_copy(module: nn.Module, precision: str) -> nn.Module:
    """Return a copy of a module to evaluate; on a CPU in half precision, its weights are converted once.

    Other weights are shared with the module: on a GPU, autocast converts them in no time and computes layer norms
    in fp32. A module with quantised weights is returned itself, since its layers hold more than their weights.
    """
    weights = list(module.parameters())
    if not all(weight.is_floating_point() for weight in weights):
        return module
    size = sum(weight.nbytes for weight in weights)
    converts = device().type == "cpu" and precision != "fp32" and size <= COPIED
    converts = converts and all(weight.dtype == torch.float32 for weight in weights)
    # `deepcopy` takes what its memo has for an object instead of a copy of it.
    memo: dict[int, Any] = {
        id(weight): nn.Parameter(weight.detach().to(DTYPES[precision]), requires_grad=False) if converts else weight
        for weight in weights
    }
    for part in module.modules():
        memo |= {id(value): value for name, value in vars(part).items() if name in ("tokenizer", "processor")}
    return copy.deepcopy(module, memo).eval()


def _openvino(module: nn.Module, precision: str, quantised: bool) -> Compute:
    """Convert a module to OpenVINO at the first batch, for batches of any size."""
    from openvino import Core

    from pairrank.encoders.openvino_models import quantise_weights, to_openvino

    compiled: Any = None

    def compute(batch: Batch) -> torch.Tensor:
        nonlocal compiled
        if compiled is None:
            settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1}
            settings["ENABLE_CPU_PINNING"] = False  # other processes may use these cores
            settings["INFERENCE_PRECISION_HINT"] = {"bf16": "bf16", "fp16": "f16"}.get(precision, "f32")
            model = to_openvino(module, batch)
            if quantised:
                settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = quantise_weights(model)
            compiled = Core().compile_model(model, "CPU", settings)
        return torch.from_numpy(compiled([value.numpy() for value in batch.values()])[0])

    return compute

"""PyTorch modules become OpenVINO models, whose weights may be 8-bit integers."""

import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from pairrank.encoders.attention import set_attention
from pairrank.encoders.inference import Batch
from pairrank.errors import UserError

LARGEST = 127
"""Largest integer of a quantised weight; the scale is symmetric."""


def to_openvino(module: nn.Module, batch: Batch) -> Any:
    """Return the OpenVINO model of a module, for batches of any size with these keyword arguments.

    The module must be in evaluation mode, and gets the fused attention. The front end is called directly:
    `openvino.convert_model` sends usage data to its makers unless each user has opted out.
    """
    from openvino import PartialShape, Type
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    manager = FrontEndManager()
    converter = manager.load_by_framework("pytorch")
    # OpenVINO does not keep the decoder, so that this name must.
    decoder = TorchScriptPythonDecoder(_trace(module, batch))
    model = converter.convert(converter.load(decoder))
    for parameter, value in zip(model.get_parameters(), batch.values(), strict=True):
        parameter.set_element_type(Type(value.numpy().dtype))
        parameter.set_partial_shape(PartialShape([-1] * value.dim()))
    model.validate_nodes_and_infer_types()
    return model


def quantise_weights(model: Any) -> int:
    """Store the matrices of a model's linear layers as 8-bit integers; return how many activations share a scale.

    Each row of a matrix, which gives one output, has a scale of its own: its largest weight becomes 127. With
    activations quantised at run time, OpenVINO then multiplies integers. No calibration data are needed, so the
    result depends on the weights alone. The number divides the width of every layer's input, as OpenVINO demands.
    """
    from openvino import opset15 as ops

    width = 0
    for operation in model.get_ordered_ops():
        if operation.get_type_name() != "MatMul" or not operation.get_transpose_b():
            continue
        source = operation.input(1).get_source_output()
        matrix = source.get_node()
        if matrix.get_type_name() != "Constant" or len(matrix.shape) != 2:
            continue
        weights = matrix.get_data()
        scale = np.maximum(np.abs(weights).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / LARGEST
        integers = ops.constant(np.round(weights / scale).astype(np.int8))
        restored = ops.multiply(ops.convert(integers, "f32"), ops.constant(scale))
        operation.input(1).replace_source_output(restored.output(0))
        width = math.gcd(width, weights.shape[1])
    if not width:
        raise UserError(
            "backend = 'openvino-int8': this encoder has no linear layer of the usual form. Use 'openvino'."
        )
    model.validate_nodes_and_infer_types()
    return width


class _ByPosition(nn.Module):
    """A module whose arguments have an order, as the conversion to OpenVINO needs."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.module(**dict(zip(self.names, values, strict=True)))
        return outputs


def _trace(module: nn.Module, batch: Batch) -> Any:
    """Return the operations of a module for these keyword arguments, whose order becomes that of its inputs.

    Two rows stand for all: no size is written into the operations.
    """
    set_attention(module, "sdpa")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that seem to be written into the operations
        return torch.jit.trace(  # type: ignore[no-untyped-call]
            _ByPosition(module, list(batch)), tuple(value[:2] for value in batch.values()), check_trace=False
        )

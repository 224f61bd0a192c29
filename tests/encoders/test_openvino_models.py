"""8-bit weights are near the exact ones, and are what the integers and the scales of a matrix say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pairrank.encoders.backends import open_backend
from pairrank.encoders.openvino_models import quantise_weights, to_openvino
from pairrank.encoders.transformer import TextEncoder
from pairrank.errors import UserError
from tests.encoders.test_backends import batch
from tests.support.architectures import write_checkpoint

pytest.importorskip("openvino")


def matrices(model: object) -> list[np.ndarray]:
    """The constant matrices of all products, read from the graph: integers times scales where it has them."""
    found = []
    for operation in model.get_ordered_ops():  # type: ignore[attr-defined]
        if operation.get_type_name() != "MatMul":
            continue
        node = operation.input(1).get_source_output().get_node()
        if node.get_type_name() == "Constant":
            found.append(node.get_data())
        elif node.get_type_name() == "Multiply":
            convert, scale = (node.input(i).get_source_output().get_node() for i in (0, 1))
            integers = convert.input(0).get_source_output().get_node().get_data()
            assert integers.dtype == np.int8
            found.append(integers * scale.get_data())
    return found


def test_each_weight_is_rounded_to_one_of_255_values_of_its_row(tiny_bert: Path):
    module, rows = TextEncoder(tiny_bert, "mean"), batch(5, 3)
    model = to_openvino(module, rows)
    exact = [each.copy() for each in matrices(model)]
    width = quantise_weights(model)
    rounded = matrices(model)
    linear = [each for each in module.modules() if isinstance(each, torch.nn.Linear)]
    assert len(exact) == len(rounded) == len(linear) > 0
    assert all(each.in_features % width == 0 for each in linear)
    for before, after in zip(exact, rounded, strict=True):
        step = np.abs(before).max(axis=1, keepdims=True) / 127
        assert np.abs(after - before).max() > 0
        assert (np.abs(after - before) <= step / 2 * 1.001).all()


def test_a_row_of_zeros_stays_zero(tiny_bert: Path):
    module, rows = TextEncoder(tiny_bert, "mean"), batch(5, 3)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data[0] = 0
    model = to_openvino(module, rows)
    quantise_weights(model)
    assert all((each[0] == 0).all() and np.isfinite(each).all() for each in matrices(model))


def test_an_encoder_without_such_layers_is_refused(tmp_path: Path):
    module = TextEncoder(write_checkpoint(tmp_path, "gpt2"), "mean")  # its matrices are not transposed
    with torch.inference_mode(), pytest.raises(UserError, match="no linear layer"):
        open_backend("openvino-int8", module, "fp32")(batch(5, 3))


def test_weights_in_16_bits_are_refused(tiny_bert: Path):
    half = TextEncoder(tiny_bert, "mean", weights={"dtype": torch.bfloat16})
    with pytest.raises(UserError, match="base_bits = 32"):
        open_backend("openvino-int8", half, "bf16")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_outputs_are_near_the_exact_ones(tiny_bert: Path, precision: str):
    module, rows = TextEncoder(tiny_bert, "mean"), batch(11, 3, 8)
    with torch.inference_mode():
        exact = open_backend("sdpa", module, "fp32")(rows)
        found = open_backend("openvino-int8", module, precision)(rows).float()
    assert 0 < (found - exact).norm() < 0.15 * exact.norm()

"""Which values ONNX Runtime has in its blocked layout (NCHWc), as far as the nodes before them tell.

Convolutions bring values into the layout; a list of operators keeps them there. Everything else reads the plain
layout, behind a reordering of the whole tensor. After onnxruntime/core/optimizer/nchwc_transformer.cc, version 1.32.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor

LAYOUT_KEEPERS = frozenset(
    [
        "AveragePool",
        "BatchNormalization",
        "Clip",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "MaxPool",
        "Relu",
        "Resize",
        "Sigmoid",
        "Tanh",
    ]
)
"""Operators of one tensor whose result is in the blocked layout, if the tensor is."""
SUMS_AND_PRODUCTS = frozenset(["Add", "Mul", "Sum"])
"""Operators of equally shaped tensors that are in the blocked layout if all of them are."""
CHANNEL_ALIGNMENT = 4
"""Channels that are read in blocks come in multiples of this."""
SMALLEST_BLOCK = 8
"""With fewer input channels than a block holds, a convolution reads the plain layout and writes blocks."""
DEPTH = 32
"""How many nodes are looked at; what is farther away is taken for the plain layout."""


def in_blocks(value: ir.Value, depth: int = DEPTH) -> bool:
    """Whether ``value: (N, C, H, W)``, float32, is in the blocked layout."""
    node = value.producer()
    if node is None or node.domain != "" or depth == 0 or value.dtype not in (None, ir.DataType.FLOAT):
        return False
    if node.op_type == "Conv":
        return convolves_in_blocks(node)
    inputs = [v for v in node.inputs if v is not None]
    if node.op_type in LAYOUT_KEEPERS:
        return in_blocks(inputs[0], depth - 1)
    if node.op_type in SUMS_AND_PRODUCTS:
        alike = all(v.shape is not None and v.shape == value.shape for v in inputs)
        return alike and all(in_blocks(v, depth // len(inputs)) for v in inputs)
    return False


def convolves_in_blocks(conv: ir.Node) -> bool:
    """Whether a Conv of two spatial dimensions with constant weights writes the blocked layout."""
    weight = constant_tensor(conv.inputs[1]) if len(conv.inputs) > 1 else None
    if weight is None or len(weight.shape) != 4 or weight.dtype != ir.DataType.FLOAT:
        return False
    outputs, inputs, *_ = weight.shape.numpy()
    group = conv.attributes.get_int("group", 1) or 1
    if group == 1:
        return inputs < SMALLEST_BLOCK or inputs % CHANNEL_ALIGNMENT == 0
    depthwise = inputs == 1 and outputs == group
    blocks = inputs % (2 * SMALLEST_BLOCK) == 0 and outputs // group % (2 * SMALLEST_BLOCK) == 0
    return outputs % CHANNEL_ALIGNMENT == 0 and (depthwise or blocks)

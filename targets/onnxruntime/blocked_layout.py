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
"""Operators of equally shaped tensors that are in the blocked layout if all of them are.

A constant factor or summand, scalar or one number a channel, counts as well: legalization makes it a BatchNormalization.
"""
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
        tensors = [v for v in inputs if not (len(inputs) == 2 and _is_per_channel(v, value))]
        alike = all(v.shape is not None and v.shape == value.shape for v in tensors)
        rest = depth - 1 if len(tensors) == 1 else depth // max(1, len(tensors))
        return bool(tensors) and alike and all(in_blocks(v, rest) for v in tensors)
    return False


def _is_per_channel(constant: ir.Value, value: ir.Value) -> bool:
    """Whether ``constant`` is one, scalar or with one number for each channel of ``value``."""
    tensor = constant_tensor(constant)
    if tensor is None or value.shape is None or len(value.shape) != 4 or len(tensor.shape) > 4:
        return False
    channels = value.shape[1]
    return tensor.size == 1 or tuple(tensor.shape.numpy()) in ((channels, 1, 1), (1, channels, 1, 1))


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

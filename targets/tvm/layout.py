"""Which layout convolutions get when nothing was measured: channels first, or channels last."""

from __future__ import annotations

import math

import onnx_ir as ir

from tamis.compiler.analysis.macs import macs_of
from tamis.compiler.analysis.tensor_size import static_shape
from tamis.compiler.machine_data import Machine
from tamis.targets.tvm.int8_kernels import has_dot_product
from tamis.targets.tvm.settings import Layout

LAYOUTS: tuple[Layout, ...] = ("nchw", "nhwc")
DENSE_CHANNELS = 16
"""Input channels from which on a dense convolution is better off channels last."""


def convolutions(model: ir.Model) -> list[ir.Node]:
    """The two-dimensional convolutions of a model."""
    return [
        node
        for node in model.graph
        if node.op_type == "Conv" and (w := node.inputs[1]) is not None and w.shape is not None and len(w.shape) == 4
    ]


def preferred_layout(model: ir.Model, machine: Machine) -> Layout:
    """The layout that fills vector registers better, weighed by MACs; ``nhwc`` if neither does, or for dense convolutions.

    Vectors run along the width if channels come first, and along the channels if they come last. Convolutions in integers
    are computed with channels last only.
    """
    found = convolutions(model)
    if has_dot_product(machine) and any(_is_quantized(node) for node in found):
        return "nhwc"
    if any(_is_dense(node) for node in found):
        return "nhwc"
    lanes = max(1, machine.simd_bits // 32)
    weighted = [(macs, _shape(node)) for node in found if (macs := macs_of(node))]
    width, channels = (sum(macs * _fill(shape[axis], lanes) for macs, shape in weighted) for axis in (3, 1))
    return "nchw" if width > channels or not weighted else "nhwc"


def _is_quantized(node: ir.Node) -> bool:
    producers = [None if value is None else value.producer() for value in node.inputs[:2]]
    return all(producer is not None and producer.op_type == "DequantizeLinear" for producer in producers)


def _is_dense(node: ir.Node) -> bool:
    """A sum over many channels and over places."""
    weight = node.inputs[1]
    assert weight is not None and weight.shape is not None
    channels, *kernel = list(weight.shape)[1:]
    return isinstance(channels, int) and channels >= DENSE_CHANNELS and any(size != 1 for size in kernel)


def _shape(node: ir.Node) -> tuple[int, ...]:
    """Of the result of a convolution whose MACs are known."""
    shape = static_shape(node.outputs[0])
    assert shape is not None
    return shape


def _fill(size: int, lanes: int) -> float:
    """The part of its registers that a dimension fills."""
    return size / (math.ceil(size / lanes) * lanes)

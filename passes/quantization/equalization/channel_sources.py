"""Find what can absorb a scale per channel of a value: the node above it that sets the channels' sizes.

::

    absorber(x, W, b) -> Add constant -> ReLU -> value          value / s = ReLU(absorber(x, W / s, b / s) + constant / s)

Nodes in between commute with positive scales: they are positively homogeneous and keep channels apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.passes.fusion.affine import Array

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
PRODUCTS = frozenset({"Gemm", "MatMul"})
ELEMENTWISE = frozenset({"Abs", "Identity", "LeakyRelu", "PRelu", "Relu"})
POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
OTHER_READERS = "something else reads the value in between"


@dataclass(frozen=True)
class Source:
    """Where the channels of a value come from.

    Args:
        node: The absorber.
        adds: Additions of a constant per channel on the way, whose constants shrink as well.
    """

    node: ir.Node
    adds: tuple[ir.Node, ...] = ()


def find_source(reader: ir.Node, value: ir.Value, absorbers: frozenset[str]) -> Source | str | None:
    """What absorbs a scale per channel of ``value``.

    Args:
        reader: Node that multiplies ``value`` by weights: its operator says which axis the channels are on.
        value: Its first input; may have other readers.
        absorbers: Operators of the standard domain that count.

    Returns:
        The source; or why there is none, in a few words; or None if nothing is alike.
    """
    convolution = reader.op_type in CONVOLUTIONS
    between = ELEMENTWISE | POOLS if convolution else ELEMENTWISE
    adds: list[ir.Node] = []
    while True:
        node = value.producer()
        if node is None or node.graph is not reader.graph or node.domain != "" or value is not node.outputs[0]:
            return None
        if node.op_type in absorbers:
            return Source(node, tuple(adds))
        if node.op_type in between and len(node.outputs) == 1:
            inner = node.inputs[0]
        elif node.op_type == "Add" and not convolution and any(constant_array(v) is not None for v in node.inputs):
            adds.append(node)
            inner = next((v for v in node.inputs if constant_array(v) is None), None)
        else:
            return None
        if inner is None:
            return None
        if sole_user(inner) is None:
            return OTHER_READERS if _ends_at(inner, absorbers) else None
        value = inner


def _ends_at(value: ir.Value, absorbers: frozenset[str]) -> bool:
    node = value.producer()
    return node is not None and node.domain == "" and node.op_type in absorbers


def read_shift(add: ir.Node, channels: int) -> Array | str:
    """The constant of ``add`` per channel of the last axis, float64, or why it is not one."""
    constant = constant_array(next((v for v in add.inputs if constant_array(v) is not None), None))
    assert constant is not None
    if constant.size == 1 and constant.ndim <= 1:
        return np.broadcast_to(constant.astype(np.float64).reshape(()), channels)
    if constant.size != channels or constant.shape[-1] != channels:
        return "an addition in between is not per channel"
    if not np.isfinite(constant).all():
        return "weights are not finite"
    return constant.astype(np.float64)

"""What operators become when the channels of their input, or of their output, come in another order.

``y[:, m] = x[:, order[m]]`` is written ``y = P x``. *Forward*, ``op(P x) = P' op'(x)``; *backward*, ``P op(x) =
op'(P' x)``. Parameters are permuted with their channels, bit for bit. A convolution in groups allows that if the order
moves groups as a whole and channels inside their group; with one group nothing is left of ``P``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.passes.layout.channel_shuffle import Channels
from tamis.passes.layout.transparent import OPERATORS
from tamis.passes.layout.turned import elementwise

Array = np.ndarray[Any, Any]

POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"})
BINARY = frozenset({"Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub"})


@dataclass(frozen=True)
class Step:
    """A node as it becomes.

    Args:
        node: The node.
        order: What is left to do on its other side; None if nothing is.
        constants: New parameters, by the position of the input.
    """

    node: ir.Node
    order: Channels | None
    constants: Mapping[int, Array] = field(default_factory=dict)


def forward(node: ir.Node, index: int, order: Channels, rank: int) -> Step | str:
    """``node`` without the order at its input ``index``, or why it cannot do without."""
    if node.op_type == "Conv" and node.domain == "":
        return _conv_forward(node, order) if index == 0 else "stops at Conv, which reads it as a parameter"
    return _per_channel(node, index, order, np.argsort(order), rank)


def backward(node: ir.Node, order: Channels, rank: int) -> Step | str:
    """``node`` with ``order`` at its output, moved to its first input."""
    if node.op_type == "Conv" and node.domain == "":
        return _conv_backward(node, order)
    data = data_input(node)
    return (
        f"stops at {node.op_type}" if data is None else _per_channel(node, node.inputs.index(data), order, order, rank)
    )


def data_input(node: ir.Node) -> ir.Value | None:
    """The first input that is not constant; of a convolution the first."""
    if node.op_type == "Conv":
        return node.inputs[0]
    return next((value for value in node.inputs if value is not None and constant_tensor(value) is None), None)


def _per_channel(node: ir.Node, index: int, order: Channels, take: Channels, rank: int) -> Step | str:
    """Operators that keep channels apart; ``take`` permutes what they have for each."""
    kind = node.op_type if node.domain == "" else ""
    if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return f"stops at {node.op_type}, which has further outputs"
    if index == 0 and (OPERATORS.get(kind) is elementwise or kind in POOLS):
        return Step(node, order)
    if index == 0 and kind == "BatchNormalization":
        return _batch_normalization(node, order, take)
    if kind in BINARY and (kind != "PRelu" or index == 0):
        return _binary(node, index, order, take, rank)
    return f"stops at {node.op_type}"


def _batch_normalization(node: ir.Node, order: Channels, take: Channels) -> Step | str:
    arrays = [constant_array(value) for value in node.inputs[1:5]]
    if node.attributes.get_int("training_mode"):
        return "training mode"
    if any(array is None or array.shape != order.shape for array in arrays):
        return "stops at BatchNormalization whose parameters are not constant"
    return Step(node, order, {i: array[take] for i, array in enumerate(arrays, 1) if array is not None})


def _binary(node: ir.Node, index: int, order: Channels, take: Channels, rank: int) -> Step | str:
    other = constant_array(node.inputs[1 - index])
    if other is None or other.ndim > rank:
        return f"stops at {node.op_type} with an operand that is not constant"
    axis = other.ndim - rank + 1
    if axis < 0 or other.shape[axis] == 1:
        return Step(node, order)
    if other.shape[axis] != order.size:
        return f"stops at {node.op_type} with other channels"
    return Step(node, order, {1 - index: np.take(other, take, axis=axis)})


def _conv(node: ir.Node) -> tuple[Array, Array | None, int] | str:
    weight, groups = constant_array(node.inputs[1]), node.attributes.get_int("group", 1)
    given = node.inputs[2] if len(node.inputs) > 2 else None
    bias = constant_array(given)
    if weight is None or (given is not None and bias is None):
        return "stops at Conv whose weights are not constant"
    assert groups is not None
    return weight, bias, groups


def _blocks(order: Channels, groups: int) -> Channels | str:
    """For each group, which group its channels come from."""
    size = order.size // groups
    found = order.reshape(groups, size) // size
    if not (found == found[:, :1]).all():
        return "stops at a convolution in groups that it mixes"
    first: Channels = found[:, 0]
    return first


def _spread(blocks: Channels, size: int) -> Channels | None:
    """The order of channels that moves whole groups; None if it moves none."""
    order: Channels = (blocks[:, None] * size + np.arange(size)).ravel()
    return None if (order == np.arange(order.size)).all() else order


def _conv_forward(node: ir.Node, order: Channels) -> Step | str:
    """``weight: (C_out, C_in / groups, ...)``. Group ``blocks[j]`` of the new one is group ``j`` of the old one."""
    found = _conv(node)
    if isinstance(found, str):
        return found
    weight, bias, groups = found
    width, height = weight.shape[1], weight.shape[0] // groups
    if order.size != width * groups:
        return "stops at Conv with other channels"
    blocks = _blocks(order, groups)
    if isinstance(blocks, str):
        return blocks
    inside = np.argsort(order.reshape(groups, width) - blocks[:, None] * width, axis=1)
    grouped = weight.reshape(groups, height, *weight.shape[1:])
    index = inside.reshape(groups, 1, width, *(1,) * (weight.ndim - 2))
    new = np.empty_like(grouped)
    new[blocks] = np.take_along_axis(grouped, index, axis=2)
    constants = {1: new.reshape(weight.shape)}
    if bias is not None:
        moved = np.empty_like(bias)
        moved.reshape(groups, height)[blocks] = bias.reshape(groups, height)
        constants[2] = moved
    return Step(node, _spread(blocks, height), constants)


def _conv_backward(node: ir.Node, order: Channels) -> Step | str:
    """Output ``m`` of the new one is output ``order[m]`` of the old one."""
    found = _conv(node)
    if isinstance(found, str):
        return found
    weight, bias, groups = found
    if order.size != weight.shape[0]:
        return "stops at Conv with other channels"
    blocks = _blocks(order, groups)
    if isinstance(blocks, str):
        return blocks
    constants = {1: weight[order]} if bias is None else {1: weight[order], 2: bias[order]}
    return Step(node, _spread(blocks, weight.shape[1]), constants)

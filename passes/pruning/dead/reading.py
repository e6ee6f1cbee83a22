"""Which channels of which value the input positions of a weight meet.

::

    Conv, g groups    position j of W: (M, C / g, kernel...)   meets channels j, j + C / g, ... of X
    MatMul, Gemm      position k of the summed axis            meets feature k of the other operand
    LSTM, GRU, RNN    position i of W: (D, G H, I)             meets feature i of X; of R: hidden unit i
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor
from tamis.passes.pruning.axes.axis import Axis, Indices, Slot
from tamis.passes.pruning.dead.recurrent import CANDIDATE


@dataclass(frozen=True, eq=False)
class Reading:
    """What an axis of a weight meets.

    Args:
        value: Whose channels; None for the state of a recurrent ``node`` itself.
        axis: Channel axis of the value.
        channels: ``(positions, n)``: the n channels that a position of the weight meets, each in another group.
        node: The reader.
    """

    value: ir.Value | None
    axis: int
    channels: Indices
    node: ir.Node


def read(axis: Axis) -> Reading | None:
    """What an axis of a weight with the role ``consume`` meets; None for operators that are not known."""
    slot = axis.tensor
    assert isinstance(slot, Slot)
    node, tensor = slot.node, constant_tensor(slot.value)
    assert tensor is not None
    shape = tensor.shape.numpy()
    single = np.arange(shape[axis.index])[:, None]
    if node.domain != "":
        return None
    if node.op_type == "Conv":
        group = node.attributes.get_int("group", 1)
        return Reading(node.inputs[0], 1, single + np.arange(group) * shape[1], node)
    if node.op_type == "ConvTranspose":
        return Reading(node.inputs[0], 1, single, node)
    if node.op_type in CANDIDATE:
        return Reading(node.inputs[0] if slot.index == 1 else None, 2, single, node)
    other = _other_operand(slot)
    return None if other is None else Reading(*other, single, node)


def _other_operand(slot: Slot) -> tuple[ir.Value, int] | None:
    """The other matrix of a product, and the axis of it that is summed over."""
    node = slot.node
    value = node.inputs[1 - slot.index]
    if value is None or value.shape is None:
        return None
    rank = len(value.shape)
    if node.op_type == "Gemm":
        transposed = node.attributes.get_int("transA" if slot.index else "transB", 0)
        return value, (0 if transposed else 1) if slot.index else (1 if transposed else 0)
    if node.op_type == "MatMul":
        return value, rank - 1 if slot.index else max(rank - 2, 0)
    return None

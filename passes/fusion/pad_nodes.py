"""Read Pad: how much it puts around the spatial axes, and of what, in the form of every opset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array

AS_INPUTS = 11
"""Opset from which amounts and value are inputs."""


@dataclass(frozen=True)
class Padding:
    """A constant border.

    Args:
        begins: In front, for each axis of the tensor.
        ends: Behind, for each axis.
        value: What it holds.
    """

    begins: tuple[int, ...]
    ends: tuple[int, ...]
    value: float


def read_pad(node: ir.Node, opset: int, rank: int) -> Padding | str:
    """The border that a Pad puts around a tensor of ``rank``, or why it is not a constant one."""
    if node.attributes.get_string("mode", "constant") != "constant":
        return "the mode is not constant"
    amounts = _amounts(node, opset, rank)
    if isinstance(amounts, str):
        return amounts
    value = _value(node, opset)
    if isinstance(value, str):
        return value
    begins, ends = amounts[:rank], amounts[rank:]
    if min(amounts, default=0) < 0:
        return "it crops"
    if any(begins[:2]) or any(ends[:2]):
        return "it pads the batch or the channels"
    return Padding(begins, ends, value)


def _amounts(node: ir.Node, opset: int, rank: int) -> tuple[int, ...] | str:
    if opset < AS_INPUTS:
        given = tuple(node.attributes.get_ints("pads", ()))
        return given if len(given) == 2 * rank else "the amounts are not for the axes of the tensor"
    array = constant_array(node.inputs[1])
    if array is None:
        return "the amounts are not constant"
    axes = list(range(rank))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        named = constant_array(node.inputs[3])
        if named is None:
            return "the axes are not constant"
        axes = [int(a) + rank * (a < 0) for a in named.ravel()]
    if array.size != 2 * len(axes) or len(set(axes)) != len(axes) or not set(axes) <= set(range(rank)):
        return "the amounts are not for the axes of the tensor"
    amounts = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        amounts[axis], amounts[rank + axis] = int(array.flat[i]), int(array.flat[len(axes) + i])
    return tuple(amounts)


def _value(node: ir.Node, opset: int) -> float | str:
    if opset < AS_INPUTS:
        return node.attributes.get_float("value", 0.0)
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return 0.0
    array = constant_array(node.inputs[2])
    if array is None or array.size != 1:
        return "the value is not constant"
    return float(np.asarray(array).flat[0])

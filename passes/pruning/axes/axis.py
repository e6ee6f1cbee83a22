"""Names of the things that are coupled: axes of values, and axes of constants as one node reads them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor

Indices = np.ndarray[Any, np.dtype[np.int64]]
"""Positions along an axis."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A constant as one node reads it: two readers of one initializer may keep different parts of it."""

    node: ir.Node
    index: int

    @property
    def value(self) -> ir.Value:
        """What is read."""
        value = self.node.inputs[self.index]
        assert value is not None
        return value


Tensor: TypeAlias = ir.Value | Slot


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a tensor, counted from the front."""

    tensor: Tensor
    index: int


class Role(enum.StrEnum):
    """What a node does with an axis of a constant."""

    PRODUCE = "produce"
    """Each slice computes one channel: output channels of a weight."""
    CONSUME = "consume"
    """Each slice is what is made of one channel, and the results are summed: input channels of a weight."""
    OFFSET = "offset"
    """Each element is added to one channel."""
    SCALE = "scale"
    """Each slice changes one channel alone: a scale, a depthwise kernel."""


def operand(node: ir.Node, index: int) -> Tensor | None:
    """What ``node`` reads at ``index``: a Slot if it is constant; None if there is no such input."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return None
    return Slot(node, index) if constant_tensor(value) is not None else value


def shape_of(tensor: Tensor) -> tuple[int | None, ...] | None:
    """Sizes, None for those that are not known; None if not even the rank is."""
    value = tensor.value if isinstance(tensor, Slot) else tensor
    constant = constant_tensor(value)
    shape = value.shape if constant is None else ir.Shape(constant.shape.numpy())
    return None if shape is None else tuple(d if isinstance(d, int) else None for d in shape)

"""Operators that commute with Transpose: what they become when their inputs are not transposed yet.

With ``y = Transpose(x, perm)``, ``op(y)`` is ``Transpose(op'(x), perm')``. Here ``op'`` and ``perm'`` are found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor
from tamis.passes.layout.permutation import Perm, rank_of

Rank = Callable[[ir.Value | None], int | None]
"""Number of axes of a value, as far as it is known."""


@dataclass(frozen=True)
class Turned:
    """A node as it becomes.

    Args:
        inputs: For each input the order that leads from the new value to the old one; None: read as before.
        outputs: The same for each output.
        attributes: New ones.
        constants: New inputs, by their position.
    """

    inputs: tuple[Perm | None, ...]
    outputs: tuple[Perm, ...]
    attributes: Mapping[str, ir.Attr] = field(default_factory=dict)
    constants: Mapping[int, np.ndarray[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """A node whose first input is transposed.

    Args:
        node: The node.
        perm: The order that leads from the new first input to the old one.
        opset: Of the standard operators.
        rank: Number of axes of values.
    """

    node: ir.Node
    perm: Perm
    opset: int
    rank: Rank = rank_of

    @property
    def axes(self) -> int:
        """Number of axes of the first input."""
        return len(self.perm)

    def axis(self, default: int) -> int:
        """Attribute ``axis``, counted from the front."""
        axis = self.node.attributes.get_int("axis", default)
        assert axis is not None
        return axis % max(self.axes, 1)

    def result(
        self,
        output: Perm | None = None,
        attributes: Mapping[str, ir.Attr] | None = None,
        constants: Mapping[int, np.ndarray[Any, Any]] | None = None,
    ) -> Turned:
        """Only the first input is transposed; every output in the same way, like the input if nothing is said."""
        inputs = (self.perm, *[None] * (len(self.node.inputs) - 1))
        outputs = (self.perm if output is None else output,) * len(self.node.outputs)
        return Turned(inputs, outputs, attributes or {}, constants or {})


def elementwise(place: Place) -> Turned | str:
    """One tensor, each element for itself; further inputs are scalars."""
    return place.result()


def broadcast(place: Place) -> Turned | str:
    """Several tensors, each element for itself, with broadcasting."""
    inputs: list[Perm | None] = []
    for value in place.node.inputs:
        rank = place.rank(value)
        if value is None or rank is None:
            return "an operand has an unknown number of axes"
        if rank > place.axes:
            return "an operand has more axes than the transposed one"
        if _single(value) and (rank < place.axes or constant_tensor(value) is not None):
            inputs.append(None)
        elif rank == place.axes or constant_tensor(value) is not None:
            inputs.append(place.perm)
        else:
            return "an operand has fewer axes than the transposed one"
    return Turned(tuple(inputs), (place.perm,))


def _single(value: ir.Value) -> bool:
    """True for a single element: it goes with every order of axes."""
    tensor = constant_tensor(value)
    shape = value.shape if tensor is None else tuple(tensor.shape)
    return shape is not None and all(size == 1 for size in shape)


def channelwise(place: Place) -> Turned | str:
    """Per channel, over or for all other axes alike: the channels must stay where they are."""
    node = place.node
    if place.axes < 2 or place.perm[:2] != (0, 1):
        return "the channels do not stay on axis 1"
    if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]) or node.attributes.get_int("training_mode"):
        return "training mode"
    if node.op_type == "BatchNormalization" and place.opset < 9:
        return "BatchNormalization below opset 9"
    return place.result()

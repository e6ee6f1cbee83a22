"""A weight that reads units, as the matrix of a product.

::

    y = x W;   x: (P, K), W: (K, M)      Conv: K over (kernel..., channel)      else: K over channels
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.passes.layer_inputs.layer_rows import layer_rows
from tamis.passes.pruning.axes.axis import Axis, Indices, Slot, operand
from tamis.passes.pruning.axes.group import Member

Array = np.ndarray[Any, np.dtype[Any]]
WINDOW = ("kernel_shape", "strides", "dilations", "pads")


@dataclass(frozen=True, eq=False)
class Product:
    """A consumer of units.

    A ConvTranspose is read as if each tap of its kernel wrote to an output of its own: what taps that write to the same
    place make good for each other is left out.

    Args:
        member: The axis of its weight that is summed over.
        read: The axis of the value that it is multiplied with.
        shape: Of the weight as stored.
    """

    member: Member
    read: Axis
    shape: tuple[int, ...]

    @property
    def node(self) -> ir.Node:
        """The reader."""
        return self.member.node

    @property
    def value(self) -> ir.Value:
        """What it reads."""
        assert isinstance(self.read.tensor, ir.Value)
        return self.read.tensor

    @property
    def taps(self) -> int:
        """Rows of W for each channel."""
        return int(np.prod(self.shape[2:])) if self.node.op_type == "Conv" else 1

    @property
    def length(self) -> int:
        """K."""
        return self.shape[self.member.axis.index] * self.taps

    @property
    def source(self) -> Hashable:
        """Equal of two products that read the same rows."""
        if self.taps == 1 and self.node.op_type != "Conv":
            return self.value, self.read.index
        attributes = self.node.attributes
        window = tuple(tuple(attributes.get_ints(name, ())) for name in WINDOW[1:])
        return self.value, self.shape[2:], window, attributes.get_string("auto_pad", "NOTSET")

    def matrix(self) -> Array:
        """W, ``(K, M)``, float64."""
        array = self.member.elements.astype(np.float64)
        if self.node.op_type == "Conv":
            array = np.moveaxis(array, (0, 1), (-1, -2))
        else:
            array = np.moveaxis(array, self.member.axis.index, 0)
        found: Array = array.reshape(self.length, -1)
        return found

    def rows_of_units(self) -> Indices:
        """Rows of W, ``(units, n)``, that belong to each unit."""
        channels = self.shape[self.member.axis.index]
        found: Indices = (self.member.positions[:, :, None] + channels * np.arange(self.taps)).reshape(
            len(self.member.positions), -1
        )
        return found

    def rows(self, array: Array, limit: int, rng: np.random.Generator) -> Array:
        """x, ``(P, K)``, float32, at ``limit`` positions at most, of what ``value`` holds."""
        array = array.astype(np.float32, copy=False)
        if self.node.op_type == "Conv":
            found: Array = layer_rows(self.node, array, self.shape, limit, rng)[0]
            return found
        rows = np.moveaxis(array, self.read.index, -1)
        count = int(np.prod(rows.shape[:-1]))
        if count <= limit:
            return rows.reshape(count, -1)
        chosen = np.sort(rng.choice(count, limit, replace=False))
        taken: Array = rows[np.unravel_index(chosen, rows.shape[:-1])]
        return taken


def product_of(member: Member) -> Product | str:
    """The product that a consuming axis takes part in, or why it is not one."""
    node = member.node
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return f"a {node.op_type}"
    if node.attributes.get_int("group", 1) != 1:
        return f"a {node.op_type} of several groups"
    slot = member.axis.tensor
    assert isinstance(slot, Slot)
    shape = member.elements.shape
    if node.op_type == "MatMul" and int(np.prod(shape[:-2])) > 1:
        return "a MatMul with a stack of matrices"
    other = operand(node, 1 - slot.index)
    if not isinstance(other, ir.Value) or other.shape is None:
        return f"a {node.op_type} with two constants or an input of unknown rank"
    return Product(member, Axis(other, _summed(node, slot.index, len(other.shape))), tuple(shape))


def _summed(node: ir.Node, weight: int, rank: int) -> int:
    """The axis of the other operand that is summed over."""
    if node.op_type in ("Conv", "ConvTranspose"):
        return 1
    if node.op_type == "Gemm":
        transposed = bool(node.attributes.get_int("transA" if weight == 1 else "transB", 0))
        return int(transposed) if weight == 0 else 1 - int(transposed)
    return rank - 1 if weight == 1 or rank == 1 else rank - 2

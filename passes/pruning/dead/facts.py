"""Facts of every value of a model, node by node: what holds for all inputs.

Operators without a rule give values of which nothing is known. Infinite and not-a-number inputs are left out of account,
and bounds are those of exact arithmetic: the model's own rounding may exceed them by a rounding error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from importlib import import_module

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.passes.pruning.axes.axis import shape_of
from tamis.passes.pruning.dead.fact import LIMIT, Array, Fact, Numbers

Shape = tuple[int | None, ...]
FAMILIES = ("elementwise", "linear", "moving", "normalizing", "pooling", "recurrent")
"""Modules of this folder; each has ``RULES``."""
LARGEST_INTEGER = 2.0**53
"""Up to here, float64 tells integers apart."""
NO_NUMBER = 0x7FF4_0000_0000_0000
"""Bits of a NaN: with them flipped, the bits of a number are not the number of any slice that is not constant."""
BYTES = {ir.DataType.UINT8: (0.0, 255.0), ir.DataType.INT8: (-128.0, 127.0), ir.DataType.BOOL: (0.0, 1.0)}
"""Bounds of what a graph input of an element type holds."""


class Facts:
    """What is known of the values of one model.

    Args:
        model: With inferred shapes and lifted constants. Facts are of no use once it changes.

    Attributes:
        numbers: Of all slices.
        states: LSTM, GRU or RNN -> its hidden state ``(D, 1, H)``, the one at the start included.
    """

    def __init__(self, model: ir.Model) -> None:
        self.numbers = Numbers()
        self.states: dict[ir.Node, Fact] = {}
        self._facts: dict[ir.Value, Fact | None] = {}
        for value in model.graph.inputs:
            low, high = BYTES.get(value.dtype or ir.DataType.UNDEFINED, (-np.inf, np.inf))
            self._facts[value] = self.unknown(value, low, high)
        for node in model.graph:
            self._follow(node)

    def _follow(self, node: ir.Node) -> None:
        rule = _table().get(node.op_type) if node.domain == "" else None
        found = () if rule is None else rule(node, self)
        for i, value in enumerate(node.outputs):
            fact = found[i] if i < len(found) else None
            shape = self.shape(value)
            fits = fact is not None and shape is not None and _fits(fact, shape)
            self._facts[value] = _without_nan(fact) if fits and fact is not None else self.unknown(value)

    def shape(self, value: ir.Value) -> Shape | None:
        """Sizes, None for those that are not known; None if not even the rank is."""
        return shape_of(value)

    def of(self, value: ir.Value | None) -> Fact | None:
        """What is known of a value or a constant; None if its rank is not known, or it has too many elements."""
        if value is None:
            return None
        if value not in self._facts:
            self._facts[value] = self._constant(value)
        return self._facts[value]

    def _constant(self, value: ir.Value) -> Fact | None:
        tensor = constant_tensor(value)
        if tensor is None:
            return self.unknown(value)
        array = constant_array(value) if tensor.size <= LIMIT else None
        if array is None or array.dtype.kind not in "fiub":
            return self.unknown(value)
        exact = array.astype(np.float64)
        if array.dtype.kind in "iu" and (np.abs(exact) >= LARGEST_INTEGER).any():
            return self.unknown(value)
        return _without_nan(Fact(exact, exact, exact.view(np.int64) ^ NO_NUMBER))

    def unknown(self, value: ir.Value, low: float = -np.inf, high: float = np.inf) -> Fact | None:
        """A fact that tells nothing but bounds; None if the rank of ``value`` is not known."""
        shape = self.shape(value)
        if shape is None:
            return None
        ones = (1,) * len(shape)
        return Fact(np.full(ones, low), np.full(ones, high), np.full(ones, self.numbers.fresh(), np.int64))


def signature(node: ir.Node, *, whole: bool = False) -> Hashable:
    """What a node does with its computed inputs: operator, attributes, constants.

    Args:
        node: The node.
        whole: With all constants, for rules that do not look into them; else only those of integers.
    """
    attributes = tuple(sorted((name, str(a.value)) for name, a in node.attributes.items()))
    constants = tuple(
        (i, digest(array))
        for i, value in enumerate(node.inputs)
        if (tensor := constant_tensor(value)) is not None
        and (whole or tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32))
        and (array := constant_array(value)) is not None
    )
    return node.op_type, attributes, constants


def digest(array: Array) -> bytes:
    """Of the elements and the shape."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes() + repr(array.shape).encode(), digest_size=16).digest()


Rule = Callable[[ir.Node, Facts], Sequence[Fact | None]]
"""Facts of the outputs of a node; None, or too few, where nothing is known."""


@cache
def _table() -> dict[str, Rule]:
    table: dict[str, Rule] = {}
    for family in FAMILIES:
        table |= import_module(f"tamis.passes.pruning.dead.{family}").RULES
    return table


def _fits(fact: Fact, shape: Shape) -> bool:
    """Whether each axis of a fact is 1 or that of the tensor."""
    return len(fact.shape) == len(shape) and all(n in (1, size) for n, size in zip(fact.shape, shape, strict=True))


def _without_nan(fact: Fact) -> Fact:
    low, high = fact.low, fact.high
    bad = np.isnan(low) | np.isnan(high)
    return Fact(np.where(bad, -np.inf, low), np.where(bad, np.inf, high), fact.number)

"""Wrong rules, each in one point, that a comparison of removed with masked must catch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis, Indices, Role, Slot, Tensor
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule, _table


class Distorted(Ties):
    """Passes on what a rule says, but for one thing; a rule says it to this, and all of it arrives at ``ties``."""

    def __init__(self, ties: Ties) -> None:
        self.__dict__ = ties.__dict__


class WithoutOffsets(Distorted):
    """Parts all start at the front of the whole."""

    def tie(self, a: Axis, b: Axis, of_a: Indices | None = None, of_b: Indices | None = None) -> None:
        super().tie(a, b, of_a, None if of_b is None else of_b - of_b.min())


class AcrossWeights(Distorted):
    """The first two axes of square weights are taken for each other."""

    def tie(self, a: Axis, b: Axis, of_a: Indices | None = None, of_b: Indices | None = None) -> None:
        super().tie(self._crossed(a), self._crossed(b), of_a, of_b)

    def role(self, axis: Axis, role: Role) -> None:
        super().role(self._crossed(axis), role)

    def _crossed(self, axis: Axis) -> Axis:
        shape = self.shape(axis.tensor) or ()
        square = isinstance(axis.tensor, Slot) and len(shape) > 1 and shape[0] == shape[1]
        return Axis(axis.tensor, 1 - axis.index) if square and axis.index < 2 else axis


class InOrder(Distorted):
    """Blocks where there are strides, and strides where there are blocks."""

    def tie(self, a: Axis, b: Axis, of_a: Indices | None = None, of_b: Indices | None = None) -> None:
        super().tie(a, b, *(self._turned(p) for p in (of_a, of_b)))

    @staticmethod
    def _turned(positions: Indices | None) -> Indices | None:
        if positions is None or len(np.unique(positions)) == len(positions):
            return positions
        units = len(np.unique(positions))
        blocks = bool(np.all(np.diff(positions) >= 0))
        each = len(positions) // units
        return np.tile(np.arange(units), each) if blocks else np.repeat(np.arange(units), each)


class Unshifted(Distorted):
    """Zero stays zero."""

    def shift(self, tensor: Tensor) -> None:
        del tensor


class OffsetsForScales(Distorted):
    """What is added is taken for a scale."""

    def role(self, axis: Axis, role: Role) -> None:
        super().role(axis, Role.SCALE if role is Role.OFFSET else role)


class FirstOperandOnly(Distorted):
    """Ties of the first input alone count."""

    def tie(self, a: Axis, b: Axis, of_a: Indices | None = None, of_b: Indices | None = None) -> None:
        producer = b.tensor.producer() if isinstance(b.tensor, ir.Value) else None
        first = producer.inputs[0] if producer is not None else None
        if (a.tensor.value if isinstance(a.tensor, Slot) else a.tensor) is first:
            super().tie(a, b, of_a, of_b)


def distorted(right: Rule, how: type[Distorted]) -> Rule:
    """A rule that says one thing wrong."""
    return replace(right, couple=lambda node, ties: right.couple(node, how(ties)))


def forgetful(right: Rule) -> Rule:
    """A rule that leaves the node as it is."""
    return replace(right, repair=None)


def elementwise(right: Rule) -> Rule:
    """The rule of an activation."""
    return replace(right, couple=_table()["Relu"].couple)


DISTORTED: tuple[tuple[str, type[Distorted]], ...] = (
    ("Concat", WithoutOffsets),
    ("Split", WithoutOffsets),
    ("Conv", AcrossWeights),
    ("MatMul", AcrossWeights),
    ("Gemm", AcrossWeights),
    ("Reshape", InOrder),
    ("LSTM", InOrder),
    ("GRU", InOrder),
    ("Add", FirstOperandOnly),
    ("Mul", FirstOperandOnly),
    ("Tile", InOrder),
)
FORGETFUL = ("Conv", "Split", "Slice", "Gather", "LSTM", "GRU", "Reshape")
ELEMENTWISE = ("Softmax", "LayerNormalization")

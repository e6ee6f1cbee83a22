"""Tensors over one axis of positions, and their form over two axes that ONNX Runtime computes fastest.

::

    (1, C, L), (1, C, L, 1)                ->  (1, C, 1, L)   positions along the width
    (N, C, L), (N, C, L, 1), (N, C, 1, L)  ->  (1, C, L, N)   the batch along the width, which no kernel crosses
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.rewrite_pass import Builder


@dataclass(frozen=True)
class Form:
    """How a tensor lies before it is widened.

    Args:
        rank: 3 or 4.
        axis: Of the positions.
        batch: Size of the first axis.
    """

    rank: int
    axis: int
    batch: int

    @property
    def wide_axis(self) -> int:
        """Of the positions, once widened."""
        return 3 if self.batch == 1 else 2

    def wide_axes(self, axes: Sequence[int]) -> list[int] | None:
        """Where axes of channels and positions are once widened; None if another axis is among them."""
        places = {1: 1, self.axis: self.wide_axis}
        normal = [axis + self.rank if axis < 0 else axis for axis in axes]
        return [places[axis] for axis in normal] if all(axis in places for axis in normal) else None

    def along(self, numbers: Sequence[int]) -> list[int] | None:
        """Numbers of a kernel, one an axis, of both axes of the wide form; None if they are not 1 off the positions."""
        if len(numbers) != self.rank - 2 or any(n != 1 for i, n in enumerate(numbers) if i != self.axis - 2):
            return None
        number = numbers[self.axis - 2]
        return [1, number] if self.batch == 1 else [number, 1]

    def pads_along(self, pads: Sequence[int]) -> list[int] | None:
        """The same for pads, which must be 0 off the positions."""
        count = self.rank - 2
        begin, end = pads[:count], pads[count:]
        if any(b or e for i, (b, e) in enumerate(zip(begin, end, strict=True)) if i != self.axis - 2):
            return None
        first, last = begin[self.axis - 2], end[self.axis - 2]
        return [0, first, 0, last] if self.batch == 1 else [first, 0, last, 0]

    def widen(self, value: ir.Value, build: Builder) -> ir.Value:
        """``value`` in the wide form."""
        assert value.shape is not None
        if self.batch == 1:
            wide = build.op("Reshape", value, np.array([0, 0, 1, -1]))
        elif self.rank == 3:
            moved = build.op("Transpose", value, perm=(1, 2, 0))
            wide = build.op("Reshape", moved, np.array([1, value.shape[1], -1, self.batch]))
        else:
            wide = build.op("Transpose", value, perm=(5 - self.axis, 1, self.axis, 0))
        self.describe(wide, value)
        return wide

    def narrow(self, wide: ir.Value, like: ir.Value, build: Builder) -> ir.Value:
        """The value behind ``wide`` in its own form; shape and type are those of ``like``."""
        assert like.shape is not None
        if self.batch == 1:
            value = build.op("Reshape", wide, np.array([0, 0, -1, 1][: self.rank]))
        elif self.rank == 3:
            flat = build.op("Reshape", wide, np.array([like.shape[1], -1, self.batch]))
            value = build.op("Transpose", flat, perm=(2, 0, 1))
        else:
            value = build.op("Transpose", wide, perm=(3, 1, 2, 0) if self.axis == 2 else (3, 1, 0, 2))
        value.shape, value.type = like.shape, like.type
        return value

    def describe(self, wide: ir.Value, value: ir.Value) -> None:
        """Give ``wide`` the type and shape that ``value`` has in the wide form."""
        assert value.shape is not None
        channels, length = value.shape[1], value.shape[self.axis]
        sizes = [1, channels, 1, length] if self.batch == 1 else [1, channels, length, self.batch]
        wide.shape, wide.type = ir.Shape(sizes), value.type


def form_of(value: ir.Value | None) -> Form | None:
    """The form of a tensor over one axis of positions that can be widened; None if it is none, or wide already."""
    shape = None if value is None else value.shape
    if shape is None or len(shape) not in (3, 4):
        return None
    batch, channels, *sizes = shape
    if not isinstance(batch, int) or not isinstance(channels, int) or batch < 1:
        return None
    if len(sizes) == 1:
        return Form(3, 2, batch)
    height, width = sizes
    if width == 1 and isinstance(height, int) and height > 1:
        return Form(4, 2, batch)
    return Form(4, 3, batch) if height == 1 and batch > 1 and width != 1 else None

"""Shapes, elements and bytes of values, as far as they are known without running the model."""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx_ir as ir


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """All sizes of ``value``; None if there is no such value, or a size is not known."""
    if value is None:
        return None
    shape = value.shape
    if shape is None and value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    if shape is None or not all(isinstance(d, int) and d >= 0 for d in shape):
        return None
    return shape.numpy()


def elements(value: ir.Value | None) -> int | None:
    """Number of elements; None if it is not known."""
    shape = static_shape(value)
    return None if shape is None else math.prod(shape)


def nbytes(value: ir.Value) -> int | None:
    """Bytes in memory; None for unknown sizes and for what is not a tensor of numbers."""
    dtype = value.dtype if value.dtype is not None or value.const_value is None else value.const_value.dtype
    count = elements(value) if value.type is None or isinstance(value.type, ir.TensorType) else None
    if count is None or dtype in (None, ir.DataType.UNDEFINED, ir.DataType.STRING):
        return None
    assert dtype is not None
    return math.ceil(count * dtype.itemsize)


def total(parts: Iterable[int | None]) -> int | None:
    """The sum; None if a part is not known."""
    found = 0
    for part in parts:
        if part is None:
            return None
        found += part
    return found

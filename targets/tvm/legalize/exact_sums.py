"""Sums of products of 8-bit integers, computed in float32 without rounding.

A float32 holds every integer up to 2**24. As long as the absolute values of all terms of a sum do not exceed that
together, the sum is exact in whatever order it is taken; a longer sum is cut into parts that are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.versioned_nodes import cut

LARGEST = 2**24
"""The largest integer below which float32 has them all."""

Array = np.ndarray[Any, np.dtype[Any]]


def centred(value: ir.Value, zero: ir.Value | None, build: Builder) -> ir.Value:
    """``value - zero`` as float32, which is exact."""
    found = build.op("Cast", value, to=ir.DataType.FLOAT.value)
    if zero is None or ((known := constant_array(zero)) is not None and not known.any()):
        return found
    known = constant_array(zero)
    if known is None:
        return build.op("Sub", found, build.op("Cast", zero, to=ir.DataType.FLOAT.value))
    return build.op("Sub", found, known.astype(np.float32))


def centred_weight(weight: Array, zero: Array | None) -> Array:
    """``weight - zero`` as float32, with the zero points of a list one an output channel."""
    found = weight.astype(np.float32)
    if zero is None:
        return found
    shape = (-1, *(1,) * (weight.ndim - 1)) if zero.size > 1 else ()
    return np.asarray(found - zero.astype(np.float32).reshape(shape), np.float32)


def largest_input(value: ir.Value, zero: ir.Value | None) -> int:
    """The largest absolute value of ``value - zero``."""
    assert value.dtype is not None
    limits = np.iinfo(value.dtype.numpy())
    low, high = int(limits.min), int(limits.max)
    known = np.zeros(1) if zero is None else constant_array(zero)
    if known is None or known.size == 0:
        return high - low
    return max(high - int(known.min()), int(known.max()) - low)


def exact_conv(
    x: ir.Value, weight: Array, largest: int, bias: Array | None, attributes: dict[str, Any], build: Builder
) -> ir.Value | str:
    """The convolution of integers as float32, rounded at most once, at the end; or why it would not be exact.

    Args:
        x: Integers as float32.
        weight: ``(O, I / groups, ...)``, integers as float32.
        largest: Absolute value in ``x``.
        bias: ``(O)``, integers.
        attributes: Of the Conv.
    """
    sums = np.abs(weight).reshape(*weight.shape[:2], -1).sum(axis=2, dtype=np.float64) * largest
    offsets = np.zeros(len(weight)) if bias is None else np.abs(bias.astype(np.float64))
    if (sums.sum(axis=1) + offsets).max(initial=0) <= LARGEST:
        arrays = (weight,) if bias is None else (weight, bias.astype(np.float32))
        return build.op("Conv", x, *arrays, **attributes)
    if attributes.get("group", 1) != 1 or sums.max(initial=0) > LARGEST:
        return "a sum may exceed what float32 holds exactly"
    total: ir.Value | None = None
    for start, end in _parts(sums):
        part = build.op("Conv", cut(build, x, [start], [end], [1]), weight[:, start:end].copy(), **attributes)
        part = build.op("Cast", part, to=ir.DataType.INT32.value)
        total = part if total is None else build.op("Add", total, part)
    assert total is not None
    if bias is not None:
        total = build.op("Add", total, bias.astype(np.int32).reshape(-1, *(1,) * (weight.ndim - 2)))
    return build.op("Cast", total, to=ir.DataType.FLOAT.value)


def _parts(sums: Array) -> list[tuple[int, int]]:
    """Runs of input channels, as long as their sums stay exact for every output channel."""
    found, start = [], 0
    for end in range(1, sums.shape[1] + 1):
        if end == sums.shape[1] or sums[:, start : end + 1].sum(axis=1).max() > LARGEST:
            found.append((start, end))
            start = end
    return found

"""Scales, zero points and the steps from and to 8-bit integers, as integer operators have them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.rewrite_pass import Builder

DTYPES = frozenset({ir.DataType.UINT8, ir.DataType.INT8})


def is_scalar(value: ir.Value | None) -> bool:
    """Whether ``value`` holds one number, or is absent."""
    return value is None or (value.shape is not None and all(d == 1 for d in value.shape))


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """An input of ``node``; None if it is absent."""
    return node.inputs[index] if index < len(node.inputs) else None


def multiply(build: Builder, scales: tuple[ir.Value, ...], divisor: ir.Value | None, rank: int = 0) -> ir.Value:
    """The product of scales, over ``divisor``, in the order in which ONNX Runtime computes it.

    Args:
        rank: Axes of size 1 behind the axis of a list of scales.
    """
    known = [constant_array(value) for value in (*scales, *(() if divisor is None else (divisor,)))]
    if all(array is not None for array in known):
        arrays = [array.astype(np.float32) for array in known if array is not None]
        product = arrays[0]
        for array in arrays[1 : len(scales)]:
            product = product * array
        if divisor is not None:
            product = product / arrays[-1]
        shape = (-1, *(1,) * rank) if product.size > 1 else ()
        return build.constant(np.asarray(product, np.float32).reshape(shape))
    found = scales[0]
    for value in scales[1:]:
        found = build.op("Mul", found, value)
    found = found if divisor is None else build.op("Div", found, divisor)
    return build.op("Reshape", found, np.array([-1, *(1,) * rank])) if rank else found


def requantize(build: Builder, total: ir.Value, scale: ir.Value, zero: ir.Value | None, like: ir.Value) -> ir.Value:
    """``total * scale`` rounded to even, plus ``zero``, as the element type of ``zero`` or else of ``like``."""
    scaled = build.op("Mul", total, scale)
    return quantize(build, scaled, build.constant(np.ones((), np.float32)), zero, like)


def quantize(build: Builder, value: ir.Value, scale: ir.Value, zero: ir.Value | None, like: ir.Value) -> ir.Value:
    """QuantizeLinear to the element type of ``zero`` or else of ``like``."""
    return build.op("QuantizeLinear", value, scale, zero if zero is not None else zero_of(build, like))


def dequantize(build: Builder, value: ir.Value, scale: ir.Value, zero: ir.Value | None) -> ir.Value:
    """DequantizeLinear."""
    return build.op("DequantizeLinear", value, scale, zero if zero is not None else zero_of(build, value))


def zero_of(build: Builder, like: ir.Value) -> ir.Value:
    """The number 0 in the element type of ``like``."""
    assert like.dtype is not None
    return build.constant(np.zeros((), like.dtype.numpy()))


def quantize_dynamically(build: Builder, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """What DynamicQuantizeLinear gives: the integers, their scale and zero point; the scale of zeros is 1."""
    zero, steps = build.constant(np.zeros((), np.float32)), build.constant(np.array(255, np.float32))
    low = build.op("Min", build.op("ReduceMin", x, keepdims=0), zero)
    high = build.op("Max", build.op("ReduceMax", x, keepdims=0), zero)
    span = build.op("Sub", high, low)
    one = build.constant(np.ones((), np.float32))
    scale = build.op("Where", build.op("Equal", span, zero), one, build.op("Div", span, steps))
    at = build.op("Sub", zero, build.op("Div", low, scale))
    point = build.op("Cast", build.op("Round", build.op("Clip", at, zero, steps)), to=ir.DataType.UINT8.value)
    return build.op("QuantizeLinear", x, scale, point), scale, point

"""Facts through convolutions and matrix products with constant weights.

A padded convolution reads zeros at its borders, and a transposed one leaves out some taps, so that there each input is
within its bounds or zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.dead.borders import is_padded
from tamis.passes.pruning.dead.elementwise import align
from tamis.passes.pruning.dead.fact import Array, Fact, collapse, expand, only
from tamis.passes.pruning.dead.facts import Facts, Rule, signature
from tamis.passes.pruning.dead.weighted_sums import row_numbers, weighted_bounds

ROWS = 16
"""Most rows of the left-hand matrix that are told apart."""


def _convolution(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    x, weight = facts.of(node.inputs[0]), constant_array(node.inputs[1])
    shape = facts.shape(node.outputs[0])
    if x is None or weight is None or shape is None or not np.isfinite(weight).all():
        return ()
    group = node.attributes.get_int("group", 1)
    transposed = node.op_type == "ConvTranspose"
    channels = weight.shape[0] if transposed else weight.shape[1] * group
    outputs = weight.shape[1] * group if transposed else weight.shape[0]
    bias = _bias(node, 2, outputs)
    if bias is None:
        return ()
    x = expand(only(x, (1,), facts.numbers), 1, channels, facts.numbers)
    # (groups, outputs of a group, inputs of a group, taps)
    taps = weight.astype(np.float64).reshape(group, -1, weight.shape[1], int(np.prod(weight.shape[2:])))
    taps = taps.transpose(0, 2, 1, 3) if transposed else taps
    up, down = np.maximum(taps, 0).sum(axis=-1), np.minimum(taps, 0).sum(axis=-1)
    low, high, number = (a.reshape(group, -1) for a in (x.low, x.high, x.number))
    if transposed or is_padded(node):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    least, most = (a.ravel() + bias for a in weighted_bounds(up, down, low, high))
    sources = facts.numbers.along("channels", number, (1,)).ravel()
    rows = row_numbers(taps.reshape(outputs, -1), "taps", facts.numbers)
    made = facts.numbers.combine(
        signature(node), rows, row_numbers(bias, "bias", facts.numbers), np.repeat(sources, outputs // group)
    )
    return (Fact(least, most, made).moved((1, outputs, *(1,) * (len(shape) - 2))),)


def _bias(node: ir.Node, index: int, size: int) -> Array | None:
    """``(size,)``; zeros if there is none; None if it is computed or not finite."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return np.zeros(size)
    array = constant_array(value)
    return None if array is None or not np.isfinite(array).all() else array.astype(np.float64)


def _matmul(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    left, right = (constant_array(v) for v in node.inputs)
    if right is not None and right.ndim == 2 and left is None:
        x = facts.of(node.inputs[0])
        return () if x is None or not np.isfinite(right).all() else (_product(node, x, right.T, facts),)
    return _computed(node, facts) if left is None and right is None else ()


def _product(node: ir.Node, x: Fact, rows: Array, facts: Facts) -> Fact:
    """``x @ rows.T``, rows ``(N, K)``."""
    weights = rows.astype(np.float64)
    last = len(x.shape) - 1
    if x.low.size > ROWS * x.shape[last]:
        x = only(x, (last,), facts.numbers)
    x = expand(x, last, weights.shape[1], facts.numbers)
    low, high = weighted_bounds(np.maximum(weights, 0), np.minimum(weights, 0), x.low, x.high)
    sources = facts.numbers.along("features", x.number, (last,))
    return Fact(low, high, facts.numbers.combine(signature(node), sources, row_numbers(rows, "row", facts.numbers)))


def _gemm(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    x, weight = facts.of(node.inputs[0]), constant_array(node.inputs[1])
    if x is None or weight is None or not np.isfinite(weight).all():
        return ()
    if node.attributes.get_int("transA", 0):
        x = Fact(x.low.T, x.high.T, x.number.T)
    rows = weight if node.attributes.get_int("transB", 0) else weight.T
    alpha, beta = node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)
    found = _product(node, x, rows.astype(np.float64) * alpha, facts)
    addend = node.inputs[2] if len(node.inputs) > 2 else None
    if addend is None:
        return (found,)
    added = align([addend], 2, facts)
    if added is None or constant_array(addend) is None:
        return ()
    bias = added[0]
    number = facts.numbers.combine("addend", found.number, bias.number)
    return (Fact(found.low + beta * bias.low, found.high + beta * bias.high, number),)


def _computed(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """Of two computed matrices: rows of the left that are zero, and columns of the right."""
    shape, values = facts.shape(node.outputs[0]), [v for v in node.inputs if v is not None]
    left, right = (facts.of(v) for v in values)
    if shape is None or left is None or right is None or min(len(left.shape), len(right.shape), len(shape)) < 2:
        return ()
    if len(left.shape) != len(right.shape) or len(shape) != len(left.shape):
        return ()
    rows = collapse(left, (len(shape) - 1,), facts.numbers)
    columns = collapse(right, (len(shape) - 2,), facts.numbers)
    sizes = [facts.shape(v) for v in values]
    for axis in range(len(shape) - 2):
        told = max(rows.shape[axis], columns.shape[axis])
        if told > 1 and any(size is None or size[axis] != told for size in sizes):
            return ()
        rows, columns = (expand(f, axis, told, facts.numbers) for f in (rows, columns))
    number = facts.numbers.combine(signature(node), rows.number, columns.number)
    zero = _is_zero(rows) | _is_zero(columns)
    return (Fact(np.where(zero, 0.0, -np.inf), np.where(zero, 0.0, np.inf), number),)


def _is_zero(fact: Fact) -> Array:
    found: Array = (fact.low == 0) & (fact.high == 0)
    return found


RULES: dict[str, Rule] = {"Conv": _convolution, "ConvTranspose": _convolution, "MatMul": _matmul, "Gemm": _gemm}

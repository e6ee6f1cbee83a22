"""Facts through normalizations and softmax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.dead.elementwise import align
from tamis.passes.pruning.dead.fact import Fact, expand
from tamis.passes.pruning.dead.facts import Facts, Rule, signature


def _batch_normalization(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """``g (x - m) / sqrt(v + eps) + b`` of known statistics."""
    x = facts.of(node.inputs[0])
    constants = [constant_array(v) for v in node.inputs[1:5]]
    if x is None or len(constants) != 4 or any(c is None for c in constants) or len(node.outputs) > 1:
        return ()
    if node.attributes.get_int("training_mode", 0):
        return ()
    gamma, beta, mean, variance = (np.asarray(c, np.float64) for c in constants)
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    shift = beta - mean * scale
    shape = (1, -1, *(1,) * (len(x.shape) - 2))
    x = expand(x, 1, len(scale), facts.numbers)
    factor, added = scale.reshape(shape), shift.reshape(shape)
    with np.errstate(invalid="ignore"):  # zero times an infinite bound, which is zero
        ends = [np.where(factor == 0, 0.0, factor * bound) + added for bound in (x.low, x.high)]
    statistics = np.stack([gamma, beta, mean, variance]).T
    rows = np.asarray([facts.numbers.of(("statistics", row.tobytes())) for row in statistics], np.int64)
    number = facts.numbers.combine(signature(node), x.number, rows.reshape(shape))
    return (Fact(np.minimum(*ends), np.maximum(*ends), number),)


def _layer_normalization(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """Normalized values are within ``sqrt(N)`` of zero; a scale of zero leaves the bias."""
    value, output = node.inputs[0], node.outputs[0]
    shape = facts.shape(output)
    constants = [v for v in node.inputs[1:] if v is not None]
    if value is None or shape is None or any(constant_array(v) is None for v in constants):
        return ()
    axis = node.attributes.get_int("axis", -1) % len(shape)
    aligned = align([value, *constants], len(shape), facts)
    if aligned is None or any(size is None for size in shape[axis:]):
        return ()
    x, scale, *bias = aligned
    told = tuple(i for i in range(axis, len(shape)) if x.shape[i] > 1)
    whole = facts.numbers.along(("all", told), x.number, told) if told else x.number
    most = np.sqrt(np.prod([float(size or 0) for size in shape[axis:]]))
    reach = np.abs(scale.low) * most
    low, high = (sign * reach + sum(b.low for b in bias) for sign in (-1, 1))
    number = facts.numbers.combine(signature(node), whole, *(f.number for f in aligned))
    return (Fact(np.broadcast_to(low, number.shape), np.broadcast_to(high, number.shape), number),)


def _softmax(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """Shares of one."""
    x = facts.of(node.inputs[0])
    if x is None:
        return ()
    low, high = (-np.inf, 0.0) if node.op_type == "LogSoftmax" else (0.0, 1.0)
    axes = tuple(i for i, n in enumerate(x.shape) if n > 1)
    whole = facts.numbers.along(("all", axes), x.number, axes) if axes else x.number
    number = facts.numbers.combine(signature(node), whole, x.number)
    return (Fact(np.full(number.shape, low), np.full(number.shape, high), number),)


RULES: dict[str, Rule] = {
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}

"""Facts through operators that compute each element by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.dead.fact import LIMIT, Fact, expand
from tamis.passes.pruning.dead.facts import Facts, Rule, signature
from tamis.passes.pruning.dead.functions import INCREASING, OTHERS, Interval

TRAINING = 2
"""Input of a Dropout that says whether it is at work."""
FLOATS = {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


def elementwise(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """Bounds by the operator, numbers from those of the operands."""
    output = node.outputs[0]
    shape = facts.shape(output)
    if shape is None or output.dtype not in FLOATS:
        return ()
    aligned = align([v for v in node.inputs if v is not None], len(shape), facts)
    if aligned is None:
        return ()
    bounds = _bounds(node, [(f.low, f.high) for f in aligned])
    if bounds is None:
        return ()
    number = facts.numbers.combine(signature(node), *(f.number for f in aligned))
    low, high = (np.broadcast_to(a, number.shape) for a in bounds)
    return (Fact(low, high, number),)


def align(values: Sequence[ir.Value], rank: int, facts: Facts) -> list[Fact] | None:
    """Facts of operands, with the same axes told apart in each; None if that cannot be."""
    found, sizes = [], []
    for value in values:
        fact, shape = facts.of(value), facts.shape(value)
        if fact is None or shape is None or len(shape) > rank:
            return None
        missing = (1,) * (rank - len(shape))
        found.append(fact.moved((*missing, *fact.shape)))
        sizes.append((*missing, *shape))
    told = [max(f.shape[i] for f in found) for i in range(rank)]
    if np.prod(told, dtype=np.float64) > LIMIT:
        return None
    for number, (fact, size) in enumerate(zip(found, sizes, strict=True)):
        for axis, count in enumerate(told):
            if fact.shape[axis] == count or size[axis] == 1:
                continue
            if size[axis] != count:
                return None
            fact = expand(fact, axis, count, facts.numbers)
        found[number] = fact
    return found


def _bounds(node: ir.Node, operands: Sequence[Interval]) -> Interval | None:
    with np.errstate(all="ignore"):
        if node.op_type in INCREASING:
            function = INCREASING[node.op_type](node)
            return function(operands[0][0]), function(operands[0][1])
        return OTHERS[node.op_type](node, operands)


def _clip(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """Bounds as inputs or as attributes; computed ones tell nothing."""
    x = facts.of(node.inputs[0])
    limits: list[Any] = []
    for index, name, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        value = node.inputs[index] if index < len(node.inputs) else None
        array = constant_array(value)
        if value is not None and (array is None or array.size != 1):
            return ()
        limits.append(node.attributes.get_float(name, default) if array is None else float(array.item()))
    if x is None or node.outputs[0].dtype not in FLOATS:
        return ()
    low, high = (np.minimum(np.maximum(bound, limits[0]), limits[1]) for bound in (x.low, x.high))
    return (Fact(low, high, facts.numbers.combine((signature(node), *limits), x.number)),)


def _same(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """What does not change its input; of a Cast, only one to floats of at least 32 bits; of a Dropout, not in training."""
    wide = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
    changes = node.outputs[0].dtype not in wide if node.op_type == "Cast" else len(node.inputs) > TRAINING
    return () if changes else (facts.of(node.inputs[0]),)


RULES: dict[str, Rule] = {name: elementwise for name in (*INCREASING, *OTHERS)}
RULES |= {"Clip": _clip, "Identity": _same, "Dropout": _same, "Cast": _same}

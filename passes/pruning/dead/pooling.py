"""Facts through pools and reductions: a largest, a least, a mean of several elements is within the bounds of all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.dead.borders import is_padded
from tamis.passes.pruning.dead.fact import Fact, collapse
from tamis.passes.pruning.dead.facts import Facts, Rule, signature


def _pool(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """Over the spatial axes; means that count padding have a zero more."""
    x = facts.of(node.inputs[0])
    if x is None or len(x.shape) < 3:
        return ()
    x = collapse(x, range(2, len(x.shape)), facts.numbers)
    low, high = x.low, x.high
    if node.op_type == "AveragePool" and (is_padded(node) or node.attributes.get_int("ceil_mode", 0) != 0):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    return (Fact(low, high, facts.numbers.combine(signature(node), x.number)),)


def _reduce(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """Over constant axes; a sum only where each addend is zero."""
    value = node.inputs[0]
    x = facts.of(value)
    given = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    if x is None or (given is None and len(node.inputs) > 1 and node.inputs[1] is not None):
        return ()
    axes = tuple(given.tolist()) if given is not None else tuple(node.attributes.get_ints("axes", ()))
    if not axes and node.attributes.get_int("noop_with_empty_axes", 0) != 0:
        return (x,)
    rank = len(x.shape)
    reduced = {axis % rank for axis in axes} or set(range(rank))
    x = collapse(x, reduced, facts.numbers)
    found = Fact(x.low, x.high, facts.numbers.combine(signature(node), x.number))
    if node.op_type == "ReduceSum":
        zero = (x.low == 0) & (x.high == 0)
        found = Fact(np.where(zero, 0.0, -np.inf), np.where(zero, 0.0, np.inf), found.number)
    if not node.attributes.get_int("keepdims", 1):
        found = found.moved(n for i, n in enumerate(found.shape) if i not in reduced)
    return (found,)


RULES: dict[str, Rule] = {
    **{name: _pool for name in ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")},
    **{name: _reduce for name in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum")},
}

"""How large a value can be, whatever the inputs are, as far as the nodes right before it tell."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.pattern import match
from tamis.passes.fusion.clamps import bounds, clamps

WITHIN_ONE = frozenset({"Cos", "Erf", "HardSigmoid", "Sigmoid", "Sin", "Softmax", "Softsign", "Tanh"})
CLAMPS = clamps("x")
MAX_DEPTH = 4


def largest_magnitude(value: ir.Value, depth: int = MAX_DEPTH) -> float:
    """The largest absolute value that an element of ``value`` can have, NaN apart; infinity if nothing is known.

    Args:
        value: What functions within one, clamps, and products and quotients with constants make.
        depth: How many nodes to look back.
    """
    node = value.producer()
    if node is None or node.domain != "" or not depth:
        return math.inf
    if node.op_type in WITHIN_ONE:
        return 1.0
    for pattern in CLAMPS:
        clamp = match(pattern, node)
        limits = None if clamp is None else bounds(clamp)
        if limits is not None:
            return max(map(abs, limits))
    if node.op_type not in ("Mul", "Div"):
        return math.inf
    return _scaled(node, depth)


def _scaled(node: ir.Node, depth: int) -> float:
    for a, b in (node.inputs, reversed(node.inputs))[: 2 if node.op_type == "Mul" else 1]:
        factor = constant_array(b)
        if a is None or factor is None or factor.size == 0 or factor.dtype.kind != "f":
            continue
        sizes = np.abs(factor.astype(np.float64))
        if node.op_type == "Div":
            smallest = float(sizes.min())
            return largest_magnitude(a, depth - 1) / smallest if smallest > 0 else math.inf
        largest = float(sizes.max())
        return largest_magnitude(a, depth - 1) * largest if math.isfinite(largest) and largest else math.inf
    return math.inf

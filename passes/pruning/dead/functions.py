"""Bounds of functions of numbers from bounds of their operands; an operand between equal bounds is exactly known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from tamis.passes.pruning.dead.fact import Array

Interval: TypeAlias = tuple[Array, Array]
Function = Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-x))
    return found


def _erf(x: Array) -> Array:
    found: Array = np.vectorize(math.erf, otypes=[np.float64])(x)
    return found


def _leaky(node: ir.Node) -> Function:
    alpha = node.attributes.get_float("alpha", 0.01)
    return _unless(alpha < 0, lambda x: np.where(x < 0, alpha * x if alpha else 0.0, x))


def _elu(node: ir.Node) -> Function:
    alpha = node.attributes.get_float("alpha", 1.0)
    return _unless(alpha < 0, lambda x: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x))


def _hard_sigmoid(node: ir.Node) -> Function:
    alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
    return _unless(alpha < 0, lambda x: np.clip(alpha * x + beta, 0, 1))


def _unless(falls: bool, function: Function) -> Function:
    """A function that never falls; of another nothing is known."""
    return (lambda x: np.full_like(x, np.nan)) if falls else function


def _constantly(function: Function) -> Callable[[ir.Node], Function]:
    return lambda node: function


INCREASING: dict[str, Callable[[ir.Node], Function]] = {
    "Relu": _constantly(lambda x: np.maximum(x, 0)),
    "Sigmoid": _constantly(_sigmoid),
    "Tanh": _constantly(np.tanh),
    "Erf": _constantly(_erf),
    "Exp": _constantly(np.exp),
    "Sqrt": _constantly(np.sqrt),
    "Log": _constantly(np.log),
    "Softplus": _constantly(lambda x: np.logaddexp(0, x)),
    "Softsign": _constantly(lambda x: np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))),
    "Floor": _constantly(np.floor),
    "Ceil": _constantly(np.ceil),
    "Round": _constantly(np.round),
    "Sign": _constantly(np.sign),
    "LeakyRelu": _leaky,
    "Elu": _elu,
    "HardSigmoid": _hard_sigmoid,
}
"""Operator -> function that never falls; NaN where nothing is known."""


def _gelu(node: ir.Node) -> Function:
    if node.attributes.get_string("approximate", "none") == "tanh":
        return lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _swish(node: ir.Node) -> Function:
    alpha = node.attributes.get_float("alpha", 1.0)
    return lambda x: x * _sigmoid(alpha * x)


def _known_or(
    function: Callable[[ir.Node], Function], low: float = -np.inf, high: float = np.inf
) -> Callable[[ir.Node, Sequence[Interval]], Interval]:
    """Exact where the operand is; else within ``low`` and ``high``."""

    def bounds(node: ir.Node, operands: Sequence[Interval]) -> Interval:
        a, b = operands[0]
        exact, known = function(node)(a), a == b
        return np.where(known, exact, low), np.where(known, exact, high)

    return bounds


def _abs(node: ir.Node, operands: Sequence[Interval]) -> Interval:
    low, high = operands[0]
    return np.maximum(np.maximum(low, -high), 0), np.maximum(-low, high)


def _negate(node: ir.Node, operands: Sequence[Interval]) -> Interval:
    return -operands[0][1], -operands[0][0]


def _sum(node: ir.Node, operands: Sequence[Interval]) -> Interval:
    low, high = operands[0]
    for a, b in operands[1:]:
        low, high = low + a, high + b
    return low, high


def _mean(node: ir.Node, operands: Sequence[Interval]) -> Interval:
    low, high = _sum(node, operands)
    return low / len(operands), high / len(operands)


def _difference(node: ir.Node, operands: Sequence[Interval]) -> Interval:
    (a, b), (c, d) = operands
    return a - d, b - c


def _product(node: ir.Node, operands: Sequence[Interval]) -> Interval:
    """Zero times what is not bounded is zero: every element is finite."""
    (a, b), (c, d) = operands
    corners = [np.where((p == 0) | (q == 0), 0.0, p * q) for p in (a, b) for q in (c, d)]
    return _hull(corners)


def _quotient(node: ir.Node, operands: Sequence[Interval]) -> Interval:
    """Of a divisor that is known; nothing else."""
    (a, b), (c, d) = operands
    known = (c == d) & (c != 0)
    low, high = _hull((a / c, b / c))
    return np.where(known, low, -np.inf), np.where(known, high, np.inf)


def _minimum(node: ir.Node, operands: Sequence[Interval]) -> Interval:
    return _fold(np.minimum, operands)


def _maximum(node: ir.Node, operands: Sequence[Interval]) -> Interval:
    return _fold(np.maximum, operands)


def _fold(function: Callable[[Array, Array], Array], operands: Sequence[Interval]) -> Interval:
    low, high = operands[0]
    for a, b in operands[1:]:
        low, high = function(low, a), function(high, b)
    return low, high


def _power(node: ir.Node, operands: Sequence[Interval]) -> Interval:
    (a, b), (c, d) = operands
    known = (a == b) & (c == d)
    exact = np.power(a, c)
    return np.where(known, exact, -np.inf), np.where(known, exact, np.inf)


def _prelu(node: ir.Node, operands: Sequence[Interval]) -> Interval:
    """``max(x, 0) + slope min(x, 0)``."""
    (a, b), slope = operands
    low, high = _product(node, ((np.minimum(a, 0), np.minimum(b, 0)), slope))
    return np.maximum(a, 0) + low, np.maximum(b, 0) + high


def _hull(corners: Sequence[Array]) -> Interval:
    low: Any = corners[0]
    high: Any = corners[0]
    for corner in corners[1:]:
        low, high = np.minimum(low, corner), np.maximum(high, corner)
    return low, high


OTHERS: dict[str, Callable[[ir.Node, Sequence[Interval]], Interval]] = {
    "Abs": _abs,
    "Neg": _negate,
    "Add": _sum,
    "Sum": _sum,
    "Mean": _mean,
    "Sub": _difference,
    "Mul": _product,
    "Div": _quotient,
    "Min": _minimum,
    "Max": _maximum,
    "Pow": _power,
    "PRelu": _prelu,
    "Reciprocal": _known_or(_constantly(lambda x: 1 / x)),
    "HardSwish": _known_or(_constantly(lambda x: x * np.clip(x / 6 + 0.5, 0, 1)), low=-0.376),
    "Swish": _known_or(_swish),
    "Mish": _known_or(_constantly(lambda x: x * np.tanh(np.logaddexp(0, x))), low=-0.309),
    "Gelu": _known_or(_gelu, low=-0.171),
    "Sin": _known_or(_constantly(np.sin), -1.0, 1.0),
    "Cos": _known_or(_constantly(np.cos), -1.0, 1.0),
}
"""Operator -> bounds from those of its operands."""

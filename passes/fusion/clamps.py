"""The spellings of ``min(max(z, low), high)``, as patterns, and the bounds of what they matched."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.pattern import Const, Match, Op, Pattern

TOLERANCE = 2e-6
"""Relative error of a constant that an exporter rounded to float32, such as 1/6, and of one product of such."""


def clamps(inner: Pattern) -> tuple[Op, ...]:
    """Patterns of a clamp of ``inner``: Clip (bounds as inputs, as attributes), Min with Max, and Min with Relu."""
    low, high = Const("low"), Const("high")
    return (
        Op("Clip", inner, low, high),
        Op("Clip", inner, name="clip"),
        Op("Min", Op("Max", inner, low), high),
        Op("Max", Op("Min", inner, high), low),
        Op("Min", Op("Relu", inner), high),
    )


def bounds(found: Match) -> tuple[float, float] | None:
    """Both bounds of a matched clamp; None if one is not a single number, or there is none."""
    clip = found.named.get("clip")
    if clip is not None:
        low, high = (_attribute(clip, name) for name in ("min", "max"))
    else:
        low = number(found, "low") if "low" in found.values else 0.0
        high = number(found, "high")
    return None if low is None or high is None else (low, high)


def number(found: Match, name: str) -> float | None:
    """A bound constant of one element, which does not raise the rank of ``x``; None otherwise."""
    array, x = found.array(name), found["x"]
    rank = 0 if x.shape is None else len(x.shape)
    return found.scalar(name) if array.size == 1 and array.ndim <= rank else None


def nearly(a: float, b: float) -> bool:
    """Equal up to the rounding of exported constants."""
    return bool(np.isclose(a, b, rtol=TOLERANCE, atol=0))


def _attribute(node: ir.Node, name: str) -> float | None:
    found = node.attributes.get(name)
    return None if found is None or found.is_ref() else found.as_float()

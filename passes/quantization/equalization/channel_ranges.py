"""Largest absolute weight of each output and of each input channel of a linear operator."""

from __future__ import annotations

import numpy as np

from tamis.passes.fusion.affine import Array
from tamis.passes.fusion.linear_nodes import Linear, groups


def output_ranges(linear: Linear) -> Array:
    """``(C_out,)``."""
    weight = np.abs(linear.weight)
    if linear.node.op_type == "ConvTranspose":
        return _grouped(weight, groups(linear.node), 1)
    return _over_others(weight, 0 if linear.node.op_type == "Conv" else 1)


def input_ranges(linear: Linear) -> Array:
    """``(C_in,)``."""
    weight = np.abs(linear.weight)
    if linear.node.op_type == "Conv":
        return _grouped(weight, groups(linear.node), 1)
    return _over_others(weight, 0)


def _over_others(weight: Array, axis: int) -> Array:
    found: Array = weight.max(axis=tuple(i for i in range(weight.ndim) if i != axis))
    return found


def _grouped(weight: Array, count: int, axis: int) -> Array:
    """Largest elements of ``weight: (A, B / groups, *k)`` along ``axis`` of each group: ``(B,)``."""
    grouped = weight.reshape(count, -1, *weight.shape[axis:])
    found: Array = grouped.max(axis=tuple(i for i in range(grouped.ndim) if i not in (0, 2)))
    return found.reshape(-1)

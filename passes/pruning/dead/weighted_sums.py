"""Bounds of ``W x + b`` from bounds of x, and numbers of its rows.

::

    high_n = b_n + sum over W_nk > 0 of W_nk high_k + sum over W_nk < 0 of W_nk low_k
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from tamis.passes.pruning.dead.fact import Array, Numbers
from tamis.passes.pruning.dead.facts import digest


def weighted_bounds(up: Array, down: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Bounds of the sums, equal where all that goes in is known.

    Args:
        up, down: ``(..., N, K)``, sums of the positive and of the negative weights of each input.
        low, high: ``(..., K)``.

    Returns:
        ``(..., N)`` each.
    """
    most, least = _largest(up, down, low, high), -_largest(up, down, -high, -low)
    varied = _times((up != 0) | (down != 0), low != high)
    return np.where(varied == 0, most, least), most


def _largest(up: Array, down: Array, low: Array, high: Array) -> Array:
    """The largest sums; zero times an infinite bound is zero."""
    unbounded = _times(up != 0, np.isinf(high)) + _times(down != 0, np.isinf(low))
    finite = _times(up, np.where(np.isinf(high), 0.0, high)) + _times(down, np.where(np.isinf(low), 0.0, low))
    return np.where(unbounded > 0, np.inf, finite)


def _times(weights: Array, vectors: Array) -> Array:
    found: Array = (weights.astype(np.float64) @ vectors.astype(np.float64)[..., None])[..., 0]
    return found


def row_numbers(rows: Array, label: Hashable, numbers: Numbers) -> Array:
    """``(N,)``: equal rows of weights ``(N, ...)`` have one number."""
    return np.asarray([numbers.of((label, digest(row))) for row in rows], np.int64)

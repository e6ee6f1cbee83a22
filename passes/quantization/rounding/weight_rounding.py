"""Round weights to integers so that the output of the layer, not the weight, changes least. On plain arrays.

::

    minimize trace((W' - s Q)^T G (W' - s Q)) over integer Q,  W' = W + (G + l I)^-1 (C^T - G) W

G is the Gram matrix of the layer's input (see gram.py). W' absorbs what upstream layers did to that
input. Rows are rounded in order, and the error of each is passed on to those that follow; then single
weights move up or down by 1 as long as that helps. Pair-safety (see
compiler/analysis/integer_products.py) holds at every step.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from tamis.compiler.analysis.integer_products import PAIR_LIMIT, pair_extremes

Array = np.ndarray[Any, np.dtype[Any]]
DAMPING = 0.01
"""Share of the mean diagonal of G that is added to it."""
BLOCK = 128
"""Rows whose changes are gathered before the others hear of them; even, so that no pair is cut."""
SWEEPS = 3
EXACT_ROWS = 9
"""Up to so many rows all ways to round up or down are tried."""


def round_nearest(weight: Array, scale: Array, *, pair_safe: bool, limit: int = 127) -> Array:
    """``weight / scale`` to the nearest integers in -limit..limit; of pairs that could saturate, the nearest that cannot.

    Args:
        weight: ``(K, N)``.
        scale: ``(N,)`` or ``()``.
        pair_safe: Keep pairs of rows from saturating.
        limit: Largest integer.

    Returns:
        int8 ``(K, N)``.
    """
    steps = weight.astype(np.float64) / scale
    if pair_safe:
        for j in range(0, len(steps) - 1, 2):
            steps[j], steps[j + 1] = _safe_pair(steps[j], steps[j + 1], limit)
    quantized: Array = _round_pairs(np.clip(steps, -limit, limit), pair_safe).astype(np.int8)
    return quantized


def round_weights(
    weight: Array, scale: Array, gram: Array, cross: Array | None = None, *, pair_safe: bool, limit: int = 127
) -> Array:
    """Integers that change the output of ``x @ weight`` least.

    Args:
        weight: ``(K, N)``, K in the order in which the kernel adds.
        scale: ``(N,)`` or ``()``, positive.
        gram: ``(K, K)``, ``x^T x`` of the input that the quantized layer sees.
        cross: ``(K, K)``, ``x_float^T x``; None if the float layer sees the same.
        pair_safe: Keep pairs of rows from saturating.
        limit: Largest integer: 127 of int8, 7 of int4.

    Returns:
        int8 ``(K, N)``; never worse than ``round_nearest`` in any column, by ``output_error`` of the damped Gram.
    """
    g = gram.astype(np.float64)
    damped = _damped(g)
    target = weight.astype(np.float64)
    if cross is not None:
        target = absorb_upstream(target, g, cross)
    steps = np.broadcast_to(np.asarray(scale, np.float64), target.shape[1:])
    nearest = round_nearest(target, steps, pair_safe=pair_safe, limit=limit).astype(np.float64)
    if len(target) <= EXACT_ROWS and not pair_safe:
        return _exact(target / steps, damped, limit).astype(np.int8)
    candidates = [nearest, _sweep(target / steps, damped, pair_safe, limit)]
    refined = [_descend(target / steps, q, damped, pair_safe, limit) for q in candidates]
    errors = np.array([_errors(target / steps - q, damped) for q in refined])
    best: Array = np.where(errors[0] <= errors[1], refined[0], refined[1]).astype(np.int8)
    return best


def absorb_upstream(weight: Array, gram: Array, cross: Array) -> Array:
    """The float weight that gives the float layer's output from the input that the quantized layer sees."""
    from scipy.linalg import cho_solve, cholesky

    wide = weight.astype(np.float64)
    factor = cholesky(_damped(gram.astype(np.float64)), lower=True)
    found: Array = wide + cho_solve((factor, True), (cross.T.astype(np.float64) - gram) @ wide)
    return found


def output_error(weight: Array, quantized: Array, scale: Array, gram: Array) -> Array:
    """Per column, the sum over all rows of the squared error of the output, ``(N,)``."""
    return _errors(weight.astype(np.float64) - quantized.astype(np.float64) * scale, gram.astype(np.float64))


def best_scales(
    weight: Array, gram: Array, *, pair_safe: bool, limit: int = 127, grid: int = 12, per_channel: bool = True
) -> Array:
    """Scales under which nearest rounding changes the output least, float32 ``(N,)`` or ``()``.

    Tried are ``grid`` steps from 0.7 of the scale that just holds the largest weight to the one that needs no pair to
    be moved, which is at most 2 times that one.
    """
    wide, g = weight.astype(np.float64), _damped(gram.astype(np.float64))
    full = np.abs(wide).max(axis=0 if per_channel else None) / limit
    full = np.where(full > np.finfo(np.float32).tiny, full, 1.0)
    top = pair_extremes(wide / full) / PAIR_LIMIT if pair_safe else np.ones(wide.shape[1])
    top = np.maximum(top if per_channel else top.max(), 1.0)
    best, error = full.astype(np.float32), None
    for share in np.linspace(0, 1, grid):
        scale = (full * (0.7 + share * (top - 0.7))).astype(np.float32)
        quantized = round_nearest(wide, scale, pair_safe=pair_safe, limit=limit)
        found = _errors(wide - quantized * scale.astype(np.float64), g)
        found = found if per_channel else found.sum()
        better = np.ones_like(found, bool) if error is None else found < error
        best, error = np.where(better, scale, best), found if error is None else np.minimum(found, error)
    return np.asarray(best, np.float32)


def _damped(gram: Array) -> Array:
    """G with a little of its mean diagonal added; the identity if the input was always 0."""
    mean = float(np.trace(gram)) / len(gram)
    damped: Array = gram + np.eye(len(gram)) * (DAMPING * mean if mean > 0 else 1.0)
    return damped


def _errors(difference: Array, gram: Array) -> Array:
    found: Array = np.einsum("kn,kn->n", difference, gram @ difference)
    return found


def _sweep(steps: Array, gram: Array, pair_safe: bool, limit: int) -> Array:
    """Round rows in order, pushing the error of each on to the later ones (GPTQ, blocked)."""
    from scipy.linalg import cho_solve, cholesky

    inverse = cho_solve((cholesky(gram, lower=True), True), np.eye(len(gram)))
    upper = cholesky((inverse + inverse.T) / 2, lower=False)
    left, quantized = steps.copy(), np.zeros_like(steps)
    for start in range(0, len(left), BLOCK):
        stop = min(start + BLOCK, len(left))
        errors = np.zeros((stop - start, left.shape[1]))
        for j in range(start, stop):
            quantized[j] = _next_row(left, quantized, j, pair_safe, limit)
            error = (left[j] - quantized[j]) / upper[j, j]
            left[j + 1 : stop] -= np.outer(upper[j, j + 1 : stop], error)
            errors[j - start] = error
        left[stop:] -= upper[start:stop, stop:].T @ errors
    return quantized


def _next_row(left: Array, quantized: Array, j: int, pair_safe: bool, limit: int) -> Array:
    """Row ``j`` rounded; the first of a pair leaves room for the second."""
    low: Any = -limit
    high: Any = limit
    row = left[j]
    if pair_safe and j % 2:
        low, high = _room(quantized[j - 1], limit)
    elif pair_safe and j + 1 < len(left):
        row, _ = _safe_pair(row, left[j + 1], limit)
    rounded: Array = np.clip(np.rint(row), low, high)
    return rounded


def _room(partner: Array, limit: int) -> tuple[Array, Array]:
    """Smallest and largest integer beside ``partner`` in a pair."""
    return (
        np.maximum(-limit, -PAIR_LIMIT - np.minimum(partner, 0)),
        np.minimum(limit, PAIR_LIMIT - np.maximum(partner, 0)),
    )


def _safe_pair(first: Array, second: Array, limit: int) -> tuple[Array, Array]:
    """The nearest pair of numbers that cannot saturate: two of one sign give way equally, neither beyond 0."""
    first, second = np.clip(first, -limit, limit), np.clip(second, -limit, limit)
    same = first * second > 0
    excess = np.where(same, np.maximum(np.abs(first) + np.abs(second) - PAIR_LIMIT, 0), 0) / 2
    return first - np.sign(first) * excess, second - np.sign(second) * excess


def _round_pairs(steps: Array, pair_safe: bool) -> Array:
    """To nearest; where both of a pair that is just safe go up, the second goes down instead."""
    rounded = np.rint(steps)
    if pair_safe and len(steps) > 1:
        even = len(steps) // 2 * 2
        first, second = rounded[0:even:2], rounded[1:even:2]
        over = (first * second > 0) & (np.abs(first) + np.abs(second) > PAIR_LIMIT)
        rounded[1:even:2] = second - np.where(over, np.sign(second), 0)
    return rounded


def _descend(steps: Array, quantized: Array, gram: Array, pair_safe: bool, limit: int) -> Array:
    """Move single weights by 1 as long as the output error falls; row by row, all columns at once."""
    quantized = quantized.copy()
    slope = gram @ (steps - quantized)
    diagonal = np.diag(gram)
    for _ in range(SWEEPS):
        moved = False
        for start in range(0, len(steps), BLOCK):
            block = slice(start, min(start + BLOCK, len(steps)))
            before = quantized[block].copy()
            inner = slope[block].copy()
            for j in range(block.start, block.stop):
                low, high = _limits(quantized, j, pair_safe, limit)
                step = np.sign(inner[j - start])
                step *= (np.abs(inner[j - start]) > diagonal[j] / 2 * (1 + 1e-9)) & (quantized[j] + step <= high)
                step *= quantized[j] + step >= low
                if step.any():
                    quantized[j] += step
                    inner -= np.outer(gram[block, j], step)
            change = quantized[block] - before
            if change.any():
                moved = True
                slope -= gram[:, block] @ change
        if not moved:
            break
    return quantized


def _limits(quantized: Array, j: int, pair_safe: bool, limit: int) -> tuple[Any, Any]:
    partner = j ^ 1
    return _room(quantized[partner], limit) if pair_safe and partner < len(quantized) else (-limit, limit)


def _exact(steps: Array, gram: Array, limit: int) -> Array:
    """The best of all ways to round each weight up or down; for few rows."""
    floor = np.clip(np.floor(steps), -limit, limit)
    ups = np.array(list(product((0.0, 1.0), repeat=len(steps))))  # (2^K, K)
    choices = np.minimum(floor.T[:, None] + ups, limit)  # (N, 2^K, K)
    error = steps.T[:, None] - choices
    best = np.einsum("nck,kl,ncl->nc", error, gram, error, optimize=True).argmin(axis=1)
    found: Array = choices[np.arange(len(best)), best].T
    return found

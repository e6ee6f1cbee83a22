"""Round weights to integers so that the output of the layer, not the weight, changes least. On plain arrays.

::

    minimize trace((W' - s Q)^T G (W' - s Q)) over integer Q,  W' = W + (G + l I)^-1 (C^T - G) W

G is the Gram matrix of the layer's input (see gram.py). W' absorbs what upstream layers did to that
input. Rows are rounded in order, and the error of each is passed on to those that follow; then single
weights move up or down by 1 as long as that helps. Pair-safety (see
compiler/analysis/integer_products.py) holds at every step. All arrays may be stacks: one matrix a group of a
convolution, rounded together.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from tamis.compiler.analysis.integer_products import PAIR_LIMIT, pair_extremes

Array = np.ndarray[Any, np.dtype[Any]]
DAMPING = 0.01
"""Share of the mean diagonal of G that is added to it."""
BLOCK = 32
"""Rows whose changes are gathered before the others hear of them; even, so that no pair is cut."""
SWEEPS = 3
EXACT_ROWS = 9
"""Up to so many rows all ways to round up or down are tried."""
EXACT_COLUMNS = 256
"""Columns for which all ways are held at once."""
SURE = 1e-4
"""Share by which a move must beat what single precision tells apart."""


def round_nearest(weight: Array, scale: Array, *, pair_safe: bool, limit: int = 127) -> Array:
    """``weight / scale`` to the nearest integers in -limit..limit; of pairs that could saturate, the nearest that cannot.

    Args:
        weight: ``(..., K, N)``.
        scale: ``(..., N)`` or ``()``.
        pair_safe: Keep pairs of rows from saturating.
        limit: Largest integer.

    Returns:
        int8 ``(..., K, N)``.
    """
    steps = _steps(weight.astype(np.float64), scale)
    even = steps.shape[-2] // 2 * 2
    if pair_safe and even:
        first, second = _safe_pair(steps[..., 0:even:2, :], steps[..., 1:even:2, :], limit)
        steps[..., 0:even:2, :], steps[..., 1:even:2, :] = first, second
    quantized: Array = _round_pairs(np.clip(steps, -limit, limit), pair_safe).astype(np.int8)
    return quantized


def round_weights(
    weight: Array, scale: Array, gram: Array, cross: Array | None = None, *, pair_safe: bool, limit: int = 127
) -> Array:
    """Integers that change the output of ``x @ weight`` least.

    Args:
        weight: ``(..., K, N)``, K in the order in which the kernel adds.
        scale: ``(..., N)`` or ``()``, positive.
        gram: ``(..., K, K)``, ``x^T x`` of the input that the quantized layer sees.
        cross: ``(..., K, K)``, ``x_float^T x``; None if the float layer sees the same.
        pair_safe: Keep pairs of rows from saturating.
        limit: Largest integer: 127 of int8, 7 of int4.

    Returns:
        int8 ``(..., K, N)``; never worse than ``round_nearest`` in any column, by ``output_error`` of the damped Gram.
    """
    damped = _damped(gram.astype(np.float64))
    target = weight.astype(np.float64)
    if cross is not None:
        target = absorb_upstream(target, gram, cross)
    steps = _steps(target, scale)
    if steps.shape[-2] <= EXACT_ROWS and not pair_safe:
        return _exact(steps, damped, limit)
    nearest = round_nearest(target, scale, pair_safe=pair_safe, limit=limit)
    single, g = steps.astype(np.float32), damped.astype(np.float32)
    swept = _descend(single, _sweep(single, damped, pair_safe, limit), g, pair_safe, limit).astype(np.int8)
    better = _errors(steps - swept, damped) < _errors(steps - nearest, damped)
    best: Array = np.where(better[..., None, :], swept, nearest)
    return best


def absorb_upstream(weight: Array, gram: Array, cross: Array) -> Array:
    """The float weight that gives the float layer's output from the input that the quantized layer sees."""
    wide, g = weight.astype(np.float64), gram.astype(np.float64)
    change = (np.swapaxes(cross, -1, -2).astype(np.float64) - g) @ wide
    found: Array = wide + np.linalg.solve(_damped(g), change)
    return found


def output_error(weight: Array, quantized: Array, scale: Array, gram: Array) -> Array:
    """Per column, the sum over all rows of the squared error of the output, ``(..., N)``."""
    wide = np.asarray(scale, np.float64)
    scaled = quantized.astype(np.float64) * (wide[..., None, :] if wide.ndim else wide)
    return _errors(weight.astype(np.float64) - scaled, gram)


def best_scales(
    weight: Array, gram: Array, *, pair_safe: bool, limit: int = 127, grid: int = 12, per_channel: bool = True
) -> Array:
    """Scales under which nearest rounding changes the output least, float32 ``(..., N)``, or ``()`` of one matrix.

    Tried are ``grid`` steps from 0.7 of the scale that just holds the largest weight to the one that needs no pair to
    be moved, which is at most 2 times that one.
    """
    wide, g = weight.astype(np.float64), _damped(gram.astype(np.float64)).astype(np.float32)
    full = np.abs(wide).max(axis=-2 if per_channel else None) / limit
    full = np.where(full > np.finfo(np.float32).tiny, full, 1.0)
    spread = full[..., None, :] if per_channel else full
    top = pair_extremes(wide / spread) / PAIR_LIMIT if pair_safe else np.ones(wide.shape[:-2] + wide.shape[-1:])
    top = np.maximum(top if per_channel else top.max(), 1.0)
    best, error = full.astype(np.float32), None
    for share in np.linspace(0, 1, grid):
        scale = (full * (0.7 + share * (top - 0.7))).astype(np.float32)
        quantized = round_nearest(wide, scale, pair_safe=pair_safe, limit=limit)
        found = _errors(wide - quantized * (scale[..., None, :] if per_channel else scale).astype(np.float64), g)
        found = found if per_channel else found.sum()
        better = np.ones_like(found, bool) if error is None else found < error
        best, error = np.where(better, scale, best), found if error is None else np.minimum(found, error)
    return np.asarray(best, np.float32)


def _steps(weight: Array, scale: Array) -> Array:
    wide = np.asarray(scale, np.float64)
    found: Array = weight / (wide[..., None, :] if wide.ndim else wide)
    return found


def _damped(gram: Array) -> Array:
    """G with a little of its mean diagonal added; the identity if the input was always 0."""
    mean = np.trace(gram, axis1=-2, axis2=-1) / gram.shape[-1]
    added = np.where(mean > 0, DAMPING * mean, 1.0)
    damped: Array = gram + np.eye(gram.shape[-1]) * added[..., None, None]
    return damped


def _errors(difference: Array, gram: Array) -> Array:
    """``d^T G d`` of each column, in the precision of G."""
    same = difference.astype(gram.dtype)
    return np.asarray(np.sum(same * np.matmul(gram, same), axis=-2, dtype=np.float64))


def _sweep(steps: Array, gram: Array, pair_safe: bool, limit: int) -> Array:
    """Round rows in order, pushing the error of each on to the later ones (GPTQ, blocked)."""
    factor = np.linalg.cholesky(gram[..., ::-1, ::-1])[..., ::-1, ::-1]
    upper = np.linalg.inv(factor).astype(np.float32)  # upper^T upper is the inverse of the Gram matrix
    left, quantized = steps.copy(), np.zeros_like(steps)
    count = steps.shape[-2]
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        errors = np.zeros_like(left[..., start:stop, :])
        for j in range(start, stop):
            quantized[..., j, :] = _next_row(left, quantized, j, pair_safe, limit)
            error = (left[..., j, :] - quantized[..., j, :]) / upper[..., j, j, None]
            left[..., j + 1 : stop, :] -= upper[..., j, j + 1 : stop, None] * error[..., None, :]
            errors[..., j - start, :] = error
        left[..., stop:, :] -= np.swapaxes(upper[..., start:stop, stop:], -1, -2) @ errors
    return quantized


def _next_row(left: Array, quantized: Array, j: int, pair_safe: bool, limit: int) -> Array:
    """Row ``j`` rounded; the first of a pair leaves room for the second."""
    low: Any = -limit
    high: Any = limit
    row = left[..., j, :]
    if pair_safe and j % 2:
        low, high = _room(quantized[..., j - 1, :], limit)
    elif pair_safe and j + 1 < left.shape[-2]:
        row, _ = _safe_pair(row, left[..., j + 1, :], limit)
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
    even = steps.shape[-2] // 2 * 2
    if pair_safe and even:
        first, second = rounded[..., 0:even:2, :], rounded[..., 1:even:2, :]
        over = (first * second > 0) & (np.abs(first) + np.abs(second) > PAIR_LIMIT)
        rounded[..., 1:even:2, :] = second - np.where(over, np.sign(second), 0)
    return rounded


def _descend(steps: Array, quantized: Array, gram: Array, pair_safe: bool, limit: int) -> Array:
    """Move single weights by 1 as long as the output error falls; row by row, all columns at once."""
    quantized = quantized.copy()
    slope = np.matmul(gram, steps - quantized)
    needed = np.diagonal(gram, axis1=-2, axis2=-1) / 2 * (1 + SURE)
    for _ in range(SWEEPS):
        moved = False
        for start in range(0, steps.shape[-2], BLOCK):
            block = slice(start, min(start + BLOCK, steps.shape[-2]))
            before = quantized[..., block, :].copy()
            inner = slope[..., block, :].copy()
            for j in range(block.start, block.stop):
                low, high = _limits(quantized, j, pair_safe, limit)
                row = inner[..., j - start, :]
                step = np.sign(row) * (np.abs(row) > needed[..., j, None])
                step *= (quantized[..., j, :] + step <= high) & (quantized[..., j, :] + step >= low)
                if step.any():
                    quantized[..., j, :] += step
                    inner -= gram[..., block, j, None] * step[..., None, :]
            change = quantized[..., block, :] - before
            if change.any():
                moved = True
                slope -= np.matmul(gram[..., block], change)
        if not moved:
            break
    return quantized


def _limits(quantized: Array, j: int, pair_safe: bool, limit: int) -> tuple[Any, Any]:
    partner = j ^ 1
    safe = pair_safe and partner < quantized.shape[-2]
    return _room(quantized[..., partner, :], limit) if safe else (-limit, limit)


def _exact(steps: Array, gram: Array, limit: int) -> Array:
    """The best of all ways to round each weight up or down; for few rows."""
    rows, columns = steps.shape[-2:]
    flat = np.moveaxis(steps, -2, -1).reshape(-1, rows)  # a column of any matrix each
    factors = np.linalg.cholesky(gram).reshape(-1, rows, rows)
    ups = np.array(list(product((0.0, 1.0), repeat=rows)))  # (2^K, K)
    best = np.empty(flat.shape, np.int8)
    for start in range(0, len(flat), EXACT_COLUMNS):
        part = np.arange(start, min(start + EXACT_COLUMNS, len(flat)))
        choices = np.minimum(np.clip(np.floor(flat[part]), -limit, limit)[:, None] + ups, limit)
        errors = np.square((flat[part, None] - choices) @ factors[part // columns]).sum(axis=-1)
        best[part] = choices[np.arange(len(part)), errors.argmin(axis=1)]
    found: Array = np.moveaxis(best.reshape(*steps.shape[:-2], columns, rows), -1, -2)
    return np.ascontiguousarray(found)

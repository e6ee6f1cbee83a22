"""Set weights of a matrix to zero by a criterion. On plain arrays.

::

    magnitude    score |W|
    wanda        score |W_kn| RMS(x_k), among the weights of one output
    obs          score W_kn^2 / [H^-1]_kk, H = G + l I, inputs from the first to the last; the error of a weight that
                 goes is passed on to the inputs that follow, as the optimal brain surgeon says; in the end all
                 weights that stay are fitted by least squares, with conjugate gradients

*References.* Sun et al., "A simple and effective pruning approach for large language models", 2023 (2306.11695), section
3; Frantar and Alistarh, "SparseGPT", 2023 (2301.00774), algorithm 1.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tamis.passes.pruning.sparsity.pattern import Blocked, Mask, Pattern

Array = np.ndarray[Any, np.dtype[Any]]
Criterion = Literal["magnitude", "wanda", "obs"]
BLOCK = 128
"""Inputs whose weights are chosen together."""
DAMPING = 0.01
"""Share of the mean diagonal of G that is added to it."""
STEPS = 20
"""Of conjugate gradients."""


def sparsify(weight: Array, pattern: Pattern, criterion: Criterion, gram: Array | None) -> Array:
    """``weight`` with zeros.

    Args:
        weight: ``(groups, K, N)``, float32.
        pattern: Where zeros may stand.
        criterion: Which weights go.
        gram: ``(groups, K, K)``, ``x^T x`` of the inputs, finite; ``magnitude`` needs none.

    Returns:
        The same shape and type. With ``obs`` the error of the output is never more than by magnitude.
    """
    by_size = np.where(pattern.lowest(np.abs(weight), by_output=False), np.float32(0), weight)
    if criterion == "magnitude" or gram is None:
        return by_size
    if criterion == "wanda":
        scales = np.sqrt(np.maximum(np.diagonal(gram, axis1=-2, axis2=-1), 0))
        mask = pattern.lowest(np.abs(weight) * scales[..., None], by_output=True)
        return np.where(mask, np.float32(0), weight)
    damped = _damped(gram)
    surgeon = _surgeon(weight, pattern, damped)
    found = (by_size, *(_refit(weight, start, damped) for start in (by_size, surgeon)))
    return min(found, key=lambda found: output_error(weight, found, gram))


def output_error(weight: Array, other: Array, gram: Array) -> float:
    """Energy of the output that is lost with ``other`` in place of ``weight``, as a part of all."""
    whole = _energy(weight, gram)
    return _energy(weight - other, gram) / whole if whole > 0 else 0.0


def _energy(weight: Array, gram: Array) -> float:
    return float(np.sum(weight * np.matmul(gram, weight), dtype=np.float64))


def _refit(weight: Array, start: Array, damped: Array) -> Array:
    """``start`` with its weights other than zero brought nearer to the least error, all outputs at once."""
    gram, stays = damped.astype(np.float32), start != 0
    inverse = 1 / np.diagonal(gram, axis1=-2, axis2=-1)[..., None]
    found = start.copy()
    left = np.where(stays, np.matmul(gram, weight - found), np.float32(0))
    scaled = inverse * left
    along, size = scaled, np.sum(left * scaled, axis=-2, keepdims=True)
    for _ in range(STEPS):
        turned = np.where(stays, np.matmul(gram, along), np.float32(0))
        curve = np.sum(along * turned, axis=-2, keepdims=True)
        step = np.divide(size, curve, out=np.zeros_like(size), where=curve > 0)
        found += step * along
        left -= step * turned
        scaled = inverse * left
        after = np.sum(left * scaled, axis=-2, keepdims=True)
        along = scaled + along * np.divide(after, size, out=np.zeros_like(size), where=size > 0)
        size = after
    return found


def _surgeon(weight: Array, pattern: Pattern, damped: Array) -> Array:
    upper = _inverse_factor(damped)
    left = weight.astype(np.float64)
    inputs = left.shape[-2]
    size = BLOCK if not isinstance(pattern, Blocked) else max(BLOCK // pattern.block, 1) * pattern.block
    zeros = 0
    for start in range(0, inputs, size):
        stop = min(start + size, inputs)
        block = slice(start, stop)
        errors = np.zeros_like(left[..., block, :])
        mask: Mask | None = None
        for j in range(start, stop):
            span = pattern.block if isinstance(pattern, Blocked) else size
            if (j - start) % span == 0:  # chosen by what is known of the weights at this point
                rows = slice(j, min(j + span, stop))
                mask = _choose(pattern, left[..., rows, :], upper, rows, zeros)
                zeros += int(mask.sum())
                first = j
            assert mask is not None
            row = left[..., j, :]
            kept = np.where(mask[..., j - first, :], 0.0, row)
            error = (row - kept) / upper[..., j, j, None]
            left[..., j, :] = kept
            left[..., j + 1 : stop, :] -= upper[..., j, j + 1 : stop, None] * error[..., None, :]
            errors[..., j - start, :] = error
        left[..., stop:, :] -= np.swapaxes(upper[..., block, stop:], -1, -2) @ errors
    return left.astype(np.float32)


def _choose(pattern: Pattern, left: Array, upper: Array, rows: slice, zeros: int) -> Mask:
    """What goes of some inputs; of shares, so many that the share holds for all inputs up to there."""
    scores = np.square(left / np.diagonal(upper, axis1=-2, axis2=-1)[..., rows, None])
    if isinstance(pattern, Blocked):
        return pattern.lowest(scores, by_output=True)
    count = pattern.zeros(left.size // (rows.stop - rows.start) * rows.stop) - zeros
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(scores, axis=None, kind="stable")[:count]] = True
    return mask.reshape(scores.shape)


def _damped(gram: Array) -> Array:
    """G with a little of its mean diagonal added, float64; the identity if the input was always 0."""
    wide = gram.astype(np.float64)
    mean = np.trace(wide, axis1=-2, axis2=-1) / wide.shape[-1]
    added = np.where(mean > 0, DAMPING * mean, 1.0)
    wide += np.eye(wide.shape[-1]) * added[..., None, None]
    return wide


def _inverse_factor(damped: Array) -> Array:
    """Upper triangular ``U`` with ``U^T U`` the inverse."""
    factor = np.linalg.cholesky(damped[..., ::-1, ::-1])[..., ::-1, ::-1]
    found: Array = np.linalg.inv(factor)
    return found

"""Take units out of layers, those first whose loss is smallest once the rest makes good for it.

::

    H = cov(x) + lambda I,  P = H^-1      loss of rows S = tr(W_S^T (P_SS)^-1 W_S)
    then   W <- W - P_:S (P_SS)^-1 W_S,   P <- P - P_:S (P_SS)^-1 P_S:

The loss is the least ``tr(E^T H E)`` over all changes E of W that set the rows S to zero: the variance that is missing at
the output after a refit of the rest, bias included. With ``P_SS = L L^T`` and ``Z = L^-1 W_S``, the squares of the rows of Z
are what one row after the other costs, so that one factorization gives all losses of a block and both updates.

*References.* Kurtic et al., ZipLM, 2023 (2302.04089); Hassibi & Stork, Optimal brain surgeon, 1992.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tamis.passes.pruning.importance.curve import Curve

Array = np.ndarray[Any, np.dtype[Any]]
STRIPE = 512
"""Rows of P that are updated at once."""
TINY = 1e-30


class Layer:
    """A layer as units are taken out of it.

    Args:
        inverse: P, ``(units * n, units * n)``, float32 or float64: the part of it that belongs to the units, n rows
            each, in order.
        weights: W, ``(units * n, M)``.
        units: How many there are.
    """

    def __init__(self, inverse: Array, weights: Array, units: int) -> None:
        self._p = inverse
        self._w = _narrow(weights.astype(inverse.dtype))
        self._n = len(inverse) // units

    def scores(self) -> Array:
        """Loss of each unit that is left, if it alone goes next."""
        n, units = self._n, len(self._p) // self._n
        if n == 1:
            found: Array = (self._w**2).sum(axis=1, dtype=np.float64) / np.maximum(np.diagonal(self._p), TINY)
            return found
        each = np.arange(units)
        blocks = self._p.reshape(units, n, units, n)[each, :, each, :]
        rows = self._w.reshape(units, n, -1)
        found = (np.linalg.inv(blocks) * np.matmul(rows, rows.transpose(0, 2, 1))).sum(axis=(1, 2), dtype=np.float64)
        return np.maximum(found, 0)

    def take(self, chosen: Array) -> Array:
        """Take units out, numbered among those that are left; what each adds to the loss, in this order."""
        from scipy.linalg import solve_triangular

        n, units = self._n, len(self._p) // self._n
        gone, stays = (
            (which[:, None] * n + np.arange(n)).ravel() for which in (chosen, np.delete(np.arange(units), chosen))
        )
        lower = _cholesky(self._p[np.ix_(gone, gone)])
        z = solve_triangular(lower, self._w[gone], lower=True, check_finite=False)
        if len(stays):
            v = solve_triangular(lower, self._p[np.ix_(gone, stays)], lower=True, check_finite=False)
            self._p = self._p[np.ix_(stays, stays)]
            for start in range(0, len(stays), STRIPE):
                self._p[start : start + STRIPE] -= v[:, start : start + STRIPE].T @ v
            self._w = self._w[stays] - v.T @ z
        found: Array = (z**2).reshape(len(chosen), -1).sum(axis=1, dtype=np.float64)
        return found


def sweep(layers: Sequence[Layer], fixed: Array, block: int) -> Curve:
    """Take all units out of layers that read the same units; the layers are used up.

    Args:
        layers: The losses of all are added.
        fixed: ``(units,)``: what else each unit costs, whichever others are gone.
        block: Units between two orderings of the rest.
    """
    left = np.arange(len(fixed))
    order: list[Array] = []
    steps: list[Array] = [np.zeros(1)]
    while len(left):
        scores = sum((layer.scores() for layer in layers), start=fixed[left])
        chosen = np.argsort(scores, kind="stable")[:block]
        order.append(left[chosen])
        steps.append(sum((layer.take(chosen) for layer in layers), start=fixed[left[chosen]]))
        left = np.delete(left, chosen)
    return Curve(np.concatenate(order), np.cumsum(np.concatenate(steps)))


def restricted_inverse(h: Array, rows: Array) -> Array:
    """The part of ``h^-1`` at ``rows``, in their order and of its type; ``h``, positive definite, is overwritten.

    Raises:
        LinAlgError: ``h`` is not positive definite.
    """
    from scipy.linalg import lapack

    single = h.dtype == np.float32
    potrf, potri = (lapack.spotrf, lapack.spotri) if single else (lapack.dpotrf, lapack.dpotri)
    factor, info = potrf(h.T, lower=True, overwrite_a=True, clean=False)
    if info == 0:
        factor, info = potri(factor, lower=True, overwrite_c=True)
    if info != 0:
        raise np.linalg.LinAlgError("not positive definite")
    upper = factor.T  # row-major view; its upper triangle holds the inverse
    found: Array = np.empty((len(rows), len(rows)), h.dtype)
    for start in range(0, len(rows), STRIPE):
        some = rows[start : start + STRIPE]
        low, high = np.minimum(some[:, None], rows), np.maximum(some[:, None], rows)
        found[start : start + STRIPE] = upper[low, high]
    return found


def _cholesky(block: Array) -> Array:
    """The lower factor; where rounding left the block indefinite, of the block with the least diagonal that helps."""
    largest = float(np.abs(block).max())
    jitter = 0.0
    while jitter <= largest:
        try:
            return np.linalg.cholesky(block + jitter * np.eye(len(block), dtype=block.dtype))
        except np.linalg.LinAlgError:
            jitter = max(10 * jitter, float(np.finfo(block.dtype).eps) * largest)
    raise np.linalg.LinAlgError("not positive definite, and not by rounding")


def _narrow(weights: Array) -> Array:
    """A matrix with the same products of rows, that has no more columns than rows."""
    if weights.shape[1] <= len(weights):
        return weights
    triangle: Array = np.asarray(np.linalg.qr(weights.T, mode="r"))
    return np.ascontiguousarray(triangle.T)

"""Least squares towards the weights that are there, from rows that come in one sample at a time.

::

    E(lambda) = (X^T X + lambda I)^-1 X^T R        R = Y - X W0,  lambda relative to the mean diagonal of X^T X

X and R are centred where there is a bias, which then takes up the means. Which lambda, or none at all, is chosen by the
error on rows that are in neither sum.

*References.* He et al., Channel Pruning, 2017 (1707.06168), 3.1.2, refits without a ridge and from zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
MEMORY = 512 << 20
"""Bytes of a matrix ``X^T X``; with larger ones the bias alone is fitted."""


@dataclass(frozen=True)
class Solution:
    """A change of weights.

    Args:
        change: ``(groups, K, N)``, float64, to add to the weights; None for the bias alone.
        shift: ``(groups, N)``, float64, to add to the bias; None if there is no bias.
        ridge: Lambda, relative; infinite for the bias alone.
        error: Sum of squares that is left on the rows to judge by.
    """

    change: Array | None
    shift: Array | None
    ridge: float
    error: float


class LeastSquares:
    """The sums of one layer.

    Args:
        groups: Matrices.
        rows: K.
        columns: N.
        shifts: Whether there is a bias.
    """

    def __init__(self, groups: int, rows: int, columns: int, *, shifts: bool) -> None:
        self._shifts = shifts
        self._whole = groups * rows**2 * 8 <= MEMORY
        self._gram = np.zeros((groups, rows, rows) if self._whole else 0)
        self._cross = np.zeros((groups, rows, columns) if self._whole else 0)
        self._pivot: Array | None = None
        self._sum_x = np.zeros((groups, rows))
        self._sum_r = np.zeros((groups, columns))
        self._held: list[tuple[Array, Array]] = []
        self._moments = np.zeros((3, groups, columns))
        self.count = 0
        """Rows fitted to."""

    @property
    def held(self) -> int:
        """Rows to judge by."""
        return sum(x.shape[1] for x, _ in self._held)

    def add(self, x: Array, r: Array) -> None:
        """Fit to rows ``(groups, P, K)`` and what is left of them to explain, ``(groups, P, N)``."""
        x, r = _finite(x, r)
        self.count += x.shape[1]
        self._sum_r += r.sum(axis=1, dtype=np.float64)
        if not self._whole or not x.shape[1]:
            return
        if self._shifts:  # away from zero the sums of squares would lose digits
            self._pivot = x.mean(axis=1, keepdims=True) if self._pivot is None else self._pivot
            x = x - self._pivot
        self._sum_x += x.sum(axis=1, dtype=np.float64)
        self._gram += _product(x, x)
        self._cross += _product(x, r)

    def hold(self, x: Array, r: Array, y: Array) -> None:
        """Judge by rows; these are kept. ``y`` is what they should give, to compare errors with."""
        x, r, y = _finite(x, r, y)
        self._held.append((x, r))
        y = y.astype(np.float64)
        self._moments += np.stack([np.full(y.shape[::2], y.shape[1]), y.sum(axis=1), np.square(y).sum(axis=1)])

    @property
    def variance(self) -> float:
        """Sum of squares of what the rows to judge by should give, each channel less its mean."""
        count, total, squares = self._moments
        return float(np.maximum(squares - total**2 / np.maximum(count, 1), 0).sum())

    def error(self, change: Array | None = None, shift: Array | None = None) -> float:
        """Sum of squares on the rows to judge by, after a change."""
        total = 0.0
        for x, r in self._held:
            left = r if change is None else r - np.matmul(x, change.astype(x.dtype))
            left = left if shift is None else left - shift[:, None].astype(r.dtype)
            total += float(np.square(left, dtype=np.float64).sum())
        return total

    def best(self, ridges: Sequence[float]) -> Solution | None:
        """The change with the smallest error; None if leaving all as it is has that. Use once: the sums are used up."""
        chosen, least = None, self.error()
        for change, shift, ridge in self._candidates(ridges):
            error = self.error(change, shift)
            if error < least:
                chosen, least = Solution(change, shift, ridge, error), error
        return chosen

    def _candidates(self, ridges: Sequence[float]) -> Iterator[tuple[Array | None, Array | None, float]]:
        if not self.count or not self.held:
            return
        mean_r = self._sum_r / self.count
        if self._shifts:
            yield None, mean_r, np.inf
        if not self._whole:
            return
        mean_x = self._sum_x / self.count
        gram, cross = self._gram, self._cross
        gram /= self.count
        cross /= self.count
        if self._shifts:
            gram -= mean_x[:, :, None] * mean_x[:, None]
            cross -= mean_x[:, :, None] * mean_r[:, None]
            mean_x = mean_x + self._pivot[:, 0] if self._pivot is not None else mean_x
        diagonal = np.einsum("gkk->gk", gram)
        scale = diagonal.mean(axis=1, keepdims=True)
        scale[scale <= 0] = 1.0
        plain = diagonal.copy()
        for ridge in ridges:
            diagonal[:] = plain + ridge * scale
            change = _solve(gram, cross)
            if change is not None and np.isfinite(change).all():
                shift = mean_r - np.einsum("gk,gkn->gn", mean_x, change) if self._shifts else None
                yield change, shift, ridge


def _solve(gram: Array, cross: Array) -> Array | None:
    """``gram^-1 cross``; None if a matrix is not positive definite. Many small ones are solved at once."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    try:
        if len(gram) > 1:
            return np.linalg.solve(gram, cross)
        found: Array = cho_solve(cho_factor(gram[0], lower=True, check_finite=False), cross[0], check_finite=False)[
            None
        ]
        return found
    except LinAlgError:
        return None


def _product(x: Array, y: Array) -> Array:
    """``x^T y`` of each group; one matrix on its own is multiplied in half the time."""
    found: Array = (x[0].T @ y[0])[None] if len(x) == 1 else np.matmul(x.transpose(0, 2, 1), y)
    return found


def _finite(*rows: Array) -> tuple[Array, ...]:
    """Rows without NaN and infinities."""
    with np.errstate(invalid="ignore", over="ignore"):
        good = np.isfinite(sum(array.sum(axis=(0, 2)) for array in rows))
    return rows if good.all() else tuple(array[:, good] for array in rows)

"""How far a covariance of few samples is to be drawn to a multiple of the identity.

::

    cov <- (1 - r) S + r mean(diag) I      r = (mean |S_i|^2 - |S|^2) / (n - 1) / (|S|^2 - tr(S)^2 / K)

``S_i`` is the second moment of the rows of sample i, of n, about the mean of all; the norm is Frobenius'. Rows of one sample
are alike, so that samples, not rows, are what is independent.

*References.* Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004, with samples
where they have rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
MOST = 0.99


def shrinkage(covariance: Array, spread: float, units: int) -> float:
    """r, 0 to ``MOST``.

    Args:
        covariance: S, ``(K, K)``.
        spread: Mean of ``|S_i|^2``.
        units: n, how many independent samples there were.
    """
    if units < 2:
        return MOST
    square = float(np.vdot(covariance, covariance))
    distance = square - float(np.trace(covariance)) ** 2 / len(covariance)
    noise = max(0.0, spread - square) / (units - 1)
    return min(MOST, noise / distance) if distance > noise * 1e-12 else 0.0


def squared_norm(rows: Array) -> float:
    """``|S_i|^2`` of centred rows, ``(P, K)``: from the smaller of ``x x^T`` and ``x^T x``."""
    products = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    return float(np.vdot(products, products)) / len(rows) ** 2

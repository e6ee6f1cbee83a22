"""Which factors per channel make 8-bit products of activations and weights err least, on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tamis.passes.fusion.affine import Array

EXPONENTS = tuple(np.arange(3, 10) / 10)
GAIN = 0.9
"""A change must leave at most this share of the squared error."""
ROUNDS = 8
SMALLEST = 1e-5
"""Share of the largest channel below which a channel counts as that share."""


class Rows:
    """Some rows of an activation ``(.., C)``, each with the same chance.

    Args:
        count: Rows to keep.
        seed: Of the choice among them.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._random = np.random.default_rng(seed)
        self._kept: list[Array] = []
        self._seen = 0
        self.finite = True

    def add(self, values: np.ndarray[Any, Any]) -> None:
        """Take in one sample, by reservoir sampling."""
        rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
        self.finite = self.finite and bool(np.isfinite(rows).all())
        fresh = min(len(rows), self._count - len(self._kept))
        self._kept.extend(rows[:fresh])
        places = self._random.integers(self._seen + 1 + np.arange(fresh, len(rows)))
        for index in np.flatnonzero(places < self._count):
            self._kept[places[index]] = rows[fresh + index]
        self._seen += len(rows)

    def divide(self, factors: Array) -> None:
        """Divide each channel by its factor ``(C,)``."""
        self._kept = [row / factors for row in self._kept]

    def array(self) -> Array:
        """``(rows, C)``."""
        return np.array(self._kept)


def best_factors(rows: Rows, weights: Sequence[Array]) -> Array | str:
    """``s: (C,)``, at least 1, or why none is clearly better than 1.

    Args:
        rows: Of the activation.
        weights: Of its readers, each ``(C, N)``.
    """
    if not rows.finite:
        return "samples are not finite"
    x, weight = rows.array(), np.concatenate(list(weights), axis=1)
    if not x.size or not x.any() or not weight.any():
        return "the activation or its weights are all zero"
    exact = x @ weight
    total, error = np.ones(x.shape[1]), _error(x, weight, exact)
    changed = False
    for _ in range(ROUNDS):
        tried = [_factors(x / total, weight * total[:, None], exponent) for exponent in EXPONENTS]
        errors = [_error(x / (total * s), weight * (total * s)[:, None], exact) for s in tried]
        best = int(np.argmin(errors))
        if errors[best] > GAIN * error:
            break
        total, error, changed = total * tried[best], errors[best], True
    return total / total.min() if changed else "no exponent lowers the error of the quantized products enough"


def _factors(x: Array, weight: Array, exponent: float) -> Array:
    """``max|X| ** a / max|W| ** (1 - a)`` per channel, over its smallest element."""
    large, heavy = np.abs(x).max(axis=0), np.abs(weight).max(axis=1)
    large, heavy = np.maximum(large, SMALLEST * large.max()), np.maximum(heavy, SMALLEST * heavy.max())
    factors: Array = large**exponent / heavy ** (1 - exponent)
    scaled: Array = factors / factors.min()
    return scaled


def _error(x: Array, weight: Array, exact: Array) -> float:
    """Squared error of the product with 8-bit activations, one scale in all, and 8-bit weights, one an output."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    step = (high - low) / 255
    columns = np.abs(weight).max(axis=0) / 127
    columns[columns == 0] = 1
    product = (np.rint(x / step) * step) @ (np.rint(weight / columns) * columns)
    return float(np.square(product - exact).sum())

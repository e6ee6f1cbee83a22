"""Choose the range of a tensor that its integers cover, from its statistics.

``minmax``: everything that was seen. ``percentile``: all but one value in 10,000, in equal parts at both ends of a
tensor with both signs. ``mse``: the range with the smallest mean square of rounding and clipping errors. ``entropy``:
the threshold whose quantized distribution diverges least from the real one (Migacz, 2017; Wu et al., 2020, 2004.09602).
All hold 0, which padding and ReLU need exactly.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tamis.passes.quantization.calibration.tensor_statistics import BINS, TensorStatistics

Array = np.ndarray[Any, np.dtype[Any]]
Method = Literal["minmax", "percentile", "entropy", "mse"]
PERCENTILE = 99.99
SMALLEST_SHARE = 0.01
"""Ranges are tried down to that share of what was seen."""
ONE_SIDED = 100
TWO_SIDED = (16, 9, 9)
"""Candidates a side in each round of the search; each round looks between the neighbours of the best one so far."""
ENTROPY_STEP = 8
"""Bins between two thresholds that are tried."""


def find_range(
    statistics: TensorStatistics, method: Method, *, levels: int = 255, symmetric: bool = False
) -> tuple[float, float]:
    """The range to cover; ``(0, 0)`` for a tensor that is 0 or has no finite value.

    Args:
        statistics: Of the tensor.
        method: See the module.
        levels: Steps between the smallest and the largest integer: 255 for 8 bits.
        symmetric: The integers are symmetric around 0; so is the range then.
    """
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    if statistics.low < statistics.high and method != "minmax":
        low, high = _clipped(statistics, method, levels, symmetric, low, high)
    largest = max(-low, high)
    return (-largest, largest) if symmetric else (low, high)


def _clipped(
    statistics: TensorStatistics, method: Method, levels: int, symmetric: bool, low: float, high: float
) -> tuple[float, float]:
    if method == "percentile":
        return _percentile(statistics, low, high)
    if method == "entropy":
        threshold = _entropy_threshold(statistics, max(-low, high), levels, two_sided=symmetric or low < 0 < high)
        return max(low, -threshold), min(high, threshold)
    return _smallest_error(statistics, levels, symmetric, low, high)


def _percentile(statistics: TensorStatistics, low: float, high: float) -> tuple[float, float]:
    finite = statistics.elements - statistics.non_finite
    outside = (1 - PERCENTILE / 100) * finite / (2 if low < 0 < high else 1)
    edges = statistics.edges()
    # of the values on each side of 0, those beyond an edge; zeros are on neither side
    beyond_high = np.append(np.cumsum(statistics.histogram[::-1])[::-1], 0)
    beyond_low = np.append(0, np.cumsum(statistics.histogram))
    top = float(edges[np.argmax(beyond_high <= outside)])
    bottom = float(edges[BINS - np.argmax(beyond_low[::-1] <= outside)])
    return (min(bottom, 0.0) if low < 0 else 0.0, max(top, 0.0) if high > 0 else 0.0)


def _smallest_error(
    statistics: TensorStatistics, levels: int, symmetric: bool, low: float, high: float
) -> tuple[float, float]:
    errors = _Errors(statistics, levels, symmetric)
    shares = np.unique(np.concatenate([np.geomspace(SMALLEST_SHARE, 0.3, 30), np.linspace(0.3, 1, ONE_SIDED - 30)]))
    if symmetric or not low < 0 < high:
        tops = max(-low, high) * shares
        bottoms = -tops if symmetric else np.zeros_like(tops)
        if not symmetric and low < 0:
            bottoms, tops = -tops, np.zeros_like(tops)
        best = int(np.argmin([errors.of(float(b), float(t)) for b, t in zip(bottoms, tops, strict=True)]))
        return float(bottoms[best]), float(tops[best])
    return _two_sided(errors, low, high)


def _two_sided(errors: _Errors, low: float, high: float) -> tuple[float, float]:
    spans = [(SMALLEST_SHARE, 1.0), (SMALLEST_SHARE, 1.0)]
    best = (np.inf, 1.0, 1.0)
    for count in TWO_SIDED:
        grids = [np.geomspace(*span, count) for span in spans]
        tried = ((errors.of(low * float(b), high * float(t)), float(b), float(t)) for b in grids[0] for t in grids[1])
        best = min(best, min(tried))
        spans = [_around(grid, share) for grid, share in zip(grids, best[1:], strict=True)]
    return low * best[1], high * best[2]


def _around(grid: Array, share: float) -> tuple[float, float]:
    """The neighbours of ``share`` in the grid."""
    ratio = float(grid[1] / grid[0])
    return max(share / ratio, SMALLEST_SHARE), min(share * ratio, 1.0)


class _Errors:
    """Sums of squared errors of a tensor, as if its values were spread evenly inside each bin."""

    def __init__(self, statistics: TensorStatistics, levels: int, symmetric: bool) -> None:
        self._edges = statistics.edges()
        self._density = statistics.histogram / np.diff(self._edges)
        self._levels = levels - levels % 2 if symmetric else levels
        self._symmetric = symmetric

    def of(self, low: float, high: float) -> float:
        """For integers that cover ``low`` to ``high``, shifted by less than a step so that one of them is 0."""
        step = (high - low) / self._levels
        if step <= 0 or not np.isfinite(step):
            return np.inf
        below = self._levels // 2 if self._symmetric else round(-low / step)
        first, last = -below * step, (self._levels - below) * step
        inside = np.clip(self._edges, first, last)
        whole = np.rint(inside / step)
        left = inside - whole * step
        integral = whole * (step * step * step / 12) + (left * left * left) / 3
        beyond = self._edges - inside
        integral += beyond * beyond * beyond / 3
        return float(np.diff(integral) @ self._density)


def _entropy_threshold(statistics: TensorStatistics, largest: float, levels: int, *, two_sided: bool) -> float:
    """The threshold of the magnitudes with the least Kullback-Leibler divergence."""
    steps = (levels + 1) // (2 if two_sided else 1)
    centres = np.abs(statistics.edges()[:-1] + statistics.edges()[1:]) / 2
    bins = np.minimum(centres * (BINS / largest), BINS - 1).astype(np.int64)
    counts = np.bincount(bins, weights=statistics.histogram, minlength=BINS)
    beyond = np.append(np.cumsum(counts[::-1])[::-1], 0.0)
    ends = np.arange(steps, BINS + 1, ENTROPY_STEP)
    divergences = [_divergence(counts[:end], float(beyond[end]), steps) for end in ends.tolist()]
    return float(ends[int(np.argmin(divergences))]) * largest / BINS


def _divergence(counts: Array, clipped: float, steps: int) -> float:
    """Of the counts, with what is clipped at their end, from the same counts spread evenly inside each step."""
    seen = counts > 0
    starts = np.arange(steps) * len(counts) // steps
    sizes = np.diff(np.append(starts, len(counts)))
    filled = np.add.reduceat(seen.astype(np.float64), starts)
    spread = np.repeat(np.add.reduceat(counts, starts) / np.maximum(filled, 1), sizes)
    real = counts.copy()
    real[-1] += clipped
    if not spread[seen].sum() or (real[-1] > 0 and not seen[-1]):
        return np.inf
    p, q = real[seen] / real.sum(), spread[seen] / spread[seen].sum()
    return float(np.sum(p * np.log(p / q)))

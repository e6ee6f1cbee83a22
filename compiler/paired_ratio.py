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

from typing import Any, Literal

import numpy as np

Times = np.ndarray[Any, np.dtype[np.float64]]
Verdict = Literal["faster", "slower", "undecided"]

CONFIDENCE = 0.95
RESAMPLES = 4000
MAD_TO_SIGMA = 1.4826
"""Standard deviation over median absolute deviation, of a normal distribution."""


def ratio_of(times: Times, seed: int) -> tuple[float, float, float]:
    """Ratio of column 0 over column 1, and the ends of its interval.

    Args:
        times: (pairs, 2), any unit, above 0; rows alternate in the order of execution.
        seed: Of the bootstrap.
    """
    logs = np.log(times[:, 0] / times[:, 1])
    random = np.random.default_rng(seed)
    centre, drawn = 0.0, np.zeros(RESAMPLES)
    for order in (logs[0::2], logs[1::2]):
        centre += float(np.median(order)) / 2
        drawn += np.median(order[random.integers(0, len(order), (RESAMPLES, len(order)))], axis=1) / 2
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, (tail, 100 - tail))
    return float(np.exp(centre)), float(np.exp(low)), float(np.exp(high))


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

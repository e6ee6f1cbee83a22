"""The time of a model as a function of its widths, from profiles at some widths.

::

    kernel k:     t_k = a_k + b_k MACs_k + c_k elements_k                       at least 0
    the rest:     t_0 = a_0 + c_0 (all elements)                                changes of layout
    the model:    time / time of the whole = A + B sum_k b_k MACs_k + C (sum_k c_k elements_k + c_0 (all elements))

Kernels tell which layers the time goes to; profiling makes each of them slower, and the machine does not run evenly. So
each profile is first brought to the time of its model from end to end, measured in pairs with the whole model, and A, B, C
are fitted to those times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tamis.passes.pruning.allocation.geometry import Geometry
from tamis.passes.pruning.allocation.kernel_features import all_elements, features_of, merged_kernels
from tamis.passes.pruning.allocation.kernel_owners import Profile
from tamis.passes.pruning.allocation.polynomial import Floats, Polynomial, Term

PART = 0.25
TRUST = 0.1
"""Of the made-up measurement: how much of the work it has, and how much it counts."""
Parts = tuple[Polynomial, Polynomial]
"""Nanoseconds for operations and for elements, without what is constant."""


def fit_latency(
    geometry: Geometry, widths: Sequence[Floats], profiles: Sequence[Profile], ratios: Sequence[float]
) -> Polynomial:
    """Time over that of the whole model, as a function of the units left.

    Args:
        geometry: Of the model.
        widths: ``(groups,)`` each, as they count: the first one is the whole.
        profiles: At these widths.
        ratios: Time from end to end at these widths over that of the whole model; the first one is 1.
    """
    whole = profiles[0].total
    level = [p.scaled(r * whole / p.total) if p.total > 0 else p for p, r in zip(profiles, ratios, strict=True)]
    macs, elements = fit_kernels(geometry, widths, level)
    sums = np.asarray([[macs.at(w), elements.at(w)] for w in widths])
    constant, of_macs, of_elements = calibrate(sums, np.asarray(ratios, np.float64))
    unit = constant + of_macs * sums[0, 0] + of_elements * sums[0, 1]
    parts = (Term(constant), *macs.times(of_macs).terms, *elements.times(of_elements).terms)
    return Polynomial((term.times(1 / unit) for term in parts), geometry.lengths)


def calibrate(sums: Floats, ratios: Floats) -> tuple[float, float, float]:
    """A, B and C. A may be negative: a model may get faster by more than its parts, where it fits into a cache.

    Args:
        sums: ``(n, 2)``, nanoseconds for operations and for elements, the whole model first.
        ratios: ``(n,)``. That of the whole is exact, and all predictions are relative to it, so it counts as much as half
            of the others.
    """
    rows = np.concatenate([np.zeros(max(1, len(sums) // 2), np.int64), np.arange(1, len(sums))])
    ones = np.ones(len(rows))
    up, down, of_macs, of_elements = non_negative(np.stack([ones, -ones, *sums[rows].T], 1), ratios[rows])
    return up - down, of_macs, of_elements


def fit_kernels(geometry: Geometry, widths: Sequence[Floats], profiles: Sequence[Profile]) -> Parts:
    """Times of all kernels together."""
    macs: list[Term] = []
    elements: list[Term] = []
    for nodes in merged_kernels(profiles):
        features = features_of(geometry, nodes)
        times = [sum(ns for inner, ns in p.times.items() if inner <= nodes) for p in profiles]
        b, c = _fit(geometry, widths, times, features.macs, features.elements)
        macs.extend(term.times(b) for term in features.macs)
        elements.extend(term.times(c) for term in features.elements)
    everything = all_elements(geometry)
    _, c = _fit(geometry, widths, [p.rest for p in profiles], (), everything)
    elements.extend(term.times(c) for term in everything)
    return _varying(macs, geometry), _varying(elements, geometry)


def _varying(terms: Iterable[Term], geometry: Geometry) -> Polynomial:
    """The sum without what is constant."""
    return Polynomial((term for term in terms if term.sizes), geometry.lengths)


def _fit(
    geometry: Geometry, widths: Sequence[Floats], times: Sequence[float], macs: Iterable[Term], elements: Iterable[Term]
) -> tuple[float, float]:
    """What an operation and what an element takes, nanoseconds.

    If noise makes it look as if width were free, a made-up measurement is added: a part of the work takes that part of the
    time. It counts little.
    """
    sums = [Polynomial(terms, geometry.lengths) for terms in (macs, elements)]
    columns = np.asarray([[1.0, *(each.at(w) for each in sums)] for w in widths])
    wanted = np.asarray(times, np.float64)
    _, b, c = non_negative(columns, wanted)
    if b == c == 0:
        columns = np.vstack([columns, columns.mean(axis=0) * [1.0, PART, PART]])
        trust = np.append(np.ones(len(wanted)), TRUST)
        _, b, c = non_negative(columns, np.append(wanted, wanted.mean() * PART), trust)
    return b, c


def non_negative(columns: np.ndarray[Any, Any], wanted: Floats, trust: Floats | None = None) -> tuple[float, ...]:
    """Least squares of relative errors with factors of at least 0.

    Args:
        columns: ``(n, factors)``.
        wanted: ``(n,)``; those that are 0 count as the smallest ones above.
        trust: ``(n,)``, weights of the relative errors; None for the same of all.
    """
    from scipy.optimize import nnls

    positive = wanted[wanted > 0]
    if not len(positive):
        return tuple(0.0 for _ in range(columns.shape[1]))
    weights = (1.0 if trust is None else trust) / np.maximum(wanted, positive.min())
    scale = np.maximum(np.abs(columns).max(axis=0), 1e-12)
    found = nnls(columns / scale * weights[:, None], wanted * weights)[0] / scale
    return tuple(found.tolist())

"""Distance of each unit's producing slices to their geometric median: what is near it, others can stand in for.

::

    m = argmin_m sum_u |w_u - m|        loss of u = |w_u - m|^2 / sum over all units

``w_u`` are the slices of all producing tensors, each tensor scaled to norm 1. The median is found by Weiszfeld's iteration.

*References.* He et al., Filter pruning via geometric median, 2018 (1811.00250), who take the smallest sum of distances to
the other filters in place of the distance to the median itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.passes.pruning.axes.axis import Role
from tamis.passes.pruning.axes.group import Group, Member

Array = np.ndarray[Any, np.dtype[Any]]
ROUNDS = 100
CLOSE = 1e-9
"""The iteration ends once the median moves by less than this part of the spread."""


def median_distances(group: Group) -> Array:
    """``(units,)``, float64, of sum 1, or zeros if all units are equal up to rounding."""
    points = np.concatenate([_slices(m) for m in group.with_role(Role.PRODUCE)], axis=1)
    squares: Array = ((points - geometric_median(points)) ** 2).sum(axis=1)
    total = float(squares.sum())
    equal = total <= (CLOSE**2) * float((points**2).sum())
    return np.zeros(group.units) if equal else squares / total


def geometric_median(points: Array) -> Array:
    """The point with the smallest sum of distances: ``(n, d)`` -> ``(d,)``, float64."""
    median: Array = points.mean(axis=0)
    spread = float(np.sqrt(((points - median) ** 2).sum(axis=1)).mean())
    if spread == 0:
        return median
    for _ in range(ROUNDS):
        distances = np.sqrt(((points - median) ** 2).sum(axis=1))
        weights = 1 / np.maximum(distances, CLOSE * spread)
        moved: Array = weights @ points / weights.sum()
        if float(np.sqrt(((moved - median) ** 2).sum())) < CLOSE * spread:
            return moved
        median = moved
    return median


def _slices(member: Member) -> Array:
    """``(units, elements)``, scaled to norm 1 of the whole."""
    array = np.moveaxis(member.elements.astype(np.float64), member.axis.index, 0)
    flat = array[member.positions.ravel()].reshape(len(member.positions), -1)
    norm = float(np.sqrt((flat**2).sum()))
    return flat / norm if norm > 0 else flat

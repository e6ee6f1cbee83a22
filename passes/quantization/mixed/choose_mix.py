"""Choose which parts of a model run in integers: least predicted latency within a budget of damage.

A model is a set of places (groups of nodes that run in float or in integers) and of crossings (tensors between them).
Converting a tensor costs time once, however many places read it. With ``x`` = 1 for a place in integers::

    min   sum_i (int8_i - float_i) x_i + sum_t enter_t q_t + leave_t d_t
    s.t.  q_t >= x_reader - x_producer,  d_t >= x_producer - x_reader,  x_i <= x_needed,
          sum_i damage_i x_i <= budget

``q`` and ``d`` need no integrality: at the optimum they are the largest difference, which is 0 or 1.

*References.* Yao et al., HAWQ-V3, 2021 (2011.10680), for the integer program; it has no costs of crossings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tamis.compiler.errors import PassError

if TYPE_CHECKING:
    from scipy.sparse import coo_array

FRACTIONS = (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.015, 0.007, 0.003, 0.001)
"""Budgets of the front, as parts of the damage of the fastest mix."""
SECONDS = 10.0
"""Limit of one solution; below 500 places it takes milliseconds."""


@dataclass(frozen=True)
class Place:
    """Nodes that run together in float or in integers.

    Args:
        name: For messages.
        float_ns, int8_ns: Time in float and in integers, nanoseconds, conversions at its edges apart.
        damage: What is lost at the outputs when this place alone runs in integers; adds up over places. Not finite:
            never in integers.
        free: No choice of its own: runs in integers wherever that is faster, and loses nothing.
        needs: Places that must run in integers for this one to.
    """

    name: str
    float_ns: float
    int8_ns: float
    damage: float = 0.0
    free: bool = False
    needs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Crossing:
    """A tensor that must be converted if its producer and one of its readers differ.

    Args:
        producer: Index of the place; None for what is always float.
        readers: Indices of places; None for what is always float.
        enter_ns: Time to quantize it, nanoseconds.
        leave_ns: Time to dequantize it, nanoseconds.
    """

    producer: int | None
    readers: tuple[int | None, ...]
    enter_ns: float
    leave_ns: float


@dataclass(frozen=True)
class MixProblem:
    """What is known when a mix is chosen."""

    places: tuple[Place, ...]
    crossings: tuple[Crossing, ...]

    @property
    def units(self) -> frozenset[int]:
        """The places that there is a choice about."""
        return frozenset(i for i, place in enumerate(self.places) if not place.free and math.isfinite(place.damage))

    def damage(self, chosen: AbstractSet[int]) -> float:
        """Sum over the places in integers."""
        return math.fsum(self.places[i].damage for i in sorted(chosen) if not self.places[i].free)

    def edges_ns(self, chosen: AbstractSet[int]) -> float:
        """Time of the conversions if exactly ``chosen`` run in integers."""
        whole = 0.0
        for crossing in self.crossings:
            inside = crossing.producer in chosen
            readers = [reader in chosen for reader in crossing.readers]
            whole += crossing.leave_ns * (inside and not all(readers)) + crossing.enter_ns * (
                not inside and any(readers)
            )
        return whole

    def latency_ns(self, chosen: AbstractSet[int]) -> float:
        """Time of the whole if exactly ``chosen``, free places among them, run in integers."""
        places = math.fsum(p.int8_ns if i in chosen else p.float_ns for i, p in enumerate(self.places))
        return places + self.edges_ns(chosen)


@dataclass(frozen=True)
class Mix:
    """An answer.

    Args:
        chosen: Places in integers, without the free ones.
        free: Free places in integers.
        latency_ns: Predicted time of the whole.
        damage: Sum over ``chosen``.
    """

    chosen: frozenset[int]
    free: frozenset[int]
    latency_ns: float
    damage: float


def solve(problem: MixProblem, budget: float = math.inf, fixed: Mapping[int, bool] | None = None) -> Mix:
    """The fastest mix whose damage is at most ``budget``.

    Args:
        problem: What is known.
        budget: In the unit of ``Place.damage``; at least 0.
        fixed: Places that are decided already: True for integers.

    Raises:
        PassError: The fixed places break the budget, or the solver found nothing in time.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    count, places = len(problem.places), problem.places
    if not count:
        return Mix(frozenset(), frozenset(), problem.latency_ns(frozenset()), 0.0)
    low, high = np.zeros(count), np.ones(count)
    for i, place in enumerate(places):
        if not place.free and not (math.isfinite(place.damage) and place.damage <= budget):
            high[i] = 0.0
    for i, inside in (fixed or {}).items():
        low[i], high[i] = (1.0, 1.0) if inside else (0.0, 0.0)
    gains = np.asarray([p.int8_ns - p.float_ns for p in places])
    crossings = np.asarray([cost for c in problem.crossings for cost in (c.enter_ns, c.leave_ns)])
    scale = max(float(np.abs(gains).max()), 1.0)
    constraints = []
    rows = _rows(problem)
    if rows is not None:
        constraints.append(LinearConstraint(rows, lb=0.0))
    if math.isfinite(budget) and budget > 0:
        row = np.zeros((1, count + len(crossings)))
        row[0, :count] = [0.0 if p.free or not math.isfinite(p.damage) else p.damage / budget for p in places]
        constraints.append(LinearConstraint(row, ub=1.0))
    answer = milp(
        np.concatenate([gains, crossings]) / scale,
        integrality=np.concatenate([np.ones(count), np.zeros(len(crossings))]),
        bounds=Bounds(np.concatenate([low, np.zeros(len(crossings))]), np.concatenate([high, np.ones(len(crossings))])),
        constraints=constraints,
        options={"time_limit": SECONDS, "mip_rel_gap": 0.0},
    )
    if answer.x is None:
        raise PassError("no mix of precisions was found", where="scipy.optimize.milp", found=str(answer.message))
    integer = frozenset(int(i) for i in np.flatnonzero(answer.x[:count] > 0.5))
    free = frozenset(i for i in integer if places[i].free)
    return Mix(integer - free, free, problem.latency_ns(integer), problem.damage(integer))


def _rows(problem: MixProblem) -> coo_array[np.float64] | None:
    """Rows of ``variable - (x_a - x_b) >= 0``, two for each pair of a producer and a reader, and of ``x_a - x_b >= 0``."""
    from scipy.sparse import coo_array

    count = len(problem.places)
    entries: list[tuple[int, int, float]] = []
    row = 0
    for t, crossing in enumerate(problem.crossings):
        for reader in dict.fromkeys(crossing.readers):
            if reader == crossing.producer:
                continue
            for variable, sign in ((count + 2 * t, 1.0), (count + 2 * t + 1, -1.0)):
                entries.append((row, variable, 1.0))
                entries += [(row, i, s) for i, s in ((reader, -sign), (crossing.producer, sign)) if i is not None]
                row += 1
    for i, place in enumerate(problem.places):
        for needed in place.needs:
            entries += [(row, needed, 1.0), (row, i, -1.0)]
            row += 1
    if not row:
        return None
    rows, columns, values = zip(*entries, strict=True)
    return coo_array((values, (rows, columns)), shape=(row, count + 2 * len(problem.crossings)))


def front(problem: MixProblem, fractions: Sequence[float] = FRACTIONS) -> list[Mix]:
    """Mixes that are each the fastest for their damage, the fastest first; the last one has no damage at all.

    Args:
        problem: What is known.
        fractions: Budgets to solve for, as parts of the damage of the fastest mix, falling.
    """
    found = [solve(problem)]
    for fraction in (*fractions, 0.0):
        mix = solve(problem, fraction * found[0].damage)
        if mix.chosen != found[-1].chosen:
            found.append(mix)
    return found

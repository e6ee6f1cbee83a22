"""Schedules of single stages of a kernel: element-wise ones, and sums over what lies together in memory.

Runs in the compiler process.
"""

from __future__ import annotations

import math

from tvm.s_tir.schedule import LoopRV, SBlockRV, Schedule

from tamis.targets.tvm.tuning.block_facts import BlockFacts
from tamis.targets.tvm.tuning.vector_unit import VectorUnit

PARALLEL_POINTS = 1 << 15
"""Below so many loads or operations, starting the other threads takes longer than they save."""
SLOW_POINTS = 24
"""A slow function counts as so many operations."""
LONGEST = 64
"""Elements in the innermost, vectorized loop."""


def work(facts: BlockFacts) -> int:
    """Operations of a stage, roughly."""
    return facts.points * (1 + SLOW_POINTS * facts.slow)


def elementwise(schedule: Schedule, block: SBlockRV, unit: VectorUnit, points: int) -> None:
    """Vectorize the innermost dimension, share the others among the threads if there is enough to do.

    Args:
        schedule: Changed.
        block: Spatial only.
        unit: Of the target.
        points: Operations of the stage.
    """
    loops = schedule.get_loops(block)
    extents = [int(schedule.get(loop).extent) for loop in loops]
    if not loops:
        return
    inner = max((i for i, n in enumerate(extents) if n > 1), default=len(loops) - 1)
    outer, rest = loops[:inner], loops[inner]
    factor = vector_length(extents[inner], unit.lanes(_dtype(schedule, block)))
    if factor > 1:
        blocks, lanes = schedule.split(rest, [None, factor])
        schedule.vectorize(lanes)
        outer = [*outer, blocks]
    elif inner > 0 or points >= PARALLEL_POINTS:
        outer = [*outer, rest]
    share(schedule, outer, unit, points)


def share(schedule: Schedule, loops: list[LoopRV], unit: VectorUnit, points: int) -> LoopRV | None:
    """Run loops in parallel if that pays; returns the loop that they became."""
    if not loops:
        return None
    count = math.prod(int(schedule.get(loop).extent) for loop in loops)
    fused = schedule.fuse(*loops) if len(loops) > 1 else loops[0]
    if unit.threads > 1 and count > 1 and points >= PARALLEL_POINTS:
        schedule.parallel(fused)
    return fused


def vector_length(extent: int, lanes: int) -> int:
    """The longest piece of a loop that is worth one vectorized statement."""
    if extent <= lanes:
        return extent
    divisors = [n for n in range(1, LONGEST + 1) if extent % n == 0]
    whole = [n for n in divisors if n % lanes == 0 and n <= 2 * lanes]
    return max(whole or divisors)


def contiguous_sum(schedule: Schedule, block: SBlockRV, unit: VectorUnit) -> SBlockRV | None:
    """Split a reduction over neighbours in memory into one a lane; returns the block that sums up the lanes.

    Not only for speed: a sum of thousands of small terms in one chain loses those that are small against what is summed
    up already.

    Args:
        schedule: Changed.
        block: A reduction.
        unit: Of the target.
    """
    facts = BlockFacts(schedule, block)
    inner = next((v for v in reversed(facts.reduced) if any(a.steps_by_one(v) for a in facts.loads)), None)
    if inner is None or facts.extents[inner] == 1:
        return None
    lanes = vector_length(facts.extents[inner], unit.lanes(_dtype(schedule, block)))
    if lanes in (1, facts.extents[inner]):
        return None
    loop = schedule.get_loops(block)[list(facts.extents).index(inner)]
    _, split = schedule.split(loop, [None, lanes])
    partial = schedule.rfactor(split, len(facts.spatial))
    loops = schedule.get_loops(partial)
    # the lane is the innermost spatial loop of the partial sums
    by_extent = [lp for lp in loops if int(schedule.get(lp).extent) == lanes]
    lane = by_extent[-1]
    schedule.reorder(*[lp for lp in loops if lp is not lane], lane)
    schedule.vectorize(lane)
    return block


def _dtype(schedule: Schedule, block: SBlockRV) -> str:
    return str(schedule.get(block).writes[0].source.dtype)

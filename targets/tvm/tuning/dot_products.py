"""Schedules of kernels around the processor's dot-product instruction. Runs in the compiler process.

As in ``contraction``, the results are cut into tiles whose sums never leave the registers; here a row's four bytes meet a
vector of columns in one instruction. Rows are neighbours in the last dimension before the columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tvm.s_tir.schedule import LoopRV, SBlockRV, Schedule

from tamis.targets.tvm.tuning.block_facts import BlockFacts, blocks_of
from tamis.targets.tvm.tuning.borders import NEAR_BYTES
from tamis.targets.tvm.tuning.dot_unit import COPY, MARK, UNITS, DotUnit, register
from tamis.targets.tvm.tuning.stages import elementwise, work
from tamis.targets.tvm.tuning.vector_unit import VectorUnit

MAX_VECTORS = 8
SPARE = 4
"""Registers for what is loaded."""
PARALLEL_POINTS = 1 << 20
"""Multiply-adds below which starting the other threads takes longer than they save."""
CHOICES = 4
"""Tiles that are proposed."""


@dataclass(frozen=True)
class DotPlan:
    """One way to schedule.

    Args:
        unit: The instruction.
        lanes: Columns in a vector.
        rows: Of a tile.
        vectors: Of a tile.
    """

    unit: DotUnit
    lanes: int
    rows: int
    vectors: int


def dot_plans(schedule: Schedule) -> Iterator[DotPlan]:
    """Tiles for such a kernel, the best guess first; none if it is another kind of kernel."""
    dot = _dot(schedule)
    if dot is None:
        return
    register()
    unit = UNITS[str(schedule.get(dot).annotations[MARK])]
    *lead, columns = _spatial(schedule, dot)
    lanes = unit.width(columns)
    assert lanes is not None
    rows = lead[-1] if lead else 1
    tiles = [
        (n, v)
        for n in _divisors(rows)
        for v in _divisors(columns // lanes)
        if v <= MAX_VECTORS and n * v <= unit.registers - SPARE
    ]
    tiles.sort(key=lambda tile: (1 / tile[0] + 1 / tile[1], tile))
    for n, v in tiles[:CHOICES]:
        yield DotPlan(unit, lanes, n, v)


def apply_dot_plan(schedule: Schedule, plan: DotPlan, unit: VectorUnit) -> None:
    """Schedule the kernel as planned."""
    dot = _dot(schedule)
    assert dot is not None
    _inline_rest(schedule)
    copies = [facts.block for facts in blocks_of(schedule) if COPY in schedule.get(facts.block).annotations]
    schedule.unannotate(dot, MARK)
    (shell,) = schedule.get_consumers(dot)
    schedule.set_scope(dot, 0, "local")
    points = math.prod(int(schedule.get(lp).extent) for lp in schedule.get_loops(dot))
    packed = math.prod(int(n) for n in schedule.get(dot).reads[1].source.shape)
    at = _tiles(schedule, shell, plan, packed <= NEAR_BYTES, unit.threads if points >= PARALLEL_POINTS else 1)
    schedule.compute_at(dot, at, preserve_unit_loops=True)
    _sum(schedule, dot, plan)
    for copy in copies:
        facts = BlockFacts(schedule, copy)
        elementwise(schedule, copy, unit, work(facts))


def _dot(schedule: Schedule) -> SBlockRV | None:
    """The block that sums products, if the kernel has one."""
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        if MARK in schedule.get(block).annotations:
            return block
    return None


def _inline_rest(schedule: Schedule) -> None:
    """Leave three blocks at most: the copy of the data, the sum, and the kernel's result."""
    for facts in list(blocks_of(schedule)):
        block = schedule.get(facts.block)
        if MARK in block.annotations or COPY in block.annotations or not schedule.get_consumers(facts.block):
            continue
        schedule.compute_inline(facts.block)


def _tiles(schedule: Schedule, shell: SBlockRV, plan: DotPlan, near: bool, threads: int) -> LoopRV:
    """Cut the results into tiles; returns the loop inside which there is one tile."""
    *lead, column = schedule.get_loops(shell)
    blocks, vectors, lanes = schedule.split(column, [None, plan.vectors, plan.lanes])
    inner = [vectors, lanes]
    if lead:
        outer, rows = schedule.split(lead[-1], [None, plan.rows])
        lead[-1] = outer
        inner.insert(0, rows)
    order = [*lead, blocks] if near else [blocks, *lead]
    schedule.reorder(*order, *inner)
    if threads > 1:
        shared = schedule.fuse(*order[:-1]) if len(order) > 2 else order[0]
        schedule.parallel(shared)
    schedule.vectorize(lanes)
    for loop in inner[:-1]:
        schedule.unroll(loop)
    return order[-1]


def _sum(schedule: Schedule, dot: SBlockRV, plan: DotPlan) -> None:
    """Order the loops of the sum: reduction outside, tile inside, the instruction innermost."""
    loops = schedule.get_loops(dot)
    *reduced, products = loops[-4:]
    count = len(_spatial(schedule, dot))
    *rows, column = loops[-4 - count : -4]
    vectors, lanes = schedule.split(column, [plan.vectors, plan.lanes])
    schedule.reorder(*reduced, *rows, vectors, lanes, products)
    for loop in (*rows, vectors):
        schedule.unroll(loop)
    start = schedule.decompose_reduction(dot, reduced[0])
    *outer, innermost = schedule.get_loops(start)[-len(rows) - 2 :]
    schedule.vectorize(innermost)
    for loop in outer:
        schedule.unroll(loop)
    schedule.tensorize(lanes, f"{plan.unit.prefix}{plan.lanes}")


def _spatial(schedule: Schedule, block: SBlockRV) -> list[int]:
    return [int(v.dom.extent) for v in schedule.get(block).iter_vars if int(v.iter_type) == 0]


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]

"""Schedules of kernels around one reduction: matrix products, convolutions, pooling. Runs in the compiler process.

The results are cut into register tiles (``register_tiles``). Each tile's sums start, grow through the whole reduction
and are finished (bias, activation) before the next tile begins, so that they never leave the registers; padding is
copied once for a share of the rows that fits the cache.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm.s_tir.schedule import LoopRV, SBlockRV, Schedule

from tamis.targets.tvm.tuning.block_facts import Access, BlockFacts
from tamis.targets.tvm.tuning.register_tiles import Tile, tiles
from tamis.targets.tvm.tuning.vector_unit import BITS, VectorUnit

PARALLEL_POINTS = 1 << 18
"""Multiply-adds below which starting the other threads takes longer than they save."""
NEAR_BYTES = 1 << 18
"""What stays in a core's own cache while a kernel runs."""
UNROLLED = 192
"""Statements in the innermost loops, at most, when those over a window are written out."""
WINDOW = 32
"""A reduction of so few steps is a window."""
SHARES = 4
"""For each thread, at least, so that the last one does not wait long."""
CHOICES = 4
"""Tiles that are proposed."""


@dataclass(frozen=True)
class Plan:
    """One way to schedule.

    Args:
        tile: The register tile.
        rows: Which dimensions the tile's rows are in.
        column: Which dimension its columns are in.
        columns_first: Whether a block of columns is kept while all rows pass by, or the other way round.
        parallel: Whether threads share the kernel.
    """

    tile: Tile
    rows: tuple[int, ...]
    column: int
    columns_first: bool
    parallel: bool


@dataclass(frozen=True)
class Parts:
    """The blocks of such a kernel.

    Args:
        reduction: The one that sums.
        epilogue: What makes the result of the sum, if anything; one point a sum.
        padding: What copies the input with a border, if anything.
    """

    reduction: SBlockRV
    epilogue: SBlockRV | None
    padding: SBlockRV | None


def plans(facts: BlockFacts, unit: VectorUnit) -> Iterator[Plan]:
    """Ways to schedule a reduction, the best guess first; none if its results are not numbered one by one."""
    extents = [facts.extents[v] for v in facts.spatial]
    if not _identity(facts) or not extents:
        return
    column = max((i for i, n in enumerate(extents) if n > 1), default=len(extents) - 1)
    vector = [a for a in facts.loads if a.uses(facts.spatial[column])]
    if any(not _strided(a, facts.spatial[column]) for a in vector):
        return
    rows, shared = _rows(facts, column, vector)
    dtype = facts.dtype
    found = tiles(
        tuple(extents[i] for i in rows), extents[column], unit.lanes(dtype), unit.bits, unit.registers, shared
    )
    weights = math.prod(facts.extents[v] for v in facts.reduced) * extents[column] * BITS.get(dtype, 32) // 8
    near = weights <= NEAR_BYTES
    parallel = unit.threads > 1 and facts.points >= PARALLEL_POINTS
    best = [Plan(t, rows, column, not near, parallel) for t in itertools.islice(found, CHOICES)]
    yield from best
    yield from (replace(p, columns_first=near) for p in best)


def apply_plan(schedule: Schedule, parts: Parts, plan: Plan, unit: VectorUnit) -> None:
    """Schedule the kernel as planned."""
    facts = BlockFacts(schedule, parts.reduction)
    if parts.epilogue is None:
        shell = schedule.cache_write(parts.reduction, 0, "local")
    else:
        shell = parts.epilogue
        schedule.set_scope(parts.reduction, 0, "local")
    cut = _cut(schedule, shell, parts, facts, plan, unit)
    schedule.reorder(*cut.shares, *cut.outer, *cut.inner)
    shared = schedule.fuse(*cut.shares) if len(cut.shares) > 1 else cut.shares[0]
    if plan.parallel and int(schedule.get(shared).extent) > 1:
        schedule.parallel(shared)
    last = cut.outer[-1] if cut.outer else shared
    _finish(schedule, cut.inner)
    schedule.compute_at(parts.reduction, last, preserve_unit_loops=True)
    _sum(schedule, parts.reduction, facts, plan)
    if parts.padding is not None:
        schedule.compute_at(parts.padding, shared, preserve_unit_loops=True)
        _copy(schedule, parts.padding, facts, unit)
    for loop in cut.ragged:
        schedule.annotate(loop, "pragma_loop_partition_hint", True)


def _identity(facts: BlockFacts) -> bool:
    """Whether the dimensions of the result are the spatial variables, in order."""
    store = facts.store
    if store is None or not store.affine or len(store.coefficients) != len(facts.spatial):
        return False
    return all(
        {v: c for v, c in row.items() if c} == {variable: 1}
        for row, variable in zip(store.coefficients, facts.spatial, strict=True)
    )


def _strided(access: Access, variable: str) -> bool:
    """Whether neighbours in the variable are near each other in memory."""
    *outer, inner = access.coefficients
    return 1 <= inner.get(variable, 0) <= 4 and not any(row.get(variable, 0) for row in outer)


def _rows(facts: BlockFacts, column: int, vector: list[Access]) -> tuple[tuple[int, ...], bool]:
    """The dimensions for a tile's rows, and whether the rows share the column operand."""
    others = [i for i, v in enumerate(facts.spatial) if i != column and facts.extents[v] > 1]
    shared = [i for i in others if not any(a.uses(facts.spatial[i]) for a in vector)]
    if shared:
        return tuple(shared[-2:]), True
    partly = [i for i in others if not all(a.uses(facts.spatial[i]) for a in vector)]
    return tuple(partly[-2:]), False


@dataclass(frozen=True)
class Cut:
    """The loops over the results.

    Args:
        shares: Fused to one, which the threads share.
        outer: Over tiles, within a share.
        inner: Within a tile: rows, vectors, lanes.
        ragged: Those whose last tile reaches over the end; it is computed apart from the others.
    """

    shares: list[LoopRV]
    outer: list[LoopRV]
    inner: list[LoopRV]
    ragged: list[LoopRV]


def _cut(schedule: Schedule, shell: SBlockRV, parts: Parts, facts: BlockFacts, plan: Plan, unit: VectorUnit) -> Cut:
    """Cut the dimensions into tiles, and the tiles into shares."""
    loops = schedule.get_loops(shell)
    sizes = dict(zip(plan.rows, plan.tile.rows, strict=True))
    blocks: dict[int, LoopRV] = {}
    rows: list[LoopRV] = []
    ragged: list[int] = []
    for i, loop in enumerate(loops):
        size = plan.tile.vectors * plan.tile.lanes if i == plan.column else sizes.get(i, 1)
        if facts.extents[facts.spatial[i]] % size:
            ragged.append(i)
        if i == plan.column:
            blocks[i], vectors, lanes = schedule.split(loop, [None, plan.tile.vectors, plan.tile.lanes])
        elif i in sizes:
            blocks[i], tile = schedule.split(loop, [None, sizes[i]])
            rows.append(tile)
        else:
            blocks[i] = loop
    row_blocks = list(plan.rows)
    tiled = [plan.column, *row_blocks] if plan.columns_first else [*row_blocks, plan.column]
    order = [*(i for i in blocks if i not in tiled), *tiled]
    inner = [*rows, vectors, lanes]
    uneven = [blocks[i] for i in ragged]
    share = _padded_dimension(schedule, parts, facts, plan)
    if share is not None and share not in ragged:
        count = _shares(schedule, facts, parts, blocks[share], unit if plan.parallel else replace(unit, threads=1))
        piece, blocks[share] = schedule.split(blocks[share], [count, None])
        return Cut([piece], [blocks[i] for i in order], inner, uneven)
    if parts.padding is not None:
        return Cut([blocks[order[0]]], [blocks[i] for i in order[1:]], inner, uneven)
    even = [i for i in order if i not in ragged]
    if math.prod(int(schedule.get(blocks[i]).extent) for i in even) < unit.threads * SHARES and ragged:
        even = [ragged[0]]
    return Cut([blocks[i] for i in even], [blocks[i] for i in order if i not in even], inner, uneven)


def _padded_dimension(schedule: Schedule, parts: Parts, facts: BlockFacts, plan: Plan) -> int | None:
    """The outermost dimension, columns aside, that the padded input is read along."""
    if parts.padding is None:
        return None
    padded = schedule.get(parts.padding).writes[0].source
    reads = [a for a in facts.loads if a.buffer.same_as(padded)]
    sizes = [facts.extents[v] for v in facts.spatial]
    along = [i for i, v in enumerate(facts.spatial) if sizes[i] > 1 and any(a.uses(v) for a in reads)]
    return next((i for i in along if i != plan.column), along[0] if along else 0)


def _shares(schedule: Schedule, facts: BlockFacts, parts: Parts, loop: LoopRV, unit: VectorUnit) -> int:
    """In how many shares the rows are padded and computed: even for the threads, near, and not copied too often."""
    extent = int(schedule.get(loop).extent)
    assert parts.padding is not None
    size = math.prod(BlockFacts(schedule, parts.padding).extents.values()) * BITS.get(facts.dtype, 32) // 8

    def cost(count: int) -> float:
        uneven = math.ceil(count / unit.threads) * unit.threads / count
        border = 1 + 2 * count / extent
        return uneven * (1 + 0.1 * border) * (1.2 if size / count > NEAR_BYTES else 1.0)

    return min((n for n in range(1, extent + 1) if extent % n == 0), key=cost)


def _finish(schedule: Schedule, inner: list[LoopRV]) -> None:
    *rows, lanes = inner
    if int(schedule.get(lanes).extent) > 1:
        schedule.vectorize(lanes)
    for loop in rows:
        schedule.unroll(loop)


def _sum(schedule: Schedule, reduction: SBlockRV, facts: BlockFacts, plan: Plan) -> None:
    """Order the loops of the sum: reduction outside, tile inside."""
    count = len(facts.spatial) + len(facts.reduced)
    loops = schedule.get_loops(reduction)[-count:]
    spatial, reduced = loops[: len(facts.spatial)], loops[len(facts.spatial) :]
    vectors, lanes = schedule.split(spatial[plan.column], [plan.tile.vectors, plan.tile.lanes])
    rows = [lp for i, lp in enumerate(spatial) if i != plan.column]
    schedule.reorder(*reduced, *rows, vectors, lanes)
    if plan.tile.lanes > 1:
        schedule.vectorize(lanes)
    for loop in (*rows, vectors):
        schedule.unroll(loop)
    steps = math.prod(facts.extents[v] for v in facts.reduced)
    if steps <= WINDOW and steps * math.prod(plan.tile.rows) * plan.tile.vectors <= UNROLLED:
        for loop in reduced:
            schedule.unroll(loop)
    schedule.decompose_reduction(reduction, reduced[0])


def _copy(schedule: Schedule, padding: SBlockRV, facts: BlockFacts, unit: VectorUnit) -> None:
    """Vectorize the copying of the padded input."""
    loop = schedule.get_loops(padding)[-1]
    extent = int(schedule.get(loop).extent)
    lanes = unit.lanes(facts.dtype)
    if extent > lanes and extent % lanes == 0:
        _, loop = schedule.split(loop, [None, lanes])
        schedule.vectorize(loop)
    elif 1 < extent <= lanes:
        schedule.vectorize(loop)

"""Schedules of kernels around one reduction: matrix products, convolutions, pooling. Runs in the compiler process.

The results are cut into register tiles (``register_tiles``). Each tile's sums start, grow through the whole reduction
and are finished (bias, activation) before the next tile begins, so that they never leave the registers; borders are
copied beside the tiles that read them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm.s_tir.schedule import LoopRV, SBlockRV, Schedule

from tamis.targets.tvm.tuning.block_facts import Access, BlockFacts
from tamis.targets.tvm.tuning.borders import NEAR_BYTES, bordered_shares, copy_borders
from tamis.targets.tvm.tuning.prefetch import PREFETCH
from tamis.targets.tvm.tuning.register_tiles import Tile, tiles
from tamis.targets.tvm.tuning.sums import chains_of, sum_in_tile
from tamis.targets.tvm.tuning.vector_unit import VectorUnit
from tamis.targets.tvm.tuning.weight_blocks import block_weights, weight_bytes

PARALLEL_POINTS = 1 << 18
"""Multiply-adds below which starting the other threads takes longer than they save."""
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
    registers = unit.registers // chains_of(facts)
    sizes = tuple(extents[i] for i in rows)
    found = tiles(sizes, extents[column], unit.lanes(facts.dtype), unit.bits, registers, shared)
    near = weight_bytes(facts, column) <= NEAR_BYTES
    parallel = unit.threads > 1 and facts.points >= PARALLEL_POINTS
    best = [Plan(t, rows, column, not near, parallel) for t in itertools.islice(found, CHOICES)]
    yield from best
    yield from (replace(p, columns_first=near) for p in best)


def apply_plan(schedule: Schedule, parts: Parts, plan: Plan, unit: VectorUnit) -> None:
    """Schedule the kernel as planned."""
    packed = block_weights(schedule, parts.reduction, plan.column, plan.tile.vectors * plan.tile.lanes)
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
    step = sum_in_tile(schedule, parts.reduction, last, plan.column, plan.tile)
    if packed and not plan.parallel:  # in a shared kernel, LLVM would store each sum after a load ahead
        schedule.annotate(step, PREFETCH, True)
    if parts.padding is not None:
        schedule.compute_at(parts.padding, shared, preserve_unit_loops=True)
        copy_borders(schedule, parts.padding, facts, unit)
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
    partly = [i for i in others if not all(a.uses(facts.spatial[i]) for a in facts.loads)]
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
        extent = int(schedule.get(loop).extent)
        if extent % size and extent > size:
            ragged.append(i)
        if i == plan.column:
            finished = _finished_at_once(extent, facts.extents[facts.spatial[i]], plan.tile.lanes)
            blocks[i], vectors, lanes = schedule.split(loop, [None, size // finished, finished])
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
    if parts.padding is not None:
        threads = unit.threads if plan.parallel else 1
        shares = bordered_shares(schedule, parts.padding, facts, plan.column, blocks, set(ragged), threads)
        taken = [i for i, loop in blocks.items() if any(loop is s for s in shares)]
        return Cut(shares, [blocks[i] for i in order if i not in taken], inner, uneven)
    first = next((i for i in order if int(schedule.get(blocks[i]).extent) > 1), order[0])
    even = [i for i in order if i not in ragged]
    if first in ragged and int(schedule.get(blocks[first]).extent) >= unit.threads * SHARES:
        even = [first]
    elif math.prod(int(schedule.get(blocks[i]).extent) for i in even) < unit.threads * SHARES and ragged:
        even = [ragged[0]]
    return Cut([blocks[i] for i in even], [blocks[i] for i in order if i not in even], inner, uneven)


def _finished_at_once(columns: int, summed: int, lanes: int) -> int:
    """Lanes of the epilogue's vectors: if only some of the columns that are summed are kept, those that divide them."""
    common = math.gcd(columns, lanes)
    return lanes if columns == summed or common == 1 else common


def _finish(schedule: Schedule, inner: list[LoopRV]) -> None:
    *rows, lanes = inner
    if int(schedule.get(lanes).extent) > 1:
        schedule.vectorize(lanes)
    for loop in rows:
        schedule.unroll(loop)

"""The sums of a register tile: which loops run outside, and how many chains of additions there are. In the compiler process.

A chain of n additions in single precision errs by about the square root of n units in the last place. Libraries for
matrix products sum in blocks, and so do we: what a model amplifies later should not be larger than with them.
"""

from __future__ import annotations

import math

from tvm.s_tir.schedule import LoopRV, SBlockRV, Schedule

from tamis.targets.tvm.tuning.block_facts import BlockFacts
from tamis.targets.tvm.tuning.prefetch import IN_MEMORY
from tamis.targets.tvm.tuning.register_tiles import Tile

UNROLLED = 192
"""Statements in the innermost loops, at most, when those over a window are written out."""
WINDOW = 32
"""A reduction of so few steps is a window."""
CHAINS = 4
"""Sums that are kept apart for one result, if it is in a row alone."""
LONG = 64
"""Terms from which on they are."""
BLOCK = 256
"""Terms in a chain, at most, of other products, if the number of terms has such a divisor, and it is not below half of that."""


def chains_of(facts: BlockFacts) -> int:
    """How many sums are kept apart for one result at a time.

    Several in the product of one row and a matrix, which has too few results to keep the core busy.
    """
    rows = math.prod(facts.extents[v] for v in facts.spatial[:-1])
    terms = facts.extents[_longest(facts)]
    return CHAINS if rows == 1 and terms >= LONG and terms % CHAINS == 0 else 1


def sum_in_tile(schedule: Schedule, reduction: SBlockRV, place: LoopRV, column: int, tile: Tile) -> LoopRV:
    """Compute a reduction within the loop ``place`` around a tile, in chains of a bounded length.

    Returns:
        The innermost loop over the terms.
    """
    facts = BlockFacts(schedule, reduction)
    interleaved = chains_of(facts)
    blocks = _blocks(facts.extents[_longest(facts)]) if interleaved == 1 else 1
    if interleaved == blocks == 1:
        schedule.compute_at(reduction, place, preserve_unit_loops=True)
        terms = _order(schedule, reduction, column, tile)
        schedule.decompose_reduction(reduction, terms[0])
        return terms[-1]
    loop = schedule.get_loops(reduction)[list(facts.extents).index(_longest(facts))]
    outer, inner = schedule.split(loop, [blocks, None] if interleaved == 1 else [None, interleaved])
    chains = schedule.rfactor(outer if interleaved == 1 else inner, 0)
    schedule.set_scope(chains, 0, "local")
    schedule.compute_at(reduction, place, preserve_unit_loops=True)
    added = _order(schedule, reduction, column, tile)
    if interleaved == 1:
        schedule.annotate(added[-1], IN_MEMORY, True)
    schedule.compute_at(chains, place if interleaved > 1 else added[-1], preserve_unit_loops=True)
    terms = _order(schedule, chains, column + 1, tile)
    schedule.decompose_reduction(chains, terms[0])
    schedule.decompose_reduction(reduction, added[0])
    return terms[-1]


def _order(schedule: Schedule, block: SBlockRV, column: int, tile: Tile) -> list[LoopRV]:
    """Reduction outside, tile inside, that unrolled and vectorized; returns the loops of the reduction."""
    facts = BlockFacts(schedule, block)
    loops = dict(zip(facts.extents, schedule.get_loops(block)[-len(facts.extents) :], strict=True))
    assert facts.store is not None
    results = [loops.pop(next(v for v, c in row.items() if c)) for row in facts.store.coefficients]
    vectors, lanes = schedule.split(results.pop(column), [tile.vectors, tile.lanes])
    terms = list(loops.values())
    schedule.reorder(*terms, *results, vectors, lanes)
    for loop in (*results, vectors):
        schedule.unroll(loop)
    if tile.lanes > 1:
        schedule.vectorize(lanes)
    steps = math.prod(facts.extents[v] for v in facts.reduced)
    if steps <= WINDOW and steps * math.prod(tile.rows) * tile.vectors <= UNROLLED:
        for loop in terms:
            schedule.unroll(loop)
    return terms


def _blocks(terms: int) -> int:
    """In how many blocks so many terms are summed."""
    sizes = [n for n in range(BLOCK // 2, BLOCK + 1) if terms % n == 0]
    return terms // max(sizes) if terms > BLOCK and sizes else 1


def _longest(facts: BlockFacts) -> str:
    return max(facts.reduced, key=lambda v: facts.extents[v])

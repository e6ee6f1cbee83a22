"""Where the bordered copy of an image is made, and in which pieces: near the tiles that read it. In the compiler process."""

from __future__ import annotations

import math

from tvm.s_tir.schedule import LoopRV, SBlockRV, Schedule

from tamis.targets.tvm.tuning.block_facts import Access, BlockFacts
from tamis.targets.tvm.tuning.vector_unit import BITS, VectorUnit

NEAR_BYTES = 1 << 18
"""What stays in a core's own cache while a kernel runs."""


def bordered_shares(
    schedule: Schedule,
    padding: SBlockRV,
    facts: BlockFacts,
    column: int,
    blocks: dict[int, LoopRV],
    ragged: set[int],
    threads: int,
) -> list[LoopRV]:
    """The loops around the copy of the bordered input, each of which takes another part of it; ``blocks`` has the rest.

    Parts along a dimension of its own (the channels of a depthwise convolution) have nothing in common, so that a part is
    one tile wide and the copy stays nearest. Along the image they overlap by the border, and it is cut into a few pieces.

    Args:
        schedule: Changed.
        padding: What copies the input with its border.
        facts: Of the sum that reads the copy.
        column: Which dimension of the results the columns are.
        blocks: The loops over the tiles, by dimension; the one that is cut is replaced by what runs within a piece.
        ragged: Dimensions whose last tile reaches over the end; they are not cut further.
        threads: How many share the kernel.
    """
    padded = schedule.get(padding).writes[0].source
    reads = [a for a in facts.loads if a.buffer.same_as(padded)]
    along = [i for i, v in enumerate(facts.spatial) if facts.extents[v] > 1 and any(a.uses(v) for a in reads)]
    apart = [i for i in along if i not in ragged and all(_alone(a, facts.spatial[i], facts) for a in reads)]
    shares = [blocks[i] for i in apart]
    cut = next((i for i in along if i not in apart and i not in ragged and i != column), None)
    if cut is None:
        return shares or [blocks[next(iter(blocks))]]
    parts = math.prod(int(schedule.get(loop).extent) for loop in shares)
    size = math.prod(BlockFacts(schedule, padding).extents.values()) * BITS.get(facts.dtype, 32) // 8
    pieces = _pieces(int(schedule.get(blocks[cut]).extent), size // parts, parts, threads)
    piece, blocks[cut] = schedule.split(blocks[cut], [pieces, None])
    return [piece, *shares]


def _alone(access: Access, variable: str, facts: BlockFacts) -> bool:
    """Whether different values of the variable read different elements, whatever is summed over."""
    rows = [row for row in access.coefficients if row.get(variable, 0)]
    return not any(row.get(v, 0) for row in rows for v in facts.reduced)


def _pieces(extent: int, size: int, parts: int, threads: int) -> int:
    """In how many pieces an image is padded and computed: even for the threads, near, and not copied too often.

    Args:
        extent: Rows, in tiles.
        size: Bytes of the bordered image in one of ``parts``.
        parts: What is shared among the threads beside the pieces.
        threads: How many there are.
    """

    def cost(count: int) -> float:
        uneven = math.ceil(count * parts / threads) * threads / (count * parts)
        border = 1 + 2 * count / extent
        return uneven * (1 + 0.1 * border) * (1.2 if size / count > NEAR_BYTES else 1.0)

    return min((n for n in range(1, extent + 1) if extent % n == 0), key=cost)


def copy_borders(schedule: Schedule, padding: SBlockRV, facts: BlockFacts, unit: VectorUnit) -> None:
    """Vectorize the copying of the padded input."""
    loop = schedule.get_loops(padding)[-1]
    extent = int(schedule.get(loop).extent)
    lanes = unit.lanes(facts.dtype)
    if extent > lanes and extent % lanes == 0:
        _, loop = schedule.split(loop, [None, lanes])
        schedule.vectorize(loop)
    elif 1 < extent <= lanes:
        schedule.vectorize(loop)

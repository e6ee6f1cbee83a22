"""Weights in the order in which register tiles read them: block after block of columns. In the compiler process."""

from __future__ import annotations

import math

from tvm.s_tir.schedule import SBlockRV, Schedule

from tamis.targets.tvm.tuning.block_facts import BlockFacts
from tamis.targets.tvm.tuning.prefetch import LAYOUT_REWRITE
from tamis.targets.tvm.tuning.tasks import layout_free
from tamis.targets.tvm.tuning.vector_unit import BITS

PACKED_BYTES = 1 << 14
"""Smaller weights are read in whatever order they are given."""


def block_weights(schedule: Schedule, reduction: SBlockRV, column: int, width: int) -> bool:
    """Copy large weights to blocks of columns, if their order is ours to choose; whether there are any.

    Args:
        schedule: Changed.
        reduction: A sum of products.
        column: Which of its dimensions the columns are.
        width: Columns in a block.
    """
    facts = BlockFacts(schedule, reduction)
    count = facts.extents[facts.spatial[column]]
    if count == width or count % width or weight_bytes(facts, column) <= PACKED_BYTES:
        return False
    parameters = schedule.mod["main"].params
    free = [parameters[i] for i in layout_free(schedule.mod)]
    for number, read in enumerate(schedule.get(reduction).reads):
        shape = [int(n) for n in read.source.shape]
        if shape[-1] == count and any(read.source.same_as(p) for p in free):
            copy = schedule.cache_read(reduction, number, "global")
            schedule.transform_layout(reduction, ("read", number), lambda *i: (i[-1] // width, *i[:-1], i[-1] % width))
            schedule.annotate(copy, LAYOUT_REWRITE, True)
            return True
    return False


def weight_bytes(facts: BlockFacts, column: int) -> int:
    """Size of what all rows are multiplied with."""
    steps = math.prod(facts.extents[v] for v in facts.reduced)
    return steps * facts.extents[facts.spatial[column]] * BITS.get(facts.dtype, 32) // 8

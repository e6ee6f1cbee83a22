"""Take the block that loses least for what it saves, again and again.

::

    next block = argmin over groups, over 1 to LOOK_AHEAD blocks of them:  (loss of the blocks) / (cost that they save)

Blocks that save nothing are not taken. Where one block saves little and two save much, because a kernel gets faster only
there, the two go together.

What a block saves mostly falls as other groups get narrower, so that a ratio that was computed before is a lower bound of
what it is now. A ratio is computed anew when it is the smallest, not each time that something has gone.

*References.* Yang et al., NetAdapt, 2018 (1804.03230), section 3; Minoux, Accelerated greedy algorithms, 1978, for the
bounds.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tamis.passes.pruning.allocation.blocks import Block, Choices, Walk
from tamis.passes.pruning.allocation.cost import Cost
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.importance.curve import Curve

LOOK_AHEAD = 4
"""Blocks of one group that may go at once."""
NOTHING = 1e-9
"""Savings below this part of the whole are none."""


class _Candidate(NamedTuple):
    ratio: float
    number: int
    left: int
    saved: float
    group: Group
    step: int


def take_greedily(
    choices: Choices, curves: Mapping[Group, Curve], cost: Cost, goal: float, start: Sequence[Block] = ()
) -> list[Block]:
    """Blocks in the order in which they go, until the cost is at most ``goal`` of the whole or nothing is left to go.

    Args:
        choices: What may be left of each group.
        curves: Losses.
        cost: What the goal is about.
        goal: Part of the cost of the whole.
        start: Blocks that are gone already; they come first in the answer.
    """
    whole = cost.whole({})
    walk = Walk(curves, whole)
    for block in start:
        walk.take(block.group, block.group.units - block.removed, walk.cost - block.predicted * whole)
    if whole <= 0:
        return walk.path
    taken = -1
    while taken < len(walk.path) and walk.cost > goal * whole:  # what saved nothing may do so now
        taken = len(walk.path)
        _round(choices, walk, cost, goal * whole, NOTHING * whole)
    return walk.path


def _round(choices: Choices, walk: Walk, cost: Cost, wanted: float, nothing: float) -> None:
    found = (_best(number, group, choices, walk, cost, nothing) for number, group in enumerate(choices))
    heap = [candidate for candidate in found if candidate is not None]
    heapq.heapify(heap)
    while heap and walk.cost > wanted:
        best = heapq.heappop(heap)
        if best.step == len(walk.path):
            walk.take(best.group, best.left, best.saved)
        again = _best(best.number, best.group, choices, walk, cost, nothing)
        if again is not None:
            heapq.heappush(heap, again)


def _best(number: int, group: Group, choices: Choices, walk: Walk, cost: Cost, nothing: float) -> _Candidate | None:
    """The next blocks of a group; None if they save nothing."""
    here = walk.left(group)
    widths = choices[group]
    place = widths.index(here) + 1
    best: _Candidate | None = None
    for left in widths[place : place + LOOK_AHEAD]:
        saved = cost.savings(walk.widths, group, here - left)
        if saved > nothing:
            ratio = walk.price(group, left) / saved
            if best is None or ratio < best.ratio:
                best = _Candidate(ratio, number, left, saved, group, len(walk.path))
    return best

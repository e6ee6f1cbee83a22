"""The same part of each group: the baseline that knows neither losses nor costs.

::

    for f falling from 1:  left_g(f) = the smallest width of g that is at least f units
"""

from __future__ import annotations

from collections.abc import Mapping

from tamis.passes.pruning.allocation.blocks import Block, Choices, Walk
from tamis.passes.pruning.allocation.cost import Cost
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.importance.curve import Curve


def take_uniformly(choices: Choices, curves: Mapping[Group, Curve], cost: Cost, goal: float) -> list[Block]:
    """As ``take_greedily``, with the widest group, measured by what is left of it, losing the next block."""
    whole = cost.whole({})
    walk = Walk(curves, whole)
    if whole <= 0:
        return walk.path
    steps = [
        (-left / group.units, number, left, group)
        for number, (group, widths) in enumerate(choices.items())
        for left in widths[1:]
    ]
    for _, _, left, group in sorted(steps, key=lambda step: step[:2]):
        if walk.cost <= goal * whole:
            break
        walk.take(group, left, cost.savings(walk.widths, group, walk.left(group) - left))
    return walk.path

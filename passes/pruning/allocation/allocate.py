"""How many units of each group go, so that a model costs what it should at the least loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from tamis.passes.pruning.allocation.blocks import Allocation, allocation_of, choices_of
from tamis.passes.pruning.allocation.cost import Cost
from tamis.passes.pruning.allocation.greedy import take_greedily
from tamis.passes.pruning.allocation.knapsack import take_by_knapsack
from tamis.passes.pruning.allocation.uniform import take_uniformly
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.importance.curve import Curve

Method = Literal["greedy", "knapsack", "uniform"]
MIN_KEEP = 0.25
"""Part of each group that stays: without training, what loses more does not recover."""


def allocate(
    groups: Sequence[Group],
    curves: Mapping[Group, Curve],
    cost: Cost,
    goal: float,
    *,
    method: Method = "greedy",
    multiple: int,
    min_keep: float = MIN_KEEP,
) -> Allocation:
    """Choose widths.

    Args:
        groups: Those that may lose units; of others nothing goes.
        curves: Group -> what is lost with its first n units.
        cost: What the goal is about; any ``Cost``, so that greedy with ``MacsCost`` is a baseline.
        goal: Part of the cost of the whole that is wanted, 0 to 1.
        method: ``greedy``: the least loss for what is saved, block by block. ``knapsack``: all widths at once, never with
            more loss than greedy. ``uniform``: the same part of each group.
        multiple: Channels in a block of the target's kernels; see ``widths.py``.
        min_keep: Part of the units of each group that stays at least.

    Returns:
        An allocation. If the goal cannot be reached, ``predicted`` is above it and all that helps has gone.
    """
    choices = choices_of(groups, curves, multiple, min_keep)
    take = {"greedy": take_greedily, "knapsack": take_by_knapsack, "uniform": take_uniformly}[method]
    return allocation_of(take(choices, curves, cost, goal))

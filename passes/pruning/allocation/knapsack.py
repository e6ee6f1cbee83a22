"""Choose the widths of all groups at once: least loss within a budget of cost, a knapsack with one choice a group.

::

    min  sum_g loss_g(w) x_gw     s.t.  sum_w x_gw = 1 for each g,   sum_g cost_g(w) x_gw <= budget,   x in {0, 1}

Costs are products over groups, so they do not add up: ``cost_g(w)`` is what the model costs if g alone leaves the point
that the costs are taken around. The first point is the greedy answer, the next ones are the answers themselves; by how
much an answer costs more or less than it should is taken off the next budget, and where one costs too much, more blocks
go. The greedy answer is kept if no other loses less.

*References.* Shen et al., HALP, 2021 (2110.10811), section 3.3: pruning as a knapsack under a latency budget. Sinha and
Zoltners, The multiple-choice knapsack problem, 1979.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tamis.passes.pruning.allocation.blocks import Block, Choices, allocation_of
from tamis.passes.pruning.allocation.cost import Cost
from tamis.passes.pruning.allocation.greedy import take_greedily
from tamis.passes.pruning.allocation.polynomial import Floats
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.importance.curve import Curve

ROUNDS = 3
BINS = 10_000
"""Steps of the budget."""


def take_by_knapsack(choices: Choices, curves: Mapping[Group, Curve], cost: Cost, goal: float) -> list[Block]:
    """As ``take_greedily``, with widths chosen together; their blocks are put in the greedy order."""
    best = take_greedily(choices, curves, cost, goal)
    if not best or best[-1].predicted > goal:
        return best
    whole = cost.whole({})
    point = _widths(choices, best)
    budget = goal * whole
    for _ in range(ROUNDS):
        answer = _solve(choices, curves, cost, point, budget)
        if answer is None:
            break
        narrowest = {group: tuple(w for w in widths if w >= answer[group]) for group, widths in choices.items()}
        path = take_greedily(narrowest, curves, cost, goal)
        path = take_greedily(choices, curves, cost, goal, path)
        if path[-1].predicted <= goal and path[-1].loss < best[-1].loss:
            best = path
        budget += goal * whole - cost.whole(answer)
        if answer == point:
            break
        point = answer
    return best


def _widths(choices: Choices, path: list[Block]) -> dict[Group, int]:
    removed = allocation_of(path).removed
    return {group: group.units - removed.get(group, 0) for group in choices}


def _solve(
    choices: Choices, curves: Mapping[Group, Curve], cost: Cost, point: Mapping[Group, int], budget: float
) -> dict[Group, int] | None:
    """The widths with least loss; None if even the narrowest do not fit into the budget."""
    losses = [np.asarray([curves[g].loss[g.units - left] for left in widths]) for g, widths in choices.items()]
    costs = [_costs(g, widths, cost, point) for g, widths in choices.items()]
    found = choose_one_each(losses, costs, budget - cost.whole(point))
    if found is None:
        return None
    return {group: widths[i] for (group, widths), i in zip(choices.items(), found, strict=True)}


def choose_one_each(losses: Sequence[Floats], costs: Sequence[Floats], budget: float) -> list[int] | None:
    """Which entry to choose of each list, for the least sum of losses with costs of at most ``budget`` together.

    By dynamic programming over costs that are rounded to ``BINS`` steps; exact but for that.

    Args:
        losses, costs: ``(options,)`` each.
        budget: For all lists.
    """
    room = budget - sum(float(each.min()) for each in costs)
    if room < 0:
        return None
    bins = [_bins(each - each.min(), room) for each in costs]
    least = np.zeros(BINS + 1)  # by bins that may be used
    taken = []
    for loss, used in zip(losses, bins, strict=True):
        table = np.full((len(loss), BINS + 1), np.inf)
        for option, (more, steps) in enumerate(zip(loss, used, strict=True)):
            if steps <= BINS:
                table[option, int(steps) :] = least[: BINS + 1 - int(steps)] + more
        taken.append(table.argmin(axis=0).astype(np.int32))
        least = table.min(axis=0)
    left, found = BINS, []
    for choice, used in zip(reversed(taken), reversed(bins), strict=True):
        found.append(int(choice[left]))
        left -= int(used[found[-1]])
    return found[::-1]


def _bins(above: Floats, room: float) -> Floats:
    """Steps of ``room`` that costs take; those that do not fit take more than there are."""
    fits = above <= room
    found = np.full(len(above), BINS + 1.0)
    found[fits] = np.rint(above[fits] / room * BINS) if room > 0 else 0.0
    return found


def _costs(group: Group, widths: Sequence[int], cost: Cost, point: Mapping[Group, int]) -> Floats:
    """What the model costs more at each width of a group than at ``point``, the others as there."""
    widest = {**point, group: group.units}
    saved = np.asarray(
        [cost.savings(widest, group, group.units - left) if left < group.units else 0.0 for left in widths]
    )
    found: Floats = saved[widths.index(point[group])] - saved
    return found

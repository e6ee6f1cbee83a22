"""Which widths of a group are proposed: those that fill the blocks of the target's kernels.

::

    n      positions that a unit has along the channel axes of weights (64 for a head of 64, 1 for a channel)
    step   multiple / gcd(multiple, n) units
    left   units, or k step < units with k >= 1 and k step >= min_keep units

A width between two blocks costs as much as the next larger block, or more, so that it is never proposed: of 32 channels,
16 may stay, but not 31. A width that fills no block to begin with may stay as it is.
"""

from __future__ import annotations

import math

from tamis.passes.pruning.axes.axis import Role
from tamis.passes.pruning.axes.group import Group


def step_of(group: Group, multiple: int) -> int:
    """Units of a group that fill whole blocks of ``multiple`` channels in every weight that makes or reads them."""
    ends = (*group.with_role(Role.PRODUCE), *group.with_role(Role.CONSUME))
    each = math.gcd(*(member.positions.shape[1] for member in ends))
    return multiple // math.gcd(multiple, each) if each else multiple


def widths_of(group: Group, multiple: int, min_keep: float = 0.0) -> tuple[int, ...]:
    """Numbers of units that may be left of a group, the whole first, falling.

    Args:
        group: Whose units go.
        multiple: Channels in a block.
        min_keep: Part of the units that stays at least, 0 to 1.
    """
    step = step_of(group, multiple)
    fewest = max(step, math.ceil(round(min_keep * group.units, 9)))
    largest = (group.units - 1) // step * step
    return group.units, *range(largest, fewest - 1, -step)

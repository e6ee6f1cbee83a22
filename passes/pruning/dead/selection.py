"""How many of the units that could go do go."""

from __future__ import annotations

from tamis.compiler.graph_pass import Skip
from tamis.passes.pruning.axes.axis import Role
from tamis.passes.pruning.axes.group import Group

ALL_DEAD = "all channels do nothing; one stays, as an axis cannot be empty"
ALIGNED = "channels that do nothing stay, for a multiple of {multiple}"


def how_many(group: Group, candidates: int, multiple: int) -> tuple[int, Skip | None]:
    """Units of a group that may go, and why not all of the candidates do.

    Args:
        group: One unit of it stays at least.
        candidates: How many could go.
        multiple: What is left along the axis that is produced first is a multiple of this, or the axis stays whole.
    """
    most = min(candidates, group.units - 1)
    skip = Skip(ALL_DEAD, group.name) if most < candidates else None
    each = next((m.positions.shape[1] for role in (Role.PRODUCE, Role.SCALE) for m in group.with_role(role)), 1)
    for count in range(most, 0, -1):
        if (group.units - count) * each % multiple == 0:
            break
    else:
        count = 0
    if count < most:
        skip = Skip(ALIGNED.format(multiple=multiple), group.name)
    return count, skip

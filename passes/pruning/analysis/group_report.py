"""One group as a report shows it: its members by what they do, and what it saves where units of it go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tamis.passes.pruning.allocation.cost import Cost
from tamis.passes.pruning.allocation.widths import step_of
from tamis.passes.pruning.axes.axis import Role, Slot
from tamis.passes.pruning.axes.group import Group, Member


@dataclass(frozen=True)
class Part:
    """A constant that a group has a part of, as one node reads it.

    Args:
        node, op: The node and its operator.
        input: Which input of it.
        axis: Of the constant.
        positions: Along that axis, for each unit.
        role: What the node does with it; ``carry`` for a constant that only has the same positions.
    """

    node: str
    op: str
    input: int
    axis: int
    positions: int
    role: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return dict(vars(self))


@dataclass(frozen=True)
class GroupReport:
    """A group of units that can go.

    Args:
        name: Of the group.
        units: How many there are.
        block: The fewest that fill whole blocks of the target's kernels, in every weight.
        parts: The constants, in the order of the graph.
        unit_saves, block_saves: Unit of cost -> what goes with one unit, or one block, of the whole model; None if a
            size is not known, or nothing would be left of the group.
    """

    name: str
    units: int
    block: int
    parts: tuple[Part, ...]
    unit_saves: Mapping[str, float | None]
    block_saves: Mapping[str, float | None]

    def nodes(self, *roles: str) -> tuple[str, ...]:
        """Names of the nodes whose constants have one of ``roles``, each once."""
        return tuple(dict.fromkeys(part.node for part in self.parts if part.role in roles))

    @property
    def positions(self) -> int:
        """Channels of the first weight that makes it, for each unit."""
        return next(part.positions for part in self.parts if part.role == Role.PRODUCE)

    @property
    def op(self) -> str:
        """Operator that makes it."""
        return next(part.op for part in self.parts if part.role == Role.PRODUCE)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "group": self.name,
            "units": self.units,
            "positions": self.positions,
            "block": self.block,
            "members": [part.to_dict() for part in self.parts],
            "unit_saves": dict(self.unit_saves),
            "block_saves": dict(self.block_saves),
        }


def report_group(group: Group, costs: Mapping[str, Cost | None], multiple: int) -> GroupReport:
    """Describe one group.

    Args:
        group: Of the graph that the costs are of.
        costs: Unit -> cost; None if it cannot be told.
        multiple: Channels that the target's kernels take at once.
    """
    block = step_of(group, multiple)
    parts = tuple(_part(member) for member in group.members if isinstance(member.axis.tensor, Slot))
    saves = [{unit: _savings(cost, group, count) for unit, cost in costs.items()} for count in (1, block)]
    return GroupReport(group.name, group.units, block, parts, *saves)


def _part(member: Member) -> Part:
    slot = member.axis.tensor
    assert isinstance(slot, Slot)
    role = "carry" if member.role is None else member.role.value
    name = str(slot.node.name or slot.node.outputs[0].name)
    return Part(name, slot.node.op_type, slot.index, member.axis.index, member.positions.shape[1], role)


def _savings(cost: Cost | None, group: Group, count: int) -> float | None:
    return None if cost is None or count >= group.units else cost.savings({}, group, count)

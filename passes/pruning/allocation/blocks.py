"""Blocks of units that go together, and the order in which they went."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tamis.passes.pruning.allocation.widths import widths_of
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.importance.curve import Curve

Choices = Mapping[Group, tuple[int, ...]]
"""Group -> numbers of units that may be left of it, falling, the whole first."""


@dataclass(frozen=True)
class Block:
    """One step towards a goal.

    Args:
        group: What loses units.
        removed: Units that are gone of it afterwards, all blocks before this one included.
        predicted: Cost of the model afterwards over that of the whole.
        loss: Sum over all groups afterwards.
    """

    group: Group
    removed: int
    predicted: float
    loss: float


@dataclass(frozen=True)
class Allocation:
    """How many units go.

    Args:
        removed: Groups that lose some -> units that go, in the order of their curves.
        predicted: Cost of what is left over that of the whole; above the goal if that cannot be reached.
        loss: Sum of the curves at ``removed``.
        path: The blocks in the order in which they went: a prefix of it is an allocation as well, for a higher goal.
    """

    removed: Mapping[Group, int]
    predicted: float
    loss: float
    path: tuple[Block, ...]


def choices_of(groups: Iterable[Group], curves: Mapping[Group, Curve], multiple: int, min_keep: float) -> Choices:
    """The widths of each group, without those whose loss is not finite."""
    found = {}
    for group in groups:
        loss = curves[group].loss
        whole, *narrower = widths_of(group, multiple, min_keep)
        found[group] = (whole, *(left for left in narrower if math.isfinite(loss[group.units - left])))
    return found


def allocation_of(path: Sequence[Block]) -> Allocation:
    """The allocation at the end of a path."""
    removed = {block.group: block.removed for block in path}
    last = path[-1] if path else None
    return Allocation(removed, last.predicted if last else 1.0, last.loss if last else 0.0, tuple(path))


class Walk:
    """A path as it is made.

    Args:
        curves: Losses.
        whole: Cost of the whole model, above 0.
    """

    def __init__(self, curves: Mapping[Group, Curve], whole: float) -> None:
        self._curves, self._whole = curves, whole
        self.widths: dict[Group, int] = {}
        self.cost = whole
        self.loss = 0.0
        self.path: list[Block] = []

    def left(self, group: Group) -> int:
        """Units left of a group."""
        return self.widths.get(group, group.units)

    def price(self, group: Group, left: int) -> float:
        """What more is lost if ``left`` units are left of a group."""
        loss = self._curves[group].loss
        return float(loss[group.units - left] - loss[group.units - self.left(group)])

    def take(self, group: Group, left: int, saved: float) -> None:
        """Go on: ``left`` units are left of a group, which saves ``saved``."""
        self.loss += self.price(group, left)
        self.cost -= saved
        self.widths[group] = left
        self.path.append(Block(group, group.units - left, self.cost / self._whole, self.loss))

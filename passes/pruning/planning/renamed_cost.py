"""The cost of a model some of whose units are gone, by the cost of the whole model: groups keep their names."""

from __future__ import annotations

from collections.abc import Iterable

from tamis.passes.pruning.allocation.cost import Cost, Widths
from tamis.passes.pruning.axes.group import Group


class RenamedCost:
    """A cost in terms of the groups of a later graph.

    Args:
        cost: In terms of the groups of the whole model.
        first: Those groups.
        now: Groups of the model as it is, with the names that they had; one that is not there any more counts as whole.
    """

    def __init__(self, cost: Cost, first: Iterable[Group], now: Iterable[Group]) -> None:
        self._cost = cost
        names = {group.name: group for group in first}
        self._first = {group: names[group.name] for group in now if group.name in names}

    @property
    def unit(self) -> str:
        """See ``Cost``."""
        return self._cost.unit

    def whole(self, widths: Widths) -> float:
        """See ``Cost``."""
        return self._cost.whole(self._renamed(widths))

    def savings(self, widths: Widths, group: Group, fewer: int) -> float:
        """See ``Cost``."""
        return self._cost.savings(self._renamed(widths), self._first[group], fewer)

    def _renamed(self, widths: Widths) -> dict[Group, int]:
        return {first: widths.get(now, now.units) for now, first in self._first.items()}

"""What a model costs at some widths: the contract, and the cost that is a sum of products of sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tamis.passes.pruning.allocation.polynomial import Floats, Polynomial
from tamis.passes.pruning.axes.group import Group

Widths = Mapping[Group, int]
"""Group -> units left of it; groups that are not named are whole."""


class Cost(Protocol):
    """Predicts what a model costs."""

    @property
    def unit(self) -> str:
        """Of the costs: ``ns``, ``MACs``, ``bytes``."""
        ...

    def whole(self, widths: Widths) -> float:
        """Of the model at these widths; of the whole model for none."""
        ...

    def savings(self, widths: Widths, group: Group, fewer: int) -> float:
        """By how much ``whole`` falls if ``fewer`` units less of ``group`` are left than in ``widths``."""
        ...


class PolynomialCost:
    """A cost that is a sum of products of sizes, in which only what a group touches is computed for it.

    Args:
        unit: Of the cost.
        groups: Those that the polynomial depends on, in its order.
        polynomial: The cost by units left.
        steps: ``(groups,)``: a width counts as the next multiple of this; 1 for the width as it is.
    """

    def __init__(
        self, unit: str, groups: Sequence[Group], polynomial: Polynomial, steps: Sequence[int] | None = None
    ) -> None:
        self.unit = unit
        self.groups = tuple(groups)
        self.polynomial = polynomial
        self.steps = np.ones(len(self.groups)) if steps is None else np.asarray(steps, np.float64)
        self._number = {group: i for i, group in enumerate(self.groups)}
        self._parts = polynomial.parts
        self._near = [[(self.groups[i], int(self.steps[i])) for i in part.groups] for part in self._parts]

    def whole(self, widths: Widths) -> float:
        """See ``Cost``."""
        return self.polynomial.at(self._counted(widths))

    def savings(self, widths: Widths, group: Group, fewer: int) -> float:
        """See ``Cost``."""
        number = self._number[group]
        part = self._parts[number]
        if not len(part.groups):
            return 0.0
        before = np.asarray([_up(widths.get(g, g.units), step) for g, step in self._near[number]], np.float64)
        left = widths.get(group, group.units) - fewer
        after = np.asarray([_up(left, int(self.steps[number]))], np.float64)
        return float(part.savings(before, after)[0])

    def _counted(self, widths: Widths) -> Floats:
        left = np.asarray([widths.get(group, group.units) for group in self.groups], np.float64)
        found: Floats = np.ceil(left / self.steps) * self.steps
        return found


def _up(width: int, step: int) -> int:
    return -(-width // step) * step

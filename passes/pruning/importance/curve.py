"""What is lost as units of a group go, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.passes.pruning.axes.axis import Indices

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Curve:
    """Order and loss of the units of one group.

    Args:
        order: ``(units,)``: the unit that goes first is first.
        loss: ``(units + 1,)``, float64: ``loss[n]`` once the first n are gone; ``loss[0]`` is 0, and it never falls.
    """

    order: Indices
    loss: Array

    def first(self, count: int) -> Indices:
        """The units that go first, sorted."""
        found: Indices = np.sort(self.order[:count])
        return found


def cheapest_first(scores: Array) -> Curve:
    """The curve of units whose losses add up.

    Args:
        scores: ``(units,)``, not negative. Of equal ones the first goes first.
    """
    order = np.argsort(scores, kind="stable")
    return Curve(order, np.concatenate([[0.0], np.cumsum(scores[order], dtype=np.float64)]))

"""What is known of the channels that weights meet: from proof, or from samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.dead.fact import Array, Fact, expand, only
from tamis.passes.pruning.dead.facts import Facts
from tamis.passes.pruning.dead.reading import Reading


@dataclass(frozen=True, eq=False)
class Channels:
    """Bounds and numbers of the channels of a value, ``(C,)`` each; channels of one number are equal."""

    low: Array
    high: Array
    number: Array

    @property
    def zero(self) -> Array:
        """Which are zero."""
        found: Array = (self.low == 0) & (self.high == 0)
        return found

    @property
    def constant(self) -> Array:
        """Which have one value."""
        found: Array = (self.low == self.high) & np.isfinite(self.low)
        return found


class Evidence(Protocol):
    """Tells what is known of one model."""

    def look(self, graph: AxisGraph) -> None:
        """Find out what the groups of ``graph`` need."""
        ...

    def met(self, reading: Reading) -> Channels | None:
        """Of the channels that a weight meets; None if nothing is."""
        ...

    def along(self, axis: Axis) -> Channels | None:
        """Of the positions along an axis of a value; None if nothing is."""
        ...


class Proof:
    """What holds for all inputs.

    Args:
        facts: Of the model.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def look(self, graph: AxisGraph) -> None:
        """See ``Evidence``; facts are of the whole model."""

    def met(self, reading: Reading) -> Channels | None:
        """See ``Evidence``."""
        if reading.value is not None:
            return self.along(Axis(reading.value, reading.axis))
        state = self._facts.states.get(reading.node)
        return None if state is None else self._channels(state, 2, state.shape[2])

    def along(self, axis: Axis) -> Channels | None:
        """See ``Evidence``."""
        value = axis.tensor
        assert isinstance(value, ir.Value)
        fact, shape = self._facts.of(value), self._facts.shape(value)
        size = None if shape is None else shape[axis.index]
        return None if fact is None or size is None else self._channels(fact, axis.index, size)

    def _channels(self, fact: Fact, axis: int, size: int) -> Channels:
        found = expand(only(fact, (axis,), self._facts.numbers), axis, size, self._facts.numbers)
        return Channels(found.low.ravel(), found.high.ravel(), found.number.ravel())

"""What the channels that weights meet hold on samples, streamed: least and largest value of each.

A channel whose values all lie within ``threshold`` times the largest absolute value of its tensor counts as one number:
as zero if they lie as close to zero, else as the middle. That is seen, not proven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds, Skip
from tamis.compiler.observe import observe
from tamis.passes.pruning.axes.axis import Axis, Role
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.dead.evidence import Channels
from tamis.passes.pruning.dead.fact import Array
from tamis.passes.pruning.dead.reading import Reading, read

NOT_FINITE = "not finite on the samples"
STATE_AT_START = 5
HIDDEN = 3
"""Axis of hidden units in what an LSTM, GRU or RNN gives."""


class Observed:
    """Evidence from samples; see ``Evidence``.

    Args:
        model: What is observed; of no use once it changes.
        samples: Gives the samples from the start each time.
        threshold: Relative to the largest absolute value of a tensor.

    Attributes:
        skips: Values that are not finite.
    """

    def __init__(self, model: ir.Model, samples: Callable[[], Iterable[Feeds]], threshold: float) -> None:
        self.skips: list[Skip] = []
        self._model = model
        self._samples = samples
        self._threshold = threshold
        self._known: dict[Axis, Channels | None] = {}

    def look(self, graph: AxisGraph) -> None:
        """Run the samples for what the groups of ``graph`` need and is not known yet."""
        members = [m for group in graph.groups for m in group.with_role(Role.CONSUME)]
        readings = [r for member in members if (r := read(member.axis)) is not None]
        axes = [axis for r in readings if (axis := _axis(r)) is not None]
        axes += [axis for pair in graph.ties.contracted for axis in pair]
        wanted = [axis for axis in dict.fromkeys(axes) if axis not in self._known]
        ranges = _ranges(self._model, wanted, self._samples) if wanted else {}
        for axis in wanted:
            self._known[axis] = self._channels(axis, ranges.get(axis))

    def met(self, reading: Reading) -> Channels | None:
        """See ``Evidence``."""
        axis = _axis(reading)
        return None if axis is None else self._known.get(axis)

    def along(self, axis: Axis) -> Channels | None:
        """See ``Evidence``."""
        return self._known.get(axis)

    def _channels(self, axis: Axis, bounds: tuple[Array, Array] | None) -> Channels | None:
        if bounds is None:
            return None
        low, high = bounds
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            assert isinstance(axis.tensor, ir.Value)
            self.skips.append(Skip(NOT_FINITE, str(axis.tensor.name)))
            return None
        within = self._threshold * max(np.abs(low).max(initial=0), np.abs(high).max(initial=0))
        silent, still = np.maximum(np.abs(low), np.abs(high)) <= within, high - low <= within
        middle = np.where(silent, 0.0, low + (high - low) / 2)
        low, high = np.where(silent | still, middle, low), np.where(silent | still, middle, high)
        return Channels(low, high, np.arange(len(low)))


def _axis(reading: Reading) -> Axis | None:
    """What to observe; of a state, all steps but the one at the start, which is zero."""
    if reading.value is not None:
        return Axis(reading.value, reading.axis)
    node = reading.node
    starts = len(node.inputs) > STATE_AT_START and node.inputs[STATE_AT_START] is not None
    return None if starts or not node.outputs[0].name or not node.outputs[0].uses() else Axis(node.outputs[0], HIDDEN)


def _ranges(
    model: ir.Model, axes: Iterable[Axis], samples: Callable[[], Iterable[Feeds]]
) -> dict[Axis, tuple[Array, Array]]:
    """Least and largest value at each position of each axis, ``(size,)``, float64."""
    by_name: dict[str, list[Axis]] = {}
    for axis in axes:
        assert isinstance(axis.tensor, ir.Value)
        by_name.setdefault(str(axis.tensor.name), []).append(axis)
    found: dict[Axis, tuple[Array, Array]] = {}
    for _, values in observe(model, by_name, samples):
        for name, array in values.items():
            for axis in by_name[name] if array.size else ():
                others = tuple(i for i in range(array.ndim) if i != axis.index)
                low, high = (bound(axis=others).astype(np.float64) for bound in (array.min, array.max))
                before = found.get(axis, (low, high))
                found[axis] = np.minimum(before[0], low), np.maximum(before[1], high)
    return found

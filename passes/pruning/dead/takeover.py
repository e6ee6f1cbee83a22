"""Let biases and weights take over what constant and duplicate channels add: then nothing reads these channels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tamis.compiler.rewriting.constants import set_constant
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.pruning.axes.axis import Indices, Slot
from tamis.passes.pruning.dead.biases import add, added
from tamis.passes.pruning.dead.reader import Reader
from tamis.passes.pruning.dead.weights import weight


def take_over(reader: Reader, gone: Indices, twins: Mapping[int, int], names: Names) -> None:
    """Change the weights of one reader, in place, so that it needs positions no more.

    Args:
        reader: Of the model as it is.
        gone: Positions that nothing shall read. Each adds nothing, is constant, or has a twin.
        twins: Position -> equal position that takes over, in the order in which they go.
        names: Free names.
    """
    axis = reader.member.axis
    slot = axis.tensor
    assert isinstance(slot, Slot)
    before = weight(axis)
    weights = before.astype(np.float64)
    folded = [p for p in gone.tolist() if p not in twins and not reader.nothing[p]]
    if folded:
        value = np.zeros(reader.value.shape)
        value[folded] = reader.value[folded]
        amount = added(axis, value)
    for position, heir in twins.items():
        weights[heir] += weights[position]
        weights[position] = 0
    weights[gone] = 0
    array = np.ascontiguousarray(np.moveaxis(weights.astype(before.dtype), 0, axis.index))
    set_constant(slot.node, slot.index, array, names.fresh(f"{slot.value.name}_merged"))
    if folded:
        add(slot, amount, names)

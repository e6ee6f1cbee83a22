"""The weights of a group, as arrays with the axis of its units in front."""

from __future__ import annotations

import numpy as np

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis import Axis, Slot
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.dead.fact import Array


def weight(axis: Axis) -> Array:
    """Of a constant, with ``axis`` in front."""
    slot = axis.tensor
    assert isinstance(slot, Slot)
    array = constant_array(slot.value)
    assert array is not None
    return np.moveaxis(array, axis.index, 0)


def silent(axis: Axis) -> Array:
    """Which positions along an axis of a constant hold zeros alone."""
    array = weight(axis)
    return np.asarray(~array.reshape(len(array), -1).any(axis=1))


def all_finite(group: Group) -> bool:
    """Whether each weight that produces, scales, offsets or reads the units is finite."""
    arrays = (weight(m.axis) for m in group.members if m.role is not None)
    return all(a.dtype.kind != "f" or bool(np.isfinite(a).all()) for a in arrays)

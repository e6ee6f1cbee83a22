"""Gather: positions that are taken go with those that hold them, and a table produces the rows that it gives.

::

    constant indices      output i ~ input indices[i]
    constant table        the axes that are not gathered along are produced, as by a weight
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis import Axis, Indices, Role, Slot, Tensor, operand
from tamis.passes.pruning.axes.kept import Kept
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule

COMPUTED = "a Gather with computed indices takes parts of it"
TAKEN = "a Gather takes this position alone, or into several axes"


def _couple(node: ir.Node, ties: Ties) -> None:
    x, indices, y = operand(node, 0), operand(node, 1), node.outputs[0]
    rank, rank_indices = (None if t is None else ties.rank(t) for t in (x, indices))
    if x is None or indices is None or rank is None or rank_indices is None or ties.rank(y) != rank + rank_indices - 1:
        ties.freeze_node(node, "a tensor of unknown rank")
        return
    axis = node.attributes.get_int("axis", 0) % rank
    for i in (i for i in range(rank) if i != axis):
        place = Axis(y, i if i < axis else i + rank_indices - 1)
        if isinstance(x, Slot):
            ties.start(place)
            ties.role(Axis(x, i), Role.PRODUCE)
        ties.tie(Axis(x, i), place)
    taken = _taken(node, ties.size(Axis(x, axis)))
    if taken is not None:
        _couple_taken(Axis(x, axis), y, taken, ties)
        return
    ties.freeze(Axis(x, axis), COMPUTED)
    for i in range(rank_indices):
        if isinstance(indices, Slot):
            ties.freeze(Axis(y, axis + i), COMPUTED)
        else:
            ties.tie(Axis(indices, i), Axis(y, axis + i))


def _couple_taken(gathered: Axis, y: ir.Value, taken: Indices, ties: Ties) -> None:
    """Indices of one axis are a map; those of none or several hold what they take."""
    along = _along(taken)
    for i in range(taken.ndim):
        if i != along:
            ties.freeze(Axis(y, gathered.index + i), TAKEN)
    if along is None:
        ties.freeze(gathered, TAKEN, np.unique(taken))
    else:
        ties.tie(gathered, Axis(y, gathered.index + along), taken.ravel())


def _taken(node: ir.Node, size: int | None) -> Indices | None:
    """Constant indices, counted from the front; None if they are computed, or the size of the axis is not known."""
    indices = constant_array(node.inputs[1])
    if indices is None or size is None or np.any((indices < -size) | (indices >= size)):
        return None
    return np.where(indices < 0, indices + size, indices).astype(np.int64)


def _along(indices: Indices) -> int | None:
    """The only axis of indices that is longer than 1, or the last if none is; None if there is none such."""
    longer = [i for i, size in enumerate(indices.shape) if size != 1]
    if len(longer) > 1 or not indices.ndim:
        return None
    return longer[0] if longer else indices.ndim - 1


def _repair(node: ir.Node, kept: Kept) -> None:
    """Indices of what is left, counted anew."""
    x, old = operand(node, 0), constant_array(node.inputs[1])
    if x is None or old is None:
        return
    axis = Axis(x, _axis(node, x))
    along = _along(old)
    result = None if along is None else Axis(node.outputs[0], axis.index + along)
    if not (kept.loses(axis) or (result is not None and kept.loses(result))):
        return
    taken = _taken(node, kept.size_before(axis))
    assert taken is not None
    if along is not None and result is not None:
        taken = np.take(taken, kept.positions(result), axis=along)
    kept.set_constant(node, 1, np.searchsorted(kept.positions(axis), taken).astype(old.dtype))


def _axis(node: ir.Node, x: Tensor) -> int:
    axis = node.attributes.get_int("axis", 0)
    shape = (x.value if isinstance(x, Slot) else x).shape
    return axis if axis >= 0 or shape is None else axis + len(shape)


RULES = {"Gather": Rule(_couple, _repair)}

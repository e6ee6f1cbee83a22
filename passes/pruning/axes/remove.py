"""Take units out of a model, or mask them: set to zero what reads them. Both must compute the same."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx_ir as ir

from tamis.compiler.errors import PassError
from tamis.compiler.rewriting.constants import constant_array, constant_value, set_constant
from tamis.compiler.rewriting.graph_edit import Names, drop_if_unused
from tamis.passes.pruning.axes.axis import Axis, Role, Slot
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.kept import Kept, Removal
from tamis.passes.pruning.coupling.rules import rule_of


def remove(graph: AxisGraph, removal: Removal) -> Kept:
    """Take units out of the model of ``graph``, in place; the graph is of no use afterwards.

    Args:
        graph: Of the model as it is now.
        removal: Groups of that graph -> units to take out, each once.

    Returns:
        What is left of each axis, counted as before.

    Raises:
        PassError: Nothing would be left of an axis.
    """
    names = Names(graph.model)
    kept = Kept(graph.ties, removal, names)
    for axis, positions in kept.axes.items():
        if not len(positions):
            raise PassError(
                "nothing would be left of an axis", where=f"{_describe(axis)}", fix="keep a unit of each group"
            )
    slots: dict[Slot, list[Axis]] = defaultdict(list)
    nodes: dict[ir.Node, None] = {}
    for axis in kept.axes:
        if isinstance(axis.tensor, Slot):
            slots[axis.tensor].append(axis)
            nodes[axis.tensor.node] = None
        else:
            _shrink(axis, kept.size(axis))
            nodes.update(dict.fromkeys(use.node for use in axis.tensor.uses()))
            producer = axis.tensor.producer()
            if producer is not None:
                nodes[producer] = None
    _slice(graph.model, slots, kept, names)
    for node in nodes:
        rule = rule_of(node)
        if rule is not None and rule.repair is not None:
            rule.repair(node, kept)
    return kept


def mask(graph: AxisGraph, removal: Removal) -> None:
    """Set to zero, in place, what reads the units: the model keeps its shapes and computes what is left without them.

    Units that are summed over without a weight are set to zero where they are produced as well.
    """
    names = Names(graph.model)
    for group, units in removal.items():
        roles = (Role.CONSUME, Role.PRODUCE, Role.OFFSET) if group.contracted else (Role.CONSUME,)
        for member in (m for role in roles for m in group.with_role(role)):
            slot = member.axis.tensor
            assert isinstance(slot, Slot)
            masked = np.moveaxis(member.elements.copy(), member.axis.index, 0)
            masked[member.positions[units].ravel()] = 0
            whole = np.ascontiguousarray(np.moveaxis(masked, 0, member.axis.index))
            set_constant(slot.node, slot.index, whole, names.fresh(f"{slot.value.name}_masked"))


def _slice(model: ir.Model, slots: dict[Slot, list[Axis]], kept: Kept, names: Names) -> None:
    """Give each reader the part of its constant that stays; readers that keep the same part share it."""
    shared: dict[tuple[ir.Value, tuple[tuple[int, bytes], ...]], ir.Value] = {}
    for slot, axes in slots.items():
        old = slot.value
        key = (old, tuple((axis.index, kept.positions(axis).tobytes()) for axis in axes))
        new = shared.get(key)
        if new is None:
            array = constant_array(old)
            assert array is not None
            for axis in axes:
                array = np.take(array, kept.positions(axis), axis=axis.index)
            name = names.fresh(f"{old.name}_kept")
            new = shared[key] = constant_value(name, ir.tensor(array, name=name))
            model.graph.register_initializer(new)
        slot.node.replace_input_with(slot.index, new)
    drop_if_unused({old for old, _ in shared})


def _shrink(axis: Axis, size: int) -> None:
    value = axis.tensor
    assert isinstance(value, ir.Value) and value.shape is not None
    dims = list(value.shape)
    dims[axis.index] = size
    value.shape = ir.Shape(dims)


def _describe(axis: Axis) -> str:
    value = axis.tensor.value if isinstance(axis.tensor, Slot) else axis.tensor
    return f"axis {axis.index} of {value.name!r}"

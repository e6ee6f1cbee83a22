"""Slice: what is taken goes on, positions that are not taken end here.

Once some positions are gone, what is taken may have gaps; then a Gather takes the place of the Slice.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.graph_edit import drop_if_unused
from tamis.passes.canonicalize.slice_ranges import INPUTS_OPSET, Bounds, Ranges, bounds_of, is_whole, read_slice
from tamis.passes.pruning.axes.axis import Axis, Indices, Slot, operand
from tamis.passes.pruning.axes.kept import Kept
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule

COMPUTED = "an axis that a Slice with computed bounds takes a part of"


def _couple(node: ir.Node, ties: Ties) -> None:
    x, y = operand(node, 0), node.outputs[0]
    rank = None if x is None else ties.rank(x)
    ranges = _ranges(node)
    axes = list(ranges) if ranges is not None else _axes(node, rank)
    if x is None or rank is None or ties.rank(y) != rank or axes is None:
        ties.freeze_node(node, "a Slice along axes that are not known")
        return
    if isinstance(x, Slot):
        ties.shift(y)
    for i in range(rank):
        size = ties.size(Axis(x, i))
        if i not in axes or (ranges is not None and is_whole(ranges[i], size)):
            ties.tie(Axis(x, i), Axis(y, i))
        elif ranges is None or size is None:
            for tensor in (x, y):
                ties.freeze(Axis(tensor, i), COMPUTED)
        else:
            ties.tie(Axis(x, i), Axis(y, i), np.arange(size)[slice(*ranges[i])])


def _ranges(node: ir.Node) -> Ranges | None:
    return read_slice(node, INPUTS_OPSET - 1 if "starts" in node.attributes else INPUTS_OPSET)


def _axes(node: ir.Node, rank: int | None) -> list[int] | None:
    """The axes of a Slice with computed bounds; None if they are not known."""
    axes = constant_array(node.inputs[3]) if len(node.inputs) > 3 else None
    return None if axes is None or rank is None else [int(axis) % rank for axis in axes.ravel()]


def _repair(node: ir.Node, kept: Kept) -> None:
    x, y = operand(node, 0), node.outputs[0]
    ranges = _ranges(node)
    if x is None or ranges is None:
        return
    gathered: dict[int, Indices] = {}
    bounds: Ranges = {}
    for axis, old in ranges.items():
        before, after = Axis(x, axis), Axis(y, axis)
        if not (kept.loses(before) or kept.loses(after)):
            bounds[axis] = old
            continue
        taken = np.arange(kept.size_before(before))[slice(*old)][kept.positions(after)]
        places = np.searchsorted(kept.positions(before), taken)
        found = _bounds(places)
        if found is None or (found[2] != 1 and "starts" in node.attributes):
            gathered[axis] = places
        else:
            bounds[axis] = found
    for axis in list(gathered)[1 if not bounds else 0 :]:
        _gather_before(node, axis, gathered.pop(axis), kept)
    if bounds:
        _write(node, bounds, kept)
    for axis, places in gathered.items():
        become_gather(node, axis, places, kept)


def _bounds(places: Indices) -> Bounds | None:
    """The bounds by which a Slice takes ``places``; None if they are not evenly spaced."""
    steps = np.unique(np.diff(places)).tolist()
    if len(steps) > 1:
        return None
    step = steps[0] if steps else 1
    return bounds_of(range(int(places[0]), int(places[-1]) + (1 if step > 0 else -1), step))


def _gather_before(node: ir.Node, axis: int, places: Indices, kept: Kept) -> None:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None and node.graph is not None and x.shape is not None
    gather = ir.Node("", "Gather", [x, None], [ir.AttrInt64("axis", axis)], name=kept.fresh(f"{node.name}_gather"))
    value = gather.outputs[0]
    value.name, value.type = kept.fresh(f"{y.name}_gathered"), x.type
    value.shape = ir.Shape([len(places) if i == axis else size for i, size in enumerate(x.shape)])
    node.graph.insert_before(node, gather)
    kept.set_constant(gather, 1, places)
    node.replace_input_with(0, value)


def become_gather(node: ir.Node, axis: int, places: Indices, kept: Kept) -> None:
    """Make ``node``, whose first input and only output stay, a Gather of ``places``."""
    unused = node.inputs[2:]
    node.resize_inputs(2)
    drop_if_unused(unused)
    node.op_type = "Gather"
    node.attributes.clear()
    node.attributes["axis"] = ir.AttrInt64("axis", axis)
    kept.set_constant(node, 1, places)


def _write(node: ir.Node, bounds: Ranges, kept: Kept) -> None:
    starts, ends, steps = zip(*bounds.values(), strict=True)
    if "starts" in node.attributes:
        for name, numbers in (("starts", starts), ("ends", ends), ("axes", tuple(bounds))):
            node.attributes[name] = ir.AttrInt64s(name, numbers)
        return
    for index, numbers in enumerate((starts, ends, tuple(bounds), steps), start=1):
        if index < 4 or len(node.inputs) > 4 or any(step != 1 for step in steps):
            kept.set_constant(node, index, np.asarray(numbers, np.int64))


RULES = {"Slice": Rule(_couple, _repair)}

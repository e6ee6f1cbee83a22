"""Reshape, Flatten, Squeeze, Unsqueeze: axes are merged and split.

::

    (..., C, H, W, ...) -> (..., C H W, ...)     channel c ~ all positions that hold a part of it
    (..., H D, ...)     -> (..., H, D, ...)      view 0: head h ~ its block of D; view 1: d ~ every D-th position

One axis of several is followed: of merged ones the one that weights produce, of split ones the one that the view names.
The others are frozen, and so are axes of a reshape that mixes several into several.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis, Indices, Slot, Tensor, operand, shape_of
from tamis.passes.pruning.axes.kept import Kept
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule
from tamis.passes.pruning.coupling.runs import ONE, Run, align
from tamis.passes.pruning.coupling.shapes import sizes_after, sizes_before
from tamis.passes.pruning.coupling.shuffling import couple_shuffle, is_inside_shuffle, repair_shuffle
from tamis.passes.pruning.coupling.targets import COMPUTED, read_entries, write_entries

INPUT_AXES_OPSET = 13
"""From here on, the axes of a Squeeze are an input, not an attribute."""
MIXED = "a reshape mixes it with other axes"
NOT_FOLLOWED = "a reshape follows another axis"
ONE_LONG = "an axis of length 1 that a reshape adds or takes"


def _couple(node: ir.Node, ties: Ties) -> None:
    x, y = operand(node, 0), node.outputs[0]
    before = None if x is None else sizes_before(x, ties)
    after = None if before is None else sizes_after(node, before)
    if x is None or before is None or after is None or not _agree(y, [s.known for s in after], ties):
        ties.freeze_node(node, f"a {node.op_type} to a shape that is not known")
        return
    if isinstance(x, Slot):
        ties.shift(y)
    runs = align(before, after)
    shuffled = couple_shuffle(node, x, runs, ties)
    for tensor, sizes in ((x, before), (y, after)):
        ties.freeze_tensor(tensor, ONE_LONG, [i for i, size in enumerate(sizes) if size == ONE])
    for run in runs:
        if run not in shuffled:
            _couple_run(x, y, run, ties)
    entries = read_entries(node, 1) if node.op_type == "Reshape" else None
    ties.freeze_tensor(y, COMPUTED, [i for i, entry in enumerate(entries or ()) if entry is None])


def _agree(y: ir.Value, sizes: Sequence[int | None], ties: Ties) -> bool:
    """Whether shape inference found all the sizes that the node gives."""
    shape = ties.shape(y)
    return shape is not None and all(size is None or size == found for size, found in zip(sizes, shape, strict=True))


def _couple_run(x: Tensor, y: ir.Value, run: Run, ties: Ties) -> None:
    left, right = [Axis(x, i) for i in run.before], [Axis(y, i) for i in run.after]
    if run.equal and len(left) == len(right) == 1:
        ties.tie(left[0], right[0])
    elif run.equal and len(right) == 1:
        _follow(ties.carried(left), left, right[0], ties)
    elif run.equal and len(left) == 1:
        _follow(ties.chosen(right) if left[0] in ties.live else None, right, left[0], ties)
    else:
        for axis in (*left, *right):
            ties.freeze(axis, MIXED)


def _follow(followed: Axis | None, parts: Sequence[Axis], whole: Axis, ties: Ties) -> None:
    """Tie one of ``parts`` to the axis that holds all of them."""
    sizes = [ties.size(axis) for axis in parts]
    known = [size for size in sizes if size is not None]
    if followed is None or len(known) < len(sizes) or ties.size(whole) is None:
        for axis in (*parts, whole):
            ties.freeze(axis, MIXED)
        return
    for axis in parts:
        if axis != followed:
            ties.freeze(axis, NOT_FOLLOWED)
    ties.tie(followed, whole, coordinates(known, parts.index(followed)), np.arange(prod(known)))


def coordinates(sizes: Sequence[int], index: int) -> Indices:
    """Coordinate ``index`` of each element of an array of ``sizes``, in row-major order."""
    found: Indices = np.arange(prod(sizes)) // prod(sizes[index + 1 :]) % sizes[index]
    return found


def _repair(node: ir.Node, kept: Kept) -> None:
    """New sizes in the target; 0 and -1 stay where they still say the right thing."""
    x, y = operand(node, 0), node.outputs[0]
    entries = read_entries(node, 1) if node.graph is not None else None
    if x is None or entries is None:
        return
    left = {}
    for i, entry in enumerate(entries):
        lost = kept.loses(Axis(y, i))
        copies = entry == 0 and (lost or kept.loses(Axis(x, i)))
        if (entry is not None and entry > 0 and lost) or (copies and kept.size(Axis(x, i)) != kept.size(Axis(y, i))):
            left[i] = kept.size(Axis(y, i))
    write_entries(node, 1, left, kept)
    if is_inside_shuffle(node):
        repair_shuffle(node, kept)


def _repair_squeeze(node: ir.Node, kept: Kept) -> None:
    """A Squeeze of all axes of length 1 would take those as well that have come down to it."""
    x = operand(node, 0)
    if x is None or "axes" in node.attributes or (len(node.inputs) > 1 and node.inputs[1] is not None):
        return
    axes = [i for i in range(len(shape_of(x) or ())) if kept.size_before(Axis(x, i)) == 1]
    assert node.graph is not None
    if node.graph.opset_imports.get("", INPUT_AXES_OPSET) < INPUT_AXES_OPSET:
        node.attributes["axes"] = ir.AttrInt64s("axes", axes)
    else:
        kept.set_constant(node, 1, np.asarray(axes, np.int64))


RULES = {
    "Flatten": Rule(_couple),
    "Reshape": Rule(_couple, _repair),
    "Squeeze": Rule(_couple, _repair_squeeze),
    "Unsqueeze": Rule(_couple),
}

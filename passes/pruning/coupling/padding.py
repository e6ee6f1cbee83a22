"""Pad: what is inside goes with the input, each position of the border by itself; negative counts crop."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis import Axis, Slot, operand
from tamis.passes.pruning.axes.kept import Kept
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule

BORDER = "an axis with a border that is computed from what is inside"
Counts = dict[int, tuple[int, int]]
"""Axis -> positions before and after; below 0, positions that are cropped."""


def _couple(node: ir.Node, ties: Ties) -> None:
    x, y = operand(node, 0), node.outputs[0]
    rank = None if x is None else ties.rank(x)
    counts = None if rank is None else _counts(node, rank)
    if x is None or rank is None or counts is None or ties.rank(y) != rank:
        ties.freeze_node(node, "a Pad by counts that are not known")
        return
    constant = node.attributes.get_string("mode", "constant") == "constant"
    if isinstance(x, Slot) or (constant and not _fills_with_zero(node)):
        ties.shift(y)
    for i in range(rank):
        begin, end = counts.get(i, (0, 0))
        size = ties.size(Axis(x, i))
        if begin == end == 0:
            ties.tie(Axis(x, i), Axis(y, i))
        elif not constant or size is None or min(begin, end) < -size or begin + size + end != ties.size(Axis(y, i)):
            for tensor in (x, y):
                ties.freeze(Axis(tensor, i), BORDER)
        else:
            inside = np.arange(max(0, -begin), size + min(0, end))
            ties.tie(Axis(x, i), Axis(y, i), inside, inside + begin)


def _counts(node: ir.Node, rank: int) -> Counts | None:
    """Counts of the axes that the node names; None if they are computed."""
    if "pads" in node.attributes:
        pads = list(node.attributes["pads"].as_ints())
    else:
        array = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
        if array is None:
            return None
        pads = [int(count) for count in array.ravel()]
    axes = list(range(rank))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        array = constant_array(node.inputs[3])
        if array is None:
            return None
        axes = [int(axis) % rank for axis in array.ravel()]
    pairs = zip(pads[: len(axes)], pads[len(axes) :], strict=True)
    return dict(zip(axes, pairs, strict=True))


def _fills_with_zero(node: ir.Node) -> bool:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return node.attributes.get_float("value", 0.0) == 0
    value = constant_array(node.inputs[2])
    return value is not None and not np.any(value)


def _repair(node: ir.Node, kept: Kept) -> None:
    """As many positions on either side as are left there."""
    x, y = operand(node, 0), node.outputs[0]
    shape = kept.shape_before(y)
    counts = None if shape is None else _counts(node, len(shape))
    if x is None or counts is None:
        return
    left = {}
    for axis, (begin, end) in counts.items():
        left[axis] = begin, end
        before, after = Axis(x, axis), Axis(y, axis)
        if (begin or end) and (kept.loses(before) or kept.loses(after)):
            front = np.count_nonzero(kept.positions(after) < begin) - np.count_nonzero(kept.positions(before) < -begin)
            back = np.count_nonzero(kept.positions(after) >= kept.size_before(after) - end)
            cropped = np.count_nonzero(kept.positions(before) >= kept.size_before(before) + end)
            left[axis] = int(front), int(back - cropped)
    if left == counts:
        return
    pads = [count for side in zip(*left.values(), strict=True) for count in side]
    if "pads" in node.attributes:
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    else:
        kept.set_constant(node, 1, np.asarray(pads, np.int64))


RULES = {"Pad": Rule(_couple, _repair)}

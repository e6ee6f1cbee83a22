"""Resize, Upsample, Expand, Tile, ConstantOfShape: sizes that stay go on, others are frozen, repeated, or made anew."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis import Axis, Slot, Tensor, operand
from tamis.passes.pruning.axes.kept import Kept
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule
from tamis.passes.pruning.coupling.targets import COMPUTED, read_entries, write_entries

RESIZED = "an axis that a Resize changes"
STRETCHED = "an axis of length 1 that is repeated"
MOVING = frozenset({"tf_crop_and_resize", "tf_half_pixel_for_nn"})
"""Coordinates that are others than the input's even where no size changes."""
SIZES = 3
"""Input of a Resize with the sizes of its output."""


def _couple_resize(node: ir.Node, ties: Ties) -> None:
    x, y = operand(node, 0), node.outputs[0]
    rank = None if x is None else ties.rank(x)
    if x is None or rank is None or ties.rank(y) != rank:
        ties.freeze_node(node, "a tensor of unknown rank")
        return
    if isinstance(x, Slot):
        ties.shift(y)
    named = [axis % rank for axis in node.attributes.get_ints("axes", range(rank))]
    for i in range(rank):
        if i not in named or _stays(node, x, i, named.index(i), ties):
            ties.tie(Axis(x, i), Axis(y, i))
        else:
            for tensor in (x, y):
                ties.freeze(Axis(tensor, i), RESIZED)


def _stays(node: ir.Node, x: Tensor, axis: int, place: int, ties: Ties) -> bool:
    """Whether an axis that is named at ``place`` is copied as it is."""
    if node.attributes.get_string("coordinate_transformation_mode", "half_pixel") in MOVING:
        return False
    scales, sizes = _scales(node), _sizes(node)
    if scales is not None:
        return float(scales[place]) == 1
    stretches = node.attributes.get_string("keep_aspect_ratio_policy", "stretch") == "stretch"
    return sizes is not None and stretches and int(sizes[place]) == ties.size(Axis(x, axis))


def _scales(node: ir.Node) -> np.ndarray[tuple[int], np.dtype[np.float32]] | None:
    """Constant scales of the axes that are named."""
    if "scales" in node.attributes:
        return np.asarray(node.attributes["scales"].as_floats(), np.float32)
    index = 1 if node.op_type == "Upsample" or len(node.inputs) == 2 else 2
    scales = constant_array(node.inputs[index]) if len(node.inputs) > index else None
    return None if scales is None or not scales.size else scales.ravel().astype(np.float32)


def _sizes(node: ir.Node) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    sizes = constant_array(node.inputs[SIZES]) if len(node.inputs) > SIZES else None
    return None if sizes is None else sizes.ravel().astype(np.int64)


def _repair_resize(node: ir.Node, kept: Kept) -> None:
    y, sizes = node.outputs[0], _sizes(node)
    if sizes is None or _scales(node) is not None:
        return
    rank = len(kept.shape_before(y) or ())
    named = node.attributes.get_ints("axes", range(rank))
    left = [
        kept.size(Axis(y, a % rank)) if kept.loses(Axis(y, a % rank)) else s for a, s in zip(named, sizes, strict=True)
    ]
    if left != sizes.tolist():
        kept.set_constant(node, SIZES, np.asarray(left, np.int64))


def _couple_expand(node: ir.Node, ties: Ties) -> None:
    x, y = operand(node, 0), node.outputs[0]
    entries, shape = read_entries(node, 1), ties.shape(y)
    rank = None if x is None else ties.rank(x)
    if x is None or rank is None or shape is None or entries is None or any(e is not None and e < 1 for e in entries):
        ties.freeze_node(node, "an Expand to a shape that is not known")
        return
    if isinstance(x, Slot):
        ties.shift(y)
    for i, size in enumerate(shape):
        before = i - len(shape) + rank
        old = None if before < 0 else ties.size(Axis(x, before))
        place = i - len(shape) + len(entries)
        if place >= 0 and entries[place] is None:
            ties.freeze(Axis(y, i), COMPUTED)
        if before >= 0 and (old != 1 or size == 1):
            ties.tie(Axis(x, before), Axis(y, i))
            continue
        ties.shifted.add(Axis(y, i))
        if before >= 0:
            ties.freeze(Axis(x, before), STRETCHED)


def _couple_filled(node: ir.Node, ties: Ties) -> None:
    """The axes of a ConstantOfShape are as long as what they meet needs."""
    y = node.outputs[0]
    entries, value = read_entries(node, 0), node.attributes.get("value")
    if entries is None or ties.rank(y) != len(entries):
        ties.freeze_node(node, "a ConstantOfShape of a shape that is not known")
        return
    ties.freeze_tensor(y, COMPUTED, [i for i, entry in enumerate(entries) if entry is None])
    if value is not None and np.any(value.as_tensor().numpy()):
        ties.shift(y)


def _repair_target(node: ir.Node, kept: Kept) -> None:
    """Sizes of what is left, in the shape that an Expand or a ConstantOfShape is given."""
    y, index = node.outputs[0], 0 if node.op_type == "ConstantOfShape" else 1
    shape, entries = kept.shape_before(y), read_entries(node, index)
    if shape is None or entries is None:
        return
    axes = [Axis(y, len(shape) - len(entries) + i) for i in range(len(entries))]
    left = {
        i: kept.size(axis)
        for i, (axis, entry) in enumerate(zip(axes, entries, strict=True))
        if entry not in (None, 1) and kept.loses(axis)
    }
    write_entries(node, index, left, kept)


def _couple_tile(node: ir.Node, ties: Ties) -> None:
    """Position i of the output is position i modulo the input's size."""
    x, y = operand(node, 0), node.outputs[0]
    repeats = constant_array(node.inputs[1])
    rank = None if x is None else ties.rank(x)
    if x is None or rank is None or ties.rank(y) != rank or repeats is None or repeats.size != rank:
        ties.freeze_node(node, "a Tile by counts that are not known")
        return
    if isinstance(x, Slot):
        ties.shift(y)
    for i, count in enumerate(repeats.tolist()):
        size, new = ties.size(Axis(x, i)), ties.size(Axis(y, i))
        if count == 1 or size is None or new is None:
            ties.tie(Axis(x, i), Axis(y, i))
        else:
            ties.tie(Axis(x, i), Axis(y, i), np.arange(new) % size, np.arange(new))


RULES = {
    "Resize": Rule(_couple_resize, _repair_resize),
    "Upsample": Rule(_couple_resize),
    "Expand": Rule(_couple_expand, _repair_target),
    "ConstantOfShape": Rule(_couple_filled, _repair_target),
    "Tile": Rule(_couple_tile),
}

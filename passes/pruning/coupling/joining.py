"""Concat and Split: positions of the parts are positions of the whole, at an offset."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis import Axis, Slot, Tensor, operand
from tamis.passes.pruning.axes.kept import Kept
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule

INPUT_SIZES_OPSET = 13
"""From here on, the sizes of a Split are an input, not an attribute."""


def _couple_concat(node: ir.Node, ties: Ties) -> None:
    parts = [part for part in (operand(node, i) for i in range(len(node.inputs))) if part is not None]
    _couple(node, node.outputs[0], parts, node.attributes.get_int("axis", 1), ties)
    if any(isinstance(part, Slot) and _is_nonzero(part) for part in parts):
        ties.shift(node.outputs[0])


def _couple_split(node: ir.Node, ties: Ties) -> None:
    x = operand(node, 0)
    if x is None:
        ties.freeze_node(node, "a Split of nothing")
        return
    _couple(node, x, node.outputs, node.attributes.get_int("axis", 0), ties)
    if isinstance(x, Slot):
        for part in node.outputs:
            ties.shift(part)


def _couple(node: ir.Node, whole: Tensor, parts: Sequence[Tensor], axis: int, ties: Ties) -> None:
    rank = ties.rank(whole)
    if rank is None or any(ties.rank(part) != rank for part in parts):
        ties.freeze_node(node, "a tensor of unknown rank")
        return
    axis %= rank
    for part in parts:
        for i in range(rank):
            if i != axis:
                ties.tie(Axis(part, i), Axis(whole, i))
    sizes = [ties.size(Axis(part, axis)) for part in parts]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or ties.size(Axis(whole, axis)) != sum(known) or _has_computed_sizes(node):
        for tensor in (whole, *parts):
            ties.freeze(Axis(tensor, axis), f"an axis that a {node.op_type} of unknown sizes works along")
        return
    for part, size, start in zip(parts, known, accumulate(known, initial=0), strict=False):
        ties.tie(Axis(part, axis), Axis(whole, axis), None, np.arange(start, start + size))


def _is_nonzero(slot: Slot) -> bool:
    array = constant_array(slot.value)
    return array is None or bool(np.any(array != 0))


def _has_computed_sizes(node: ir.Node) -> bool:
    sizes = node.inputs[1] if node.op_type == "Split" and len(node.inputs) > 1 else None
    return sizes is not None and constant_array(sizes) is None


def _repair_split(node: ir.Node, kept: Kept) -> None:
    """Write the sizes that are left, equal or not."""
    x = operand(node, 0)
    assert x is not None and node.graph is not None
    shape = kept.shape_before(node.outputs[0])
    axis = node.attributes.get_int("axis", 0) % len(shape or ())
    if not any(kept.loses(Axis(part, axis)) for part in node.outputs):
        return
    sizes = [kept.size(Axis(part, axis)) for part in node.outputs]
    if "split" in node.attributes or node.graph.opset_imports.get("", INPUT_SIZES_OPSET) < INPUT_SIZES_OPSET:
        node.attributes["split"] = ir.AttrInt64s("split", sizes)
    else:
        node.attributes.pop("num_outputs", None)
        kept.set_constant(node, 1, np.asarray(sizes, np.int64))


RULES = {"Concat": Rule(_couple_concat), "Split": Rule(_couple_split, _repair_split)}

"""Shape and Size: sizes that are read at run time must stay what they are."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.canonicalize.slice_ranges import INPUTS_OPSET, read_slice
from tamis.passes.pruning.axes.axis import operand
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule

READ = "its size is read by {}"


def _couple_shape(node: ir.Node, ties: Ties) -> None:
    """Only the sizes that a Gather or Slice behind takes are read, if all that is behind are such."""
    x, y = operand(node, 0), node.outputs[0]
    rank = None if x is None else ties.rank(x)
    ties.freeze_tensor(y, "a shape")
    if x is None or rank is None:
        return
    axes = np.arange(rank)[node.attributes.get_int("start", 0) : node.attributes.get_int("end", rank)]
    taken = [_taken(use.node, use.idx, len(axes)) for use in y.uses()]
    if taken and not y.is_graph_output() and not any(part is None for part in taken):
        axes = axes[sorted({i for part in taken if part is not None for i in part})]
    ties.freeze_tensor(x, READ.format(node.name or "a Shape"), axes.tolist())


def _taken(reader: ir.Node, index: int, size: int) -> list[int] | None:
    """Positions of a shape that a node reads; None if it may read all."""
    positions = np.arange(size)
    if index != 0 or reader.domain != "":
        return None
    if reader.op_type == "Gather":
        indices = constant_array(reader.inputs[1])
        inside = indices is not None and bool(np.all((indices >= -size) & (indices < size)))
        return None if indices is None or not inside else positions[indices].ravel().tolist()
    if reader.op_type == "Slice":
        ranges = read_slice(reader, INPUTS_OPSET - 1 if "starts" in reader.attributes else INPUTS_OPSET)
        return None if ranges is None else positions[slice(*ranges[0])].tolist() if 0 in ranges else positions.tolist()
    return None


def _couple_size(node: ir.Node, ties: Ties) -> None:
    ties.freeze_node(node, READ.format(node.name or "a Size"))


RULES = {"Shape": Rule(_couple_shape), "Size": Rule(_couple_size)}

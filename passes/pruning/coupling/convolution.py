"""Conv and ConvTranspose: output channels are produced, input channels are summed over.

::

    Conv            W: (M, C / g, kernel...)     W[0] ~ Y.C   W[1] ~ X.C
    ConvTranspose   W: (C, M / g, kernel...)     W[1] ~ Y.C   W[0] ~ X.C
    depthwise       channel c ~ outputs c m ... c m + m - 1

A grouped convolution whose groups are larger than a channel goes by whole groups in view 0, and by the same channels of
all groups in the others.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis, Role, Slot, Tensor, operand
from tamis.passes.pruning.axes.kept import Kept
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule

WINDOW = "an axis that a window slides along"


def _couple(node: ir.Node, ties: Ties) -> None:
    x, weight, bias = (operand(node, i) for i in range(3))
    y = node.outputs[0]
    group = node.attributes.get_int("group", 1)
    if x is None or not isinstance(weight, Slot) or ties.size(Axis(x, 1)) is None or ties.rank(y) is None:
        ties.freeze_node(node, f"a {node.op_type} with a computed weight, or with channels of unknown number")
        return
    ties.tie(Axis(x, 0), Axis(y, 0))
    for tensor in (x, y):
        ties.freeze_tensor(tensor, WINDOW, range(2, ties.rank(tensor) or 0))
    if group == 1:
        produced, consumed = (1, 0) if node.op_type == "ConvTranspose" else (0, 1)
        ties.start(Axis(y, 1))
        ties.tie(Axis(weight, produced), Axis(y, 1))
        ties.role(Axis(weight, produced), Role.PRODUCE)
        ties.tie(Axis(weight, consumed), Axis(x, 1))
        ties.role(Axis(weight, consumed), Role.CONSUME)
    elif ties.view == 0 or ties.size(Axis(x, 1)) == group:
        _couple_whole_groups(x, weight, y, group, ties)
    else:
        _couple_inside_groups(node, x, weight, y, group, ties)
    if bias is not None:
        ties.tie(Axis(bias, 0), Axis(y, 1))
        ties.shifted.add(Axis(y, 0))
        if isinstance(bias, Slot):
            ties.role(Axis(bias, 0), Role.OFFSET)


def _couple_whole_groups(x: Tensor, weight: Slot, y: ir.Value, group: int, ties: Ties) -> None:
    """All channels of a group go together, those that it reads and those that it gives."""
    for axis in (Axis(x, 1), Axis(y, 1)):
        size = ties.size(axis) or 0
        each = size // group
        if each > 1:
            ties.tie(axis, axis, np.arange(size), np.arange(size) // each * each)
    inputs, outputs = ((ties.size(Axis(t, 1)) or 0) // group for t in (x, y))
    ties.tie(Axis(x, 1), Axis(y, 1), np.arange(group) * inputs, np.arange(group) * outputs)
    ends = y if weight.node.op_type == "Conv" else x
    ties.tie(Axis(weight, 0), Axis(ends, 1))
    ties.role(Axis(weight, 0), Role.SCALE)


def _couple_inside_groups(node: ir.Node, x: Tensor, weight: Slot, y: ir.Value, group: int, ties: Ties) -> None:
    """The same channel of all groups goes together, on either side by itself."""
    ties.start(Axis(y, 1))
    for axis in (Axis(x, 1), Axis(y, 1)):
        size = ties.size(axis) or 0
        ties.tie(axis, axis, np.arange(size), np.arange(size) % (size // group))
    whole, inside = (y, x) if node.op_type == "Conv" else (x, y)
    ties.tie(Axis(weight, 0), Axis(whole, 1))
    each = (ties.size(Axis(inside, 1)) or 0) // group
    ties.tie(Axis(weight, 1), Axis(inside, 1), np.arange(each), np.arange(each))
    ties.role(Axis(weight, 0), Role.PRODUCE if node.op_type == "Conv" else Role.CONSUME)
    ties.role(Axis(weight, 1), Role.CONSUME if node.op_type == "Conv" else Role.PRODUCE)


def _repair(node: ir.Node, kept: Kept) -> None:
    """As many groups as have a channel left."""
    x = operand(node, 0)
    group = node.attributes.get_int("group", 1)
    if group > 1 and x is not None and kept.loses(Axis(x, 1)):
        each = kept.size_before(Axis(x, 1)) // group
        left = len(np.unique(kept.positions(Axis(x, 1)) // each))
        node.attributes["group"] = ir.AttrInt64("group", left)


RULES = {op_type: Rule(_couple, _repair) for op_type in ("Conv", "ConvTranspose")}

"""Transpose: output axis i is input axis ``perm[i]``."""

from __future__ import annotations

import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis, operand
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule


def _couple(node: ir.Node, ties: Ties) -> None:
    x, y = operand(node, 0), node.outputs[0]
    rank = None if x is None else ties.rank(x)
    if x is None or rank is None:
        ties.freeze_node(node, "a tensor of unknown rank")
        return
    perm = node.attributes.get_ints("perm", list(reversed(range(rank))))
    for i, source in enumerate(perm):
        ties.tie(Axis(x, source), Axis(y, i))


RULES = {"Transpose": Rule(_couple)}

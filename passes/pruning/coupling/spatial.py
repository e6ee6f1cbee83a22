"""Pooling: channels stay apart, windows slide along the other axes."""

from __future__ import annotations

import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis, operand
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.convolution import WINDOW
from tamis.passes.pruning.coupling.rules import Rule


def _couple(node: ir.Node, ties: Ties) -> None:
    x, y = operand(node, 0), node.outputs[0]
    if x is None or ties.rank(x) is None or ties.rank(y) is None:
        ties.freeze_node(node, "a tensor of unknown rank")
        return
    for i in (0, 1):
        ties.tie(Axis(x, i), Axis(y, i))
    for tensor in (x, y):
        ties.freeze_tensor(tensor, WINDOW, range(2, ties.rank(tensor) or 0))
    for extra in node.outputs[1:]:
        ties.freeze_tensor(extra, "positions of maxima")
        ties.freeze(Axis(y, 1), "positions of maxima count channels")


RULES = {
    name: Rule(_couple)
    for name in ("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
}

"""DepthToSpace and SpaceToDepth: blocks of b x b positions become channels, and back.

::

    DCR   input channel (i b + j) C + c ~ output channel c
    CRD   input channel c b^2 + i b + j ~ output channel c
    SpaceToDepth, as DCR with input and output exchanged
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis, Slot, operand
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule

BLOCKS = "an axis whose blocks become channels, or are made of them"


def _couple(node: ir.Node, ties: Ties) -> None:
    x, y = operand(node, 0), node.outputs[0]
    deep, flat = (x, y) if node.op_type == "DepthToSpace" else (y, x)
    depth = None if deep is None or ties.rank(deep) != 4 else ties.size(Axis(deep, 1))
    block = node.attributes.get_int("blocksize", 0)
    if x is None or deep is None or flat is None or depth is None or ties.rank(flat) != 4:
        ties.freeze_node(node, f"a {node.op_type} of unknown shape")
        return
    if isinstance(x, Slot):
        ties.shift(y)
    ties.tie(Axis(x, 0), Axis(y, 0))
    channels = np.arange(depth)
    crd = node.attributes.get_string("mode", "DCR") == "CRD"
    ties.tie(Axis(deep, 1), Axis(flat, 1), channels, channels // block**2 if crd else channels % (depth // block**2))
    for tensor in (x, y):
        ties.freeze_tensor(tensor, BLOCKS, (2, 3))


RULES = {name: Rule(_couple) for name in ("DepthToSpace", "SpaceToDepth")}

"""Reductions, TopK, CumSum: the axis that is worked along is frozen, the others stay apart."""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis import Axis, operand
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule

ZERO_PRESERVING = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare")
SHIFTING = ("ReduceLogSum", "ReduceLogSumExp", "ReduceProd")


def _couple(node: ir.Node, ties: Ties) -> None:
    """The axis is along ``axes`` (attribute, or input), or ``axis`` of ArgMax and ArgMin."""
    x, y = operand(node, 0), node.outputs[0]
    rank = None if x is None else ties.rank(x)
    axes = None if rank is None else _reduced(node, rank)
    if x is None or rank is None or axes is None:
        ties.freeze_node(node, f"{node.op_type} along axes that are not known")
        return
    keep = bool(node.attributes.get_int("keepdims", 1))
    ties.freeze_tensor(x, f"reduced by {node.op_type}", sorted(axes))
    position = 0
    for i in range(rank):
        if i not in axes:
            ties.tie(Axis(x, i), Axis(y, position))
        elif keep:
            ties.freeze(Axis(y, position), f"reduced by {node.op_type}")
        position += i not in axes or keep
    if node.op_type not in ZERO_PRESERVING:
        ties.shift(y)


def _reduced(node: ir.Node, rank: int) -> set[int] | None:
    """Axes that are reduced, from the front; None if they are not known."""
    if node.op_type.startswith("Arg"):
        return {node.attributes.get_int("axis", 0) % rank}
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        constant = constant_array(node.inputs[1])
        if constant is None:
            return None
        axes = constant.ravel().tolist()
    else:
        axes = list(node.attributes.get_ints("axes", []))
    if not axes:
        return set() if node.attributes.get_int("noop_with_empty_axes", 0) else set(range(rank))
    return {int(a) % rank for a in axes}


def _couple_along(node: ir.Node, ties: Ties) -> None:
    """All outputs have the rank of the input; the axis that is worked along is frozen."""
    x = operand(node, 0)
    rank = None if x is None else ties.rank(x)
    axis = _axis(node)
    if x is None or rank is None or axis is None:
        ties.freeze_node(node, f"{node.op_type} along an axis that is not known")
        return
    for y in node.outputs:
        for i in range(rank):
            if i == axis % rank:
                ties.freeze(Axis(x, i), f"worked along by {node.op_type}")
                ties.freeze(Axis(y, i), f"worked along by {node.op_type}")
            else:
                ties.tie(Axis(x, i), Axis(y, i))


def _axis(node: ir.Node) -> int | None:
    if node.op_type == "TopK":
        return node.attributes.get_int("axis", -1)
    constant = constant_array(node.inputs[1])
    return None if constant is None else int(constant)


RULES = {name: Rule(_couple) for name in (*ZERO_PRESERVING, *SHIFTING, "ArgMax", "ArgMin")}
RULES |= {name: Rule(_couple_along) for name in ("TopK", "CumSum")}

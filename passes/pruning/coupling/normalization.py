"""Normalizations: statistics over an axis freeze it; parameters of a channel go with the channel."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis, Role, Slot, Tensor, operand
from tamis.passes.pruning.axes.kept import Kept
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule

PARAMETERS = (Role.SCALE, Role.OFFSET, Role.OFFSET, Role.SCALE)
"""Of BatchNormalization: scale, bias, mean, variance."""


def _couple_frozen(node: ir.Node, ties: Ties, frozen: Iterable[int]) -> None:
    """Axes of the first input and all outputs: those in ``frozen`` are, the others go together."""
    x, y = operand(node, 0), node.outputs[0]
    axes = set(frozen)
    assert x is not None
    for i in range(ties.rank(x) or 0):
        if i in axes:
            ties.freeze(Axis(x, i), f"normalized over by {node.op_type}")
            ties.freeze(Axis(y, i), f"normalized over by {node.op_type}")
        else:
            ties.tie(Axis(x, i), Axis(y, i))
    for extra in node.outputs[1:]:
        ties.freeze_tensor(extra, f"an extra output of {node.op_type}")


def _rank(node: ir.Node, ties: Ties) -> int | None:
    """Of the first input; freezes the node if it is unknown."""
    x = operand(node, 0)
    rank = None if x is None else ties.rank(x)
    if rank is None:
        ties.freeze_node(node, "a tensor of unknown rank")
    return rank


def _couple_parameters(node: ir.Node, ties: Ties, roles: Iterable[Role]) -> None:
    """Parameters of channels; to the other axes, what is added to each channel is other than zero where they are zero."""
    x, y = operand(node, 0), node.outputs[0]
    assert x is not None
    ties.shifted.update(Axis(y, i) for i in range(ties.rank(y) or 0) if i != 1)
    for index, role in enumerate(roles, 1):
        parameter: Tensor | None = operand(node, index)
        if parameter is not None:
            ties.tie(Axis(parameter, 0), Axis(x, 1))
            if isinstance(parameter, Slot):
                ties.role(Axis(parameter, 0), role)


def _batch(node: ir.Node, ties: Ties) -> None:
    if _rank(node, ties) is not None:
        _couple_frozen(node, ties, ())
        _couple_parameters(node, ties, PARAMETERS)


def _instance(node: ir.Node, ties: Ties) -> None:
    rank = _rank(node, ties)
    if rank is not None:
        _couple_frozen(node, ties, range(2, rank))
        _couple_parameters(node, ties, PARAMETERS[:2])


def _group(node: ir.Node, ties: Ties) -> None:
    """Whole groups go: statistics are of a group."""
    x, scale = operand(node, 0), operand(node, 1)
    groups = node.attributes.get_int("num_groups", 1)
    size = None if x is None or ties.rank(x) is None else ties.size(Axis(x, 1))
    if x is None or size is None or scale is None or ties.size(Axis(scale, 0)) != size:
        ties.freeze_node(node, "GroupNormalization with parameters of groups, or of unknown size")
        return
    _couple_frozen(node, ties, range(2, ties.rank(x) or 0))
    _couple_parameters(node, ties, PARAMETERS[:2])
    each = size // groups
    ties.tie(Axis(x, 1), Axis(x, 1), np.arange(size), np.arange(size) // each * each)


def _repair_group(node: ir.Node, kept: Kept) -> None:
    x = operand(node, 0)
    groups = node.attributes.get_int("num_groups", 1)
    if x is not None and kept.loses(Axis(x, 1)):
        left = kept.size(Axis(x, 1)) * groups // kept.size_before(Axis(x, 1))
        node.attributes["num_groups"] = ir.AttrInt64("num_groups", left)


def _layer(node: ir.Node, ties: Ties) -> None:
    rank = _rank(node, ties)
    if rank is None:
        return
    _couple_frozen(node, ties, range(node.attributes.get_int("axis", -1) % rank, rank))
    for index in range(1, len(node.inputs)):
        parameter = operand(node, index)
        if parameter is not None:
            ties.freeze_tensor(parameter, f"a parameter of {node.op_type}")
            if index == 2:
                ties.shift(node.outputs[0])


def _softmax(node: ir.Node, ties: Ties) -> None:
    """Before opset 13 all axes from ``axis`` on are one."""
    rank = _rank(node, ties)
    if rank is None:
        return
    graph = node.graph
    opset = None if graph is None else graph.opset_imports.get("")
    flat = node.version is not None and node.version < 13 if opset is None else opset < 13
    axis = node.attributes.get_int("axis", 1 if flat else -1) % rank
    _couple_frozen(node, ties, range(axis, rank if flat else axis + 1))
    ties.shift(node.outputs[0])


def _along(node: ir.Node, ties: Ties) -> None:
    rank = _rank(node, ties)
    if rank is not None:
        axes = {"LRN": [1], "LpNormalization": [node.attributes.get_int("axis", -1) % rank]}.get(node.op_type)
        _couple_frozen(
            node, ties, [a % rank for a in node.attributes.get_ints("axes", [0, 2, 3])] if axes is None else axes
        )


RULES = {
    "BatchNormalization": Rule(_batch),
    "InstanceNormalization": Rule(_instance),
    "GroupNormalization": Rule(_group, _repair_group),
    "LayerNormalization": Rule(_layer),
    "RMSNormalization": Rule(_layer),
    "SimplifiedLayerNormalization": Rule(_layer),
    **{name: Rule(_softmax) for name in ("Softmax", "LogSoftmax", "Hardmax")},
    **{name: Rule(_along) for name in ("LRN", "LpNormalization", "MeanVarianceNormalization")},
}

"""Whether the branches of an If can both be computed, whatever the condition is."""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.operators import has_subgraph, is_deterministic

INDEXED = frozenset({"Compress", "Gather", "GatherElements", "GatherND", "OneHot", "Scatter"}) | {
    "ScatterElements",
    "ScatterND",
    "TensorScatter",
}
DIVISIONS = frozenset({"Div", "Mod"})


def branches_of(node: ir.Node) -> tuple[ir.Graph, ir.Graph]:
    """The branches of an If: where the condition is true, where it is false."""
    return node.attributes["then_branch"].as_graph(), node.attributes["else_branch"].as_graph()


def why_unsafe(branch: ir.Graph, model: ir.Model) -> str | None:
    """Why a branch must not be computed where the condition does not ask for it; None if it may.

    A branch may rely on the condition: a size that fits, an index that exists, a divisor that is not zero.
    """
    for node in branch:
        if has_subgraph(node):
            return "a branch has a subgraph of its own"
        if node.op_type != "Constant" and not is_deterministic(node, model):
            return "a branch is not a function of its inputs alone"
        if any(v.name and (v.shape is None or not v.shape.is_static()) for v in node.outputs):
            return "a branch has shapes that are not known"
        if _may_miss(node):
            return "a branch has indices that may be out of bounds"
        if node.op_type in DIVISIONS and not _divides_safely(node):
            return "a branch has an integer division"
    return None


def _may_miss(node: ir.Node) -> bool:
    if node.op_type not in INDEXED:
        return False
    indices, data = constant_array(node.inputs[1]), node.inputs[0]
    if node.op_type != "Gather" or indices is None or data is None or data.shape is None:
        return True
    size = data.shape[node.attributes.get_int("axis", 0)]
    return not isinstance(size, int) or bool(((indices < -size) | (indices >= size)).any())


def _divides_safely(node: ir.Node) -> bool:
    dtype = node.outputs[0].dtype
    if dtype is None or not dtype.is_integer():
        return dtype is not None
    divisor = constant_array(node.inputs[1])
    return divisor is not None and not (divisor == 0).any() and not (divisor == -1).any()


def why_not_alike(one: ir.Value, other: ir.Value) -> str | None:
    """Why Where cannot choose between two results of an If; None if it can."""
    if one.dtype is None or one.dtype != other.dtype:
        return "the branches have different element types"
    if one.shape is None or other.shape is None or not one.shape.is_static() or not other.shape.is_static():
        return "the branches have shapes that are not known"
    return None if one.shape == other.shape else "the branches have different shapes"

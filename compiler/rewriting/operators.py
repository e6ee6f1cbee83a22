"""What the ONNX schemas say about an operator: whether it is known, and whether equal inputs give equal outputs."""

from __future__ import annotations

from functools import cache

import onnx_ir as ir


@cache
def _is_deterministic(op_type: str, opset: int) -> bool:
    import onnx

    if not onnx.defs.has(op_type, max_inclusive_version=opset):
        return False
    schema = onnx.defs.get_schema(op_type, opset)
    deterministic = onnx.defs.OpSchema.NodeDeterminism.Deterministic
    return bool(schema.node_determinism == deterministic)  # type: ignore[attr-defined]


def is_deterministic(node: ir.Node, model: ir.Model) -> bool:
    """True if ``node`` is a standard operator whose outputs depend on its inputs alone.

    Random operators, control flow, functions of the model and operators of other domains are not.
    """
    opset = model.graph.opset_imports.get("", 0)
    if node.domain != "" or node.op_identifier() in model.functions:
        return False
    return _is_deterministic(node.op_type, opset)


def has_subgraph(node: ir.Node) -> bool:
    """True if an attribute of ``node`` holds a graph."""
    return any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())

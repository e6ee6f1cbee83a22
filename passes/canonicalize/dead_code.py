"""Remove what no output depends on: nodes, initializers, functions, opset imports.

onnx-ir's pass for nodes is not used: it drops optional outputs and attributes as well, without
saying that it did.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedOpsetsPass


def remove_dead_nodes(model: ir.Model) -> int:
    """Remove nodes, inner graphs first, none of whose outputs is read; a value that a subgraph captures is read.

    Returns:
        How many nodes are gone.
    """
    removed = 0
    for graph in reversed(list(model.graphs())):
        for node in reversed(graph):
            if not any(v.uses() or v.is_graph_output() for v in node.outputs):
                discard(graph, node)
                removed += 1
    return removed


def discard(graph: ir.Graph, node: ir.Node) -> None:
    """Remove ``node``, after letting go of what the nodes of its subgraphs capture from outer graphs."""
    for attribute in node.attributes.values():
        for inner in _graphs(attribute):
            for child in ir.traversal.RecursiveGraphIterator(inner):
                for index in range(len(child.inputs)):
                    child.replace_input_with(index, None)
    graph.remove(node, safe=True)


def _graphs(attribute: ir.Attr) -> list[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    return list(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS else []


def remove_dead_initializers(model: ir.Model) -> int:
    """Remove initializers that nothing reads and that are neither graph inputs nor outputs; returns their number."""
    removed = 0
    for graph in model.graphs():
        for name, value in tuple(graph.initializers.items()):
            if not (value.uses() or value.is_graph_input() or value.is_graph_output()):
                graph.initializers.pop(name)
                removed += 1
    return removed


def remove_dead_imports(model: ir.Model) -> int:
    """Remove functions that nothing calls, and opset imports that nothing needs; returns their number."""
    before = len(model.functions) + _imports(model)
    RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    RemoveUnusedOpsetsPass()(model)
    return before - len(model.functions) - _imports(model)


def _imports(model: ir.Model) -> int:
    return len(model.graph.opset_imports) + sum(len(f.opset_imports) for f in model.functions.values())

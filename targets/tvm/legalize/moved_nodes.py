"""Move what is inside a subgraph, or another model, into a graph."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from tamis.compiler.rewriting.graph_edit import Names


def rename(graphs: Iterable[ir.Graph], names: Names) -> None:
    """Give all nodes and values of ``graphs`` names that are free: names in two subgraphs may be the same."""
    for graph in graphs:
        for node in graph:
            node.name = names.fresh(node.name or node.op_type)
        for value in (*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)):
            if value.name:
                value.name = names.fresh(value.name)


def move_before(node: ir.Node, inner: ir.Graph) -> list[ir.Value]:
    """Move the nodes and constants of ``inner``, whose names must be free, before ``node``.

    Returns:
        What were the outputs of ``inner``.
    """
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    results, moved = list(inner.outputs), list(inner)
    inner.outputs.clear()
    for name, value in tuple(inner.initializers.items()):
        inner.initializers.pop(name)
        graph.register_initializer(value)
    inner.remove(moved)
    graph.insert_before(node, moved)
    return results

"""Replace a node with several outputs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from tamis.compiler.rewriting.node_pass import remove_unread_above
from tamis.compiler.rewriting.rewrite_pass import Builder


def is_read(output: ir.Value) -> bool:
    """Whether anything needs ``output``."""
    return bool(output.uses()) or output.is_graph_output()


def replace_outputs(node: ir.Node, values: Sequence[ir.Value | None], build: Builder) -> None:
    """Let ``values`` stand for the outputs of ``node``; ``node`` goes, and so does what only it has read.

    Where an output is a graph output whose name a value cannot take over, an Identity gives it.

    Args:
        node: Of the graph that ``build`` puts nodes into.
        values: One an output; None where nothing reads the output.
        build: Makes nodes before ``node``.
    """
    graph, inputs = node.graph, list(node.inputs)
    assert graph is not None
    for output, value in zip(node.outputs, values, strict=True):
        if not is_read(output):
            continue
        assert value is not None
        renamed = output.is_graph_output()
        producer = value.producer()
        if renamed and (producer is None or producer.graph is not graph or value.is_graph_output()):
            value = build.op("Identity", value)
        output.replace_all_uses_with(value, replace_graph_outputs=True)
        if value.producer() is not None and (renamed or value.shape is None):
            value.type, value.shape = output.type or value.type, output.shape
        if renamed:
            value.name, output.name = output.name, None
    graph.remove(node, safe=True)
    remove_unread_above(inputs, graph, build)

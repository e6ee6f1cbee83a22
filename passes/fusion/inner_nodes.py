"""The nodes between the inputs and the end of what a fusion replaces."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor


def nodes_between(root: ir.Node, values: Iterable[ir.Value]) -> tuple[ir.Node, ...]:
    """All nodes of one graph that compute ``root`` from ``values`` and constants, readers first."""
    ends, seen, ordered = set(values), {root}, list[ir.Node]()

    def visit(node: ir.Node) -> None:
        for value in node.inputs:
            end = value is None or value in ends or constant_tensor(value) is not None
            producer = None if end or value is None else value.producer()
            if producer is not None and producer not in seen and producer.graph is root.graph:
                seen.add(producer)
                visit(producer)
        ordered.append(node)

    visit(root)
    return tuple(reversed(ordered))

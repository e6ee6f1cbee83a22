"""Edits of a graph that keep it valid: give a node's output to another value, find names that are free."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir


def bypass(node: ir.Node, replacement: ir.Value) -> bool:
    """Let every user of ``node``'s only output use ``replacement``, and remove ``node``.

    Where the output is a graph output, ``replacement`` takes over its name; that is possible only if
    a node of the same graph produces it and it is not a graph output already. Nothing is changed
    otherwise: names of graph inputs and outputs stay as they are.

    Returns:
        True if the node is gone.
    """
    output, graph = node.outputs[0], node.graph
    assert graph is not None
    renamed = output.is_graph_output()
    if renamed and not _may_be_renamed(replacement, node):
        return False
    name, type_, shape = output.name, output.type, output.shape
    output.replace_all_uses_with(replacement, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if renamed:
        replacement.name, replacement.type, replacement.shape = name, type_, shape
    return True


def _may_be_renamed(value: ir.Value, user: ir.Node) -> bool:
    producer = value.producer()
    return producer is not None and producer.graph is user.graph and not value.is_graph_output()


def sole_user(value: ir.Value) -> ir.Node | None:
    """The node that is the only one to read ``value``, once; None if there is none, several, or a graph output."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    return next(iter(uses)).node


def drop_if_unused(values: Iterable[ir.Value | None]) -> None:
    """Take initializers that nothing reads any more out of their graph."""
    for value in values:
        if value is None or not value.is_initializer() or value.is_graph_input() or value.is_graph_output():
            continue
        if not value.uses():
            assert value.graph is not None and value.name is not None
            value.graph.initializers.pop(value.name)


class Names:
    """Names that are free in a model.

    Args:
        model: Its names, in all graphs, are taken; linear in the size of the model.
    """

    def __init__(self, model: ir.Model) -> None:
        self._taken: set[str | None] = set()
        self._counts: dict[str, int] = {}
        for graph in model.graphs():
            self._taken.update(v.name for v in graph.inputs)
            self._taken.update(graph.initializers)
            for node in graph:
                self._taken.add(node.name)
                self._taken.update(v.name for v in node.outputs)

    def fresh(self, base: str) -> str:
        """``base`` if it is free, else ``base_1``, ``base_2``, ...; the name is taken afterwards."""
        name, count = base, self._counts.get(base, 0)
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._counts[base] = count
        self._taken.add(name)
        return name

"""Sums of several tensors, spelled as one Sum, a chain or a tree of Adds, or a mix of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor
from tamis.compiler.rewriting.graph_edit import sole_user

OPERATORS = frozenset({"Add", "Sum"})


@dataclass(frozen=True)
class SumTree:
    """A sum whose intermediate results nothing else reads.

    Args:
        nodes: The Adds and Sums, the last one first, readers before what they read.
        terms: What is summed, in order; a value may occur several times.
    """

    nodes: tuple[ir.Node, ...]
    terms: tuple[ir.Value, ...]

    @property
    def root(self) -> ir.Node:
        """The node that gives the sum."""
        return self.nodes[0]


def sum_trees(graph: ir.Graph) -> Iterator[SumTree]:
    """The largest sums of ``graph``, the last one first; sums with a constant are terms of others, not trees."""
    inside: set[ir.Node] = set()
    for node in [node for node in reversed(graph) if _is_sum(node)]:
        if node not in inside:
            tree = _grow(node)
            inside.update(tree.nodes)
            yield tree


def _is_sum(node: ir.Node | None) -> bool:
    if node is None or node.domain != "" or node.op_type not in OPERATORS:
        return False
    return not any(v is None or constant_tensor(v) is not None for v in node.inputs)


def _grow(root: ir.Node) -> SumTree:
    nodes, terms = [root], []
    left = [v for v in reversed(root.inputs) if v is not None]
    while left:
        value = left.pop()
        producer = value.producer()
        if producer is not None and producer.graph is root.graph and _is_sum(producer) and sole_user(value) is not None:
            nodes.append(producer)
            left.extend(v for v in reversed(producer.inputs) if v is not None)
        else:
            terms.append(value)
    return SumTree(tuple(nodes), tuple(terms))

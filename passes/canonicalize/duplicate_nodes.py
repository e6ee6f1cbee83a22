"""Compute equal things once (common subexpression elimination).

onnx-ir's pass of that name is not used: it would merge Bernoulli, Dropout in training and operators of
other domains, and takes 0.0 and -0.0 for the same attribute.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.operators import has_subgraph, is_deterministic

Key = tuple[Hashable, ...]


def merge_duplicate_nodes(model: ir.Model) -> int:
    """In each graph, let the users of a node use an earlier node with the same operator, attributes and inputs.

    Only deterministic standard operators without subgraphs are merged. Of two graph outputs each keeps
    its node.

    Returns:
        How many nodes are gone.
    """
    return sum(_merge_in(graph, model) for graph in model.graphs())


def _merge_in(graph: ir.Graph, model: ir.Model) -> int:
    first: dict[Key, ir.Node] = {}
    merged = 0
    for node in graph:
        if has_subgraph(node) or not is_deterministic(node, model):
            continue
        earlier = first.setdefault(_key(node), node)
        if earlier is not node:
            merged += _merge(node, earlier)
    return merged


def _merge(node: ir.Node, earlier: ir.Node) -> bool:
    pairs = list(zip(node.outputs, earlier.outputs, strict=True))
    if any(new.is_graph_output() and old.is_graph_output() for new, old in pairs):
        return False
    renamed = [(old, new.name) for new, old in pairs if new.is_graph_output()]
    for new, old in pairs:
        new.replace_all_uses_with(old, replace_graph_outputs=True)
    graph = node.graph
    assert graph is not None
    graph.remove(node, safe=True)
    for old, name in renamed:
        old.name = name
    return True


def _key(node: ir.Node) -> Key:
    attributes = tuple((name, _frozen(a)) for name, a in sorted(node.attributes.items()))
    present = tuple(bool(v.name) for v in node.outputs)
    return node.op_type, tuple(map(id, node.inputs)), present, attributes


def _frozen(attribute: ir.Attr) -> Hashable:
    """The value of an attribute, equal exactly if the bits are."""
    match attribute.type:
        case ir.AttributeType.INT | ir.AttributeType.STRING:
            return str(attribute.value)
        case ir.AttributeType.INTS | ir.AttributeType.STRINGS:
            return tuple(map(str, attribute.value))
        case ir.AttributeType.FLOAT | ir.AttributeType.FLOATS:
            return np.asarray(attribute.value, np.float64).tobytes()
    return bytes(ir.serde.serialize_attribute(attribute).SerializeToString(deterministic=True))

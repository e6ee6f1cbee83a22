"""Put the branch that runs in the place of an If whose condition is known."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.canonicalize.dead_code import discard


def inline_branches(model: ir.Model) -> int:
    """Inline the live branch of every If with a constant condition, inner graphs first.

    Values of the branch get new names where a name occurs elsewhere in the model. An Identity gives each
    output of the If, so that captured values and graph outputs need no care here.

    Returns:
        How many Ifs are gone.
    """
    known = [
        (graph, node, bool(flag))
        for graph in reversed(list(model.graphs()))
        for node in graph
        if node.op_type == "If" and node.domain == "" and (flag := constant_array(node.inputs[0])) is not None
    ]
    if known:
        names, counts = Names(model), _occurrences(model)
        for graph, node, condition in known:
            branch = node.attributes["then_branch" if condition else "else_branch"].as_graph()
            _rename(branch, names, counts)
            _inline(graph, node, branch)
    return len(known)


def _occurrences(model: ir.Model) -> Counter[str | None]:
    counts: Counter[str | None] = Counter()
    for graph in model.graphs():
        counts.update(v.name for v in graph.inputs)
        counts.update(tuple(graph.initializers))
        counts.update(v.name for node in graph for v in node.outputs)
    return counts


def _rename(branch: ir.Graph, names: Names, counts: Counter[str | None]) -> None:
    for value in (*branch.initializers.values(), *(v for node in branch for v in node.outputs)):
        if value.name and counts[value.name] > 1:
            counts[value.name] -= 1
            value.name = names.fresh(value.name)


def _inline(graph: ir.Graph, node: ir.Node, branch: ir.Graph) -> None:
    results, moved = list(branch.outputs), list(branch)
    branch.outputs.clear()
    for name, value in tuple(branch.initializers.items()):
        branch.initializers.pop(name)
        graph.register_initializer(value)
    branch.remove(moved)
    graph.insert_before(node, moved)
    for output, result in zip(node.outputs, results, strict=True):
        identity = ir.node("Identity", [result])
        graph.insert_before(node, identity)
        copy = identity.outputs[0]
        copy.type, copy.shape = output.type or result.type, output.shape
        output.replace_all_uses_with(copy, replace_graph_outputs=True)
        copy.name, output.name = output.name, None
    discard(graph, node)

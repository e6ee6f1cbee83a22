"""What differs between two lowered models: nodes by operator, weights by name."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tamis.compiler.bundle import Bundle
from tamis.compiler.diffing.change import Change

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_NAMED = 12
"""Weights named of each kind of change; the others are counted."""


def layer_changes(a: Bundle, b: Bundle) -> Iterator[Change]:
    """Changes of the graph and the weights, where both bundles show them.

    Raises:
        ModelError: A lowered model cannot be read.
    """
    if a.artifact.files == b.artifact.files and all(a.report.files[f] == b.report.files[f] for f in a.artifact.files):
        return
    graphs = [_graph(bundle) for bundle in (a, b)]
    if graphs[0] is None or graphs[1] is None:
        names = [bundle.report.artifact[0] for bundle in (a, b)]
        yield Change("layers", "lowered model, which does not show its layers", *names)
        return
    one, two = (_operators(graph) for graph in graphs if graph is not None)
    for name in sorted({*one, *two}):
        if one[name] != two[name]:
            yield Change("layers", f"{name} nodes", one[name], two[name])
    yield from _weights(graphs[0], graphs[1])


def _graph(bundle: Bundle) -> ir.Graph | None:
    from tamis.compiler.model_file import load_model

    first = bundle.report.artifact[0]
    return load_model(bundle.folder / first).graph if first.endswith(".onnx") else None


def _operators(graph: ir.Graph) -> Counter[str]:
    return Counter(f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in graph.all_nodes())


def _weights(a: ir.Graph, b: ir.Graph) -> Iterator[Change]:
    first, second = ({n: v.const_value for n, v in g.initializers.items() if v.const_value is not None} for g in (a, b))
    kinds: dict[str, list[Change]] = {"changed": [], "removed": [], "added": []}
    for name in sorted({*first, *second}):
        one, two = first.get(name), second.get(name)
        if one is None or two is None:
            kind = "added" if one is None else "removed"
            kinds[kind].append(Change("layers", f"weight {name}", _kind(one), _kind(two)))
        elif _kind(one) != _kind(two):
            kinds["changed"].append(Change("layers", f"weight {name}", _kind(one), _kind(two)))
        elif (values := (_digest(one), _digest(two)))[0] != values[1]:
            kinds["changed"].append(Change("layers", f"weight {name}, values", *values))
    for kind, changes in kinds.items():
        yield from changes[:MOST_NAMED]
        more = len(changes) - MOST_NAMED
        if more > 0:
            yield Change("layers", f"{kind} weights that are not named here", None, more)


def _kind(weight: Any) -> str | None:
    return None if weight is None else f"{weight.dtype.name.lower()}{list(weight.shape.numpy())}"


def _digest(weight: Any) -> str:
    return f"sha256 {hashlib.sha256(weight.tobytes()).hexdigest()[:12]}"

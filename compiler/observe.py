"""Values of inner tensors on samples, a limited number of bytes at a time.

A copy of the model gets the values as its outputs and is computed as it is written; the copy shares the weights.
Values that do not fit into ``memory`` together are observed in groups, in the order in which they are computed, and
each group runs only the nodes that it needs. One group is open at a time, so that memory depends neither on the number
of samples nor on that of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.errors import DataError, PreconditionError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.rewriting.graph_edit import Names
from tamis.compiler.runnable import load_unoptimized

Array = np.ndarray[Any, np.dtype[Any]]
MEMORY = 256 << 20
"""Bytes of observed values that are held at once."""
UNKNOWN_BYTES = 8
"""Size of an element of unknown type."""


def observe(
    model: ir.Model, names: Iterable[str], samples: Callable[[], Iterable[Feeds]], *, memory: int = MEMORY
) -> Iterator[tuple[int, dict[str, Array]]]:
    """The values called ``names``, sample by sample.

    Args:
        model: Left as it is.
        names: Graph inputs, and outputs of nodes of the main graph.
        samples: Gives the samples from the start each time; called once for each group of values.
        memory: Bytes of values that are held at once; a single value may be larger.

    Yields:
        (Index of the sample, name -> array). If the values fit into ``memory`` together, one dict a sample; otherwise
        all samples for the first group of values, then all for the next.

    Raises:
        PreconditionError: A value is not there, lies in a subgraph, is constant, or is not a tensor.
        DataError: There are no samples.
        LoweringError, RuntimeFailureError: The model cannot be run.
    """
    wanted = list(dict.fromkeys(names))
    computed, fed = _sorted(model, wanted)
    if not wanted:
        return
    first = next(iter(samples()), None)
    if first is None:
        raise DataError("there are no samples to observe", expected="at least one")
    groups = _groups(model, computed, first, memory) or [[]]
    given = {name for name in wanted if name in fed}
    for group in groups:
        runner = load_unoptimized(_exposing(model, group)) if group else None
        for index, feeds in enumerate(samples()):
            found = {name: np.asarray(feeds[name]) for name in given}
            found |= {} if runner is None else runner(feeds)
            yield index, found
            del found
        given = set()


def _sorted(model: ir.Model, wanted: Sequence[str]) -> tuple[list[str], set[str]]:
    """Those of ``wanted`` that nodes compute, in that order, and the graph inputs."""
    left = set(wanted)
    inputs = {str(v.name) for v in model.graph.inputs}
    computed = []
    for node in model.graph:
        for value in node.outputs:
            if value.name in left:
                _require_tensor(value)
                computed.append(str(value.name))
    for name in left.difference(computed, inputs):
        raise _not_there(model, name)
    return computed, inputs


def _require_tensor(value: ir.Value) -> None:
    if isinstance(value.type, ir.SequenceType | ir.OptionalType):
        raise PreconditionError(
            "cannot be observed", where=f"value {value.name!r}", expected="a tensor", found=str(value.type)
        )


def _not_there(model: ir.Model, name: str) -> PreconditionError:
    where = f"value {name!r}"
    if name in model.graph.initializers:
        return PreconditionError("cannot be observed", where=where, expected="a computed value", found="a constant")
    inside = any(v.name == name for graph in model.graph.subgraphs() for node in graph for v in node.outputs)
    found = "a value in the graph of an If, Loop or Scan" if inside else "no such value"
    return PreconditionError("cannot be observed", where=where, expected="a value of the main graph", found=found)


def _groups(model: ir.Model, names: Sequence[str], feeds: Feeds, memory: int) -> list[list[str]]:
    """``names`` cut into runs whose arrays for ``feeds`` take at most ``memory`` bytes together."""
    if not names:
        return []
    groups: list[list[str]] = [[]]
    held = 0
    for name, nbytes in _sizes(model, names, feeds).items():
        if groups[-1] and held + nbytes > memory:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += nbytes
    return groups


def _sizes(model: ir.Model, names: Sequence[str], feeds: Feeds) -> dict[str, int]:
    """Bytes of each value for ``feeds``, from a run that gives out the numbers of elements only."""
    counting = _pruned_copy(model, names)
    values = {str(v.name): v for node in counting.graph for v in node.outputs}
    fresh = Names(counting)
    counters = {}
    for name in names:
        counter = ir.Node("", "Size", [values[name]], name=fresh.fresh(f"{name}_size"))
        counter.outputs[0].name = fresh.fresh(f"{name}_elements")
        counter.outputs[0].dtype, counter.outputs[0].shape = ir.DataType.INT64, ir.Shape(())
        counters[name] = counter
    counting.graph.extend(counters.values())
    counting.graph.outputs.extend(c.outputs[0] for c in counters.values())
    found = load_unoptimized(counting)(feeds)
    return {name: int(found[str(c.outputs[0].name)]) * _item_bytes(values[name].dtype) for name, c in counters.items()}


def _item_bytes(dtype: ir.DataType | None) -> int:
    if dtype is None or dtype is ir.DataType.STRING:
        return UNKNOWN_BYTES
    return max(1, dtype.bitwidth // 8)


def _exposing(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy whose outputs are ``names`` alone."""
    copy = _pruned_copy(model, names)
    values = {v.name: v for node in copy.graph for v in node.outputs}
    copy.graph.outputs.extend(values[name] for name in names)
    return copy


def _pruned_copy(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy without outputs, with the nodes that ``names`` depend on; weights are shared."""
    copy = model.clone()
    graph = copy.graph
    del graph.outputs[:]
    producers = {str(v.name): node for node in graph for v in node.outputs if v.name}
    todo = [producers[name] for name in names]
    needed: set[ir.Node] = set()
    while todo:
        node = todo.pop()
        if node not in needed:
            needed.add(node)
            todo.extend(p for v in reads(node) if (p := v.producer()) is not None)
    graph.remove([node for node in reversed(graph) if node not in needed], safe=True)
    used = {v for node in needed for v in reads(node)}
    for name, value in list(graph.initializers.items()):
        if value not in used and not value.is_graph_input():
            del graph.initializers[name]
    return copy


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """What a node, and graphs inside it, read."""
    yield from (v for v in node.inputs if v is not None)
    for attribute in node.attributes.values():
        graphs = (
            [attribute.as_graph()]
            if attribute.type is ir.AttributeType.GRAPH
            else attribute.as_graphs()
            if attribute.type is ir.AttributeType.GRAPHS
            else ()
        )
        for graph in graphs:
            yield from graph.outputs
            for inner in graph.all_nodes():
                yield from (v for v in inner.inputs if v is not None)

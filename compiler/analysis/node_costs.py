"""What a node costs by its shapes alone: MACs, parameters, bytes read and written.

Costs are of a group of nodes that run as one kernel, such as a convolution with its activation: a value that only the
group reads never reaches memory. A single node is a group of one.

Graphs inside a node count under it: of an If the branch with more MACs, of a Loop or Scan one iteration.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from tamis.compiler.analysis.macs import macs_of
from tamis.compiler.analysis.tensor_size import elements, nbytes, total

VIEWS = frozenset({"Constant", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"})
"""Operators that need not move their data."""
PART_READERS = frozenset({"Gather", "GatherElements", "GatherND", "Slice"})
"""Operators that read no more of their first input than they write."""
MOVERS = frozenset(
    {"Concat", "DepthToSpace", "Expand", "Pad", "ScatterElements", "ScatterND", "SpaceToDepth", "Split", "Tile"}
    | {"Transpose", *VIEWS, *PART_READERS}
)
"""Operators that compute nothing."""
NOT_PARAMETERS = frozenset({ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING})
"""Element types of constants that are shapes, axes, indices or names rather than parameters."""
LOOPS = frozenset({"Loop", "Scan"})


@dataclass(frozen=True)
class Cost:
    """Costs of a group of nodes; None where a size is not known.

    Args:
        macs: Multiply-accumulate operations.
        element_ops: Elements that nodes without MACs compute on; those of pure data movement count as 0.
        parameters: Elements of the weights that the group reads.
        read: Bytes of activations and weights that the group reads, each value once.
        written: Bytes of the values that others read.
        note: What is special, in a few words.
    """

    macs: int | None
    element_ops: int | None
    parameters: int
    read: int | None
    written: int | None
    note: str = ""

    @property
    def moved(self) -> int | None:
        """Bytes read and written."""
        return total((self.read, self.written))


def group_cost(nodes: Sequence[ir.Node], functions: Collection[ir.OperatorIdentifier] = ()) -> Cost:
    """Costs of nodes that run as one kernel.

    Args:
        nodes: Of one graph.
        functions: Operators that the model defines itself; their costs are not known.
    """
    bodies = [body for node in nodes if (body := _inner_cost(node, functions)) is not None]
    views = all(node.op_type in VIEWS and node.domain == "" for node in nodes)
    return Cost(
        macs=total([*(_macs(node, functions) for node in nodes), *(b.macs for b in bodies)]),
        element_ops=total([*(_element_ops(node, functions) for node in nodes), *(b.element_ops for b in bodies)]),
        parameters=count_parameters(nodes),
        read=0 if views else total([*_reads(nodes), *(b.read for b in bodies)]),
        written=0 if views else total([*_writes(nodes), *(b.written for b in bodies)]),
        note=", ".join(dict.fromkeys(b.note for b in bodies)),
    )


def parameters(nodes: Sequence[ir.Node]) -> Iterator[ir.Value]:
    """The weights that nodes, and graphs inside them, read; each once."""
    seen: dict[ir.Value, None] = {}
    for node in nodes:
        for inner in (node, *(n for graph in _graphs(node) for n in graph.all_nodes())):
            seen.update(dict.fromkeys(v for v in inner.inputs if v is not None and v.const_value is not None))
    for value in seen:
        if value.const_value is not None and value.const_value.dtype not in NOT_PARAMETERS:
            yield value


def count_parameters(nodes: Sequence[ir.Node]) -> int:
    """Elements of the weights that nodes read, each weight once."""
    return sum(elements(value) or 0 for value in parameters(nodes))


def _macs(node: ir.Node, functions: Collection[ir.OperatorIdentifier]) -> int | None:
    return None if node.op_identifier() in functions else macs_of(node)


def _element_ops(node: ir.Node, functions: Collection[ir.OperatorIdentifier]) -> int | None:
    if _macs(node, functions) != 0 or (node.domain == "" and node.op_type in MOVERS) or _graphs(node):
        return 0
    values = [v for v in (*node.inputs, *node.outputs) if v is not None and v.name]
    sizes = [elements(v) for v in values]
    return None if None in sizes else max((s for s in sizes if s is not None), default=0)


def _reads(nodes: Sequence[ir.Node]) -> Iterator[int | None]:
    inside = set(nodes)
    seen: dict[ir.Value, int | None] = {}
    for node in nodes:
        for index, value in enumerate(node.inputs):
            if value is not None and value.producer() not in inside:
                seen[value] = _wider(seen.get(value, 0), _read(node, index, value))
    yield from seen.values()


def _wider(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else max(a, b)


def _read(node: ir.Node, index: int, value: ir.Value) -> int | None:
    if node.domain == "" and node.op_type in ("Shape", "Size"):
        return 0
    size = nbytes(value)
    if node.domain == "" and node.op_type in PART_READERS and index == 0:
        written = nbytes(node.outputs[0])
        return None if size is None or written is None else min(size, written)
    return size


def _writes(nodes: Sequence[ir.Node]) -> Iterator[int | None]:
    inside = set(nodes)
    for node in nodes:
        for value in node.outputs:
            outside = any(use.node not in inside for use in value.uses())
            if outside or value.is_graph_output():
                yield nbytes(value)


def _graphs(node: ir.Node) -> list[ir.Graph]:
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type is ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return found


def _inner_cost(node: ir.Node, functions: Collection[ir.OperatorIdentifier]) -> Cost | None:
    """Costs of the graphs inside ``node``, one after the other; None if there are none."""
    bodies = [_graph_cost(graph, functions) for graph in _graphs(node)]
    if not bodies:
        return None
    note = "one iteration" if node.op_type in LOOPS else "the larger branch" if node.op_type == "If" else "once"
    largest = max(bodies, key=lambda c: (c.macs is None, c.macs or 0, c.moved or 0))
    return Cost(largest.macs, largest.element_ops, largest.parameters, largest.read, largest.written, note)


def _graph_cost(graph: ir.Graph, functions: Collection[ir.OperatorIdentifier]) -> Cost:
    parts = [group_cost([node], functions) for node in graph]
    macs, ops = total(p.macs for p in parts), total(p.element_ops for p in parts)
    return Cost(macs, ops, 0, total(p.read for p in parts), total(p.written for p in parts))

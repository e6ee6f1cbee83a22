"""Regions of nodes that can be computed before a Transpose instead of after it, and what that saves.

A region grows from a transposed value to all connected nodes that commute with Transpose. Each of its values has a
*turned* form, the value before the Transpose. What crosses the border costs a Transpose unless it was one already.
Nodes whose removal makes the region no dearer are then peeled off, so that what stays is worth it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import prod

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor
from tamis.passes.layout.absorbers import absorber
from tamis.passes.layout.permutation import Perm, compose, is_identity, perm_of, rank_of
from tamis.passes.layout.transparent import turn
from tamis.passes.layout.turned import Turned

UNKNOWN_SIZE = 16
"""What an unknown size counts as where elements are compared."""
MAX_TRIES = 4
"""In how many regions of one sweep a node may be tried: a sweep stays linear however the orders mix."""

Cost = tuple[int, int]
"""Number of Transposes, and elements that they move."""


def orders_behind(graph: ir.Graph, opset: int, foreign: Callable[[ir.Node], bool]) -> dict[ir.Node, tuple[int, Perm]]:
    """For each node that a Transpose could be moved behind, one after the other: from which input, in which order."""
    orders: dict[ir.Node, tuple[int, Perm]] = {}
    perms: dict[ir.Value | None, Perm] = {}
    for node in graph:
        perm = perm_of(node)
        if perm is not None:
            perms[node.outputs[0]] = perm
            continue
        index = next((i for i, value in enumerate(node.inputs) if value in perms), None)
        if index is None or foreign(node):
            continue
        order = perms[node.inputs[index]]
        turned = turn(node, index, order, opset)
        if not isinstance(turned, str):
            orders[node] = index, order
            pairs = zip(node.outputs, turned.outputs, strict=True)
            perms.update((value, perm) for value, perm in pairs if not is_identity(perm))
    return orders


@dataclass
class Readers:
    """What reads a value, in numbers.

    Args:
        inside: Nodes of the region.
        outside: What needs the value as it is: other nodes, subgraphs, a graph output.
        turns: Transposes that stay with another order.
        cancels: Transposes that vanish.
        absorbs: Nodes that can take the turned form.
    """

    inside: int = 0
    outside: int = 0
    turns: int = 0
    cancels: int = 0
    absorbs: int = 0


@dataclass
class Region:
    """Nodes of one graph, and the order of each value at them: turned form -> value.

    Args:
        graph: Of the nodes.
        opset: Of the standard operators.
        foreign: Whether a node is a function of the model.
        orders: From ``orders_behind``.
        perms: For each value.
        nodes: What each node becomes.
        readers: Of each value.
        obstacle: The first reason why the region does not go on.
    """

    graph: ir.Graph
    opset: int
    foreign: Callable[[ir.Node], bool]
    orders: Mapping[ir.Node, tuple[int, Perm]]
    perms: dict[ir.Value, Perm] = field(default_factory=dict)
    nodes: dict[ir.Node, Turned] = field(default_factory=dict)
    readers: dict[ir.Value, Readers] = field(default_factory=dict)
    obstacle: str | None = None

    def grow(self, seed: ir.Value, perm: Perm, tries: dict[ir.Node, int]) -> None:
        """Take in what is connected to ``seed``."""
        outputs = set(self.graph.outputs)
        self.perms[seed] = perm
        queue = deque([seed])
        while queue:
            value = queue.popleft()
            perm = self.perms[value]
            if is_identity(perm):
                continue
            for node, turned in self._neighbours(value, perm, tries):
                new = self._agree(node, turned, outputs)
                if new is not None:
                    self.nodes[node] = turned
                    self.perms.update(new)
                    queue.extend(new)
        for value in self.perms:
            self.readers[value] = self._count(value)

    def _neighbours(self, value: ir.Value, perm: Perm, tries: dict[ir.Node, int]) -> Iterator[tuple[ir.Node, Turned]]:
        places = [(use.node, use.idx) for use in value.uses()]
        producer = value.producer()
        if producer is not None and producer.inputs:
            places.append((producer, -1))
        for node, index in places:
            if node.graph is not self.graph or node in self.nodes or perm_of(node) is not None:
                continue
            if tries.get(node, 0) >= MAX_TRIES or self.foreign(node):
                continue
            turned = self._above(node, value, perm) if index < 0 else turn(node, index, perm, self.opset, self.rank)
            if isinstance(turned, str):
                if index >= 0:
                    self.obstacle = self.obstacle or turned
                continue
            tries[node] = tries.get(node, 0) + 1
            yield node, turned

    def _above(self, node: ir.Node, value: ir.Value, perm: Perm) -> Turned | str:
        """``node`` if its output ``value`` is turned."""
        likely = [self.orders[node]] if node in self.orders else []
        alike = (i for i, v in enumerate(node.inputs) if constant_tensor(v) is None and self.rank(v) == len(perm))
        for index, order in (*likely, *((i, perm) for i in islice(alike, 1))):
            turned = turn(node, index, order, self.opset, self.rank)
            if not isinstance(turned, str) and turned.outputs[value.index() or 0] == perm:
                return turned
        return "the result is not turned in this way"

    def _agree(self, node: ir.Node, turned: Turned, outputs: set[ir.Value]) -> dict[ir.Value, Perm] | None:
        """Values that get an order through ``node``; None if one of them has another already."""
        new: dict[ir.Value, Perm] = {}
        for value, perm in (
            *zip(node.inputs, turned.inputs, strict=True),
            *zip(node.outputs, turned.outputs, strict=True),
        ):
            if value is None or perm is None or constant_tensor(value) is not None or is_same(value, perm):
                continue
            known = self.perms.get(value, new.get(value))
            if known is None:
                new[value] = perm
            elif known != perm:
                self.obstacle = self.obstacle or f"{node.op_type} reads operands in different orders"
                return None
        if any(v.is_graph_output() and v not in outputs for v in node.outputs):
            return None
        return None if any(self._is_beside(value, new) for value in new) else new

    def _is_beside(self, value: ir.Value, new: Mapping[ir.Value, Perm]) -> bool:
        """True if a Transpose has ``value`` on one side and a value of the region on the other: it can only be border."""
        producer = value.producer()
        others = [] if producer is None or self.source(value) is None else [producer.inputs[0]]
        others += [use.node.outputs[0] for use in value.uses() if perm_of(use.node) is not None]
        return any(other in self.perms or other in new for other in others)

    def rank(self, value: ir.Value | None) -> int | None:
        """Number of axes, also where only the order tells."""
        perm = None if value is None else self.perms.get(value)
        return rank_of(value) if perm is None else len(perm)

    def source(self, value: ir.Value) -> Perm | None:
        """The order of the Transpose of this graph that gives ``value``."""
        producer = value.producer()
        return perm_of(producer) if producer is not None and producer.graph is self.graph else None

    def is_inside(self, value: ir.Value) -> bool:
        """True if a node of the region gives ``value``."""
        return value.producer() in self.nodes

    def _count(self, value: ir.Value) -> Readers:
        readers = Readers(outside=int(value.is_graph_output()))
        named = False
        for use in value.uses():
            kind, output = self.kind(use.node, use.idx, value), use.node.outputs[0]
            if kind == "cancels" and output.is_graph_output():
                kind, named = ("outside" if named else "cancels"), True
            setattr(readers, kind, getattr(readers, kind) + 1)
        return readers

    def kind(self, node: ir.Node, index: int, value: ir.Value) -> str:
        """How ``node`` reads ``value`` at its input ``index``: the name of a field of ``Readers``."""
        perm = self.perms[value]
        if node in self.nodes and self.nodes[node].inputs[index] is not None:
            return "inside"
        if node.graph is not self.graph or is_identity(perm) or self.foreign(node):
            return "outside"
        further = perm_of(node)
        if further is not None:
            if self.source(value) is not None:
                return "outside"
            return "cancels" if is_identity(compose(perm, further)) else "turns"
        return "absorbs" if absorber(node, index, perm) is not None else "outside"

    def cost(self, value: ir.Value, *, inside: bool, readers: Readers | None = None) -> Cost:
        """Transposes at ``value``."""
        perm, r = self.perms[value], readers or self.readers[value]
        if is_identity(perm):
            return 0, 0
        source = self.source(value)
        if inside:
            count = (r.outside > 0) + r.turns
        elif source is not None:
            count = (r.outside > 0) + (r.inside > 0) if source != perm else int(r.outside > 0)
            count = max(count, int(source != perm))
        else:
            count = r.turns + r.cancels + (r.inside > 0 and not r.cancels)
        return count, count * _elements(value, perm)

    def before(self) -> Cost:
        """Transposes at the values of the region as the graph is."""
        total = (0, 0)
        for value, r in self.readers.items():
            if self.source(value) is not None:
                total = _sum(total, (1, _elements(value, self.perms[value])))
            else:
                alone = Readers(turns=r.turns, cancels=r.cancels)
                total = _sum(total, self.cost(value, inside=False, readers=alone))
        return total

    def after(self) -> Cost:
        """Transposes at them when the region is rewritten."""
        total = (0, 0)
        for value in self.readers:
            total = _sum(total, self.cost(value, inside=self.is_inside(value)))
        return total

    def pays(self) -> bool:
        """True if Transposes or the elements that they move get fewer, and neither more."""
        before, after = self.before(), self.after()
        return after != before and after[0] <= before[0] and after[1] <= before[1]


def is_same(value: ir.Value, perm: Perm) -> bool:
    """True if ``perm`` moves axes of size 1 only, and those to places of such: then the turned form is the value."""
    return (
        rank_of(value) == len(perm)
        and value.shape is not None
        and all(i == axis or value.shape[i] == 1 for i, axis in enumerate(perm))
    )


def _sum(a: Cost, b: Cost) -> Cost:
    return a[0] + b[0], a[1] + b[1]


def _elements(value: ir.Value, perm: Perm) -> int:
    sizes = value.shape if value.shape is not None else (None,) * len(perm)
    return prod(size if isinstance(size, int) else UNKNOWN_SIZE for size in sizes)

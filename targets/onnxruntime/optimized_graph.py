"""Which nodes of the model each node of ONNX Runtime's optimized graph computes.

ONNX Runtime says nothing about it, but it keeps the names of most values. So a node of the optimized graph stands for
the values of the model that it gives, or that its name tells of; the nodes of the model between those values belong
to it. Nodes that only change layout or shape, and stand between, are its additions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

REORDERS = frozenset({"ReorderInput", "ReorderOutput"})
"""Between the plain and the blocked layout."""
SHAPERS = frozenset({*REORDERS, "Cast", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""What ONNX Runtime puts before and after kernels to give them the layout or type that they need."""

_BLOCKED_NAME = re.compile(r"^(.*)_nchwc(_token_\d+)?$")
"""A node in the blocked layout is called after the value that it stands for."""


@dataclass(frozen=True)
class Kernel:
    """Nodes of the optimized graph that together compute nodes of the model.

    Args:
        nodes: Positions in the optimized graph.
        covers: Names of nodes of the model; none for what ONNX Runtime added.
    """

    nodes: tuple[int, ...]
    covers: tuple[str, ...]


def kernels_of(model: ir.Model, optimized: ir.Model) -> list[Kernel]:
    """Every node of the optimized graph in one kernel, in the order of execution.

    Args:
        model: As given, with unique names of nodes.
        optimized: What ONNX Runtime made of it.
    """
    return _Cover(model, optimized).kernels()


class _Cover:
    def __init__(self, model: ir.Model, optimized: ir.Model) -> None:
        self.originals = list(model.graph)
        self.nodes = list(optimized.graph)
        self.place = {node: i for i, node in enumerate(self.nodes)}
        self.order = {node: i for i, node in enumerate(self.originals)}
        self.producers = {v.name: node for node in self.originals for v in node.outputs if v.name}
        self.named = {node.name: node for node in self.originals}
        self.stands_for: dict[int, list[ir.Value]] = {}
        self.claimed: dict[str | None, int] = {}
        for shapers in (False, True):  # where both could stand for a value, it is the one that computes
            for i, node in enumerate(self.nodes):
                if (node.op_type in SHAPERS) == shapers and node.op_type not in REORDERS:
                    self._claim(i, self._values(node))
        for i in list(self.stands_for):
            self._claim_fused(i)

    def kernels(self) -> list[Kernel]:
        """Regions of the optimized graph that end in a node that stands for something."""
        found: list[Kernel] = []
        free = set(range(len(self.nodes))) - self.stands_for.keys()
        unassigned = set(self.originals)
        for i in sorted(self.stands_for):
            region = [i, *self._region(i, free)]
            covers = self._slice(self.stands_for[i], unassigned)
            working = [j for j in region if self.nodes[j].op_type not in SHAPERS] or [i]
            found.append(Kernel(tuple(sorted(working)), covers))
            found.extend(Kernel((j,), ()) for j in region if j not in working)
        found.extend(Kernel((j,), ()) for j in free)
        return sorted(found, key=lambda kernel: kernel.nodes[-1])

    def _values(self, node: ir.Node) -> list[ir.Value]:
        """Values of the model that ``node`` of the optimized graph gives, by their names or its own."""
        given = [v.name for v in node.outputs if v.name in self.producers]
        if not given and (blocked := _BLOCKED_NAME.match(node.name or "")):
            given = [blocked[1]] if blocked[1] in self.producers else []
        if given:
            return [v for name in given for v in self.producers[name].outputs if v.name == name]
        original = self.named.get(node.name)
        return [] if original is None else [v for v in original.outputs if v.name]

    def _claim(self, i: int, values: Sequence[ir.Value]) -> None:
        mine = [v for v in values if v.name not in self.claimed]
        if mine:
            self.stands_for.setdefault(i, []).extend(mine)
            self.claimed.update((v.name, i) for v in mine)

    def _claim_fused(self, i: int) -> None:
        """A convolution in the blocked layout takes in an Add or an activation behind it without taking its name."""
        node = self.nodes[i]
        takes = {node.attributes.get_string("activation", "")} | ({"Add", "Sum"} if len(node.inputs) > 3 else set())
        value: ir.Value | None = self.stands_for[i][-1]
        while value is not None:
            uses = list(value.uses())
            reader = uses[0].node if len(uses) == 1 and not value.is_graph_output() else None
            value = None
            if reader is not None and reader.op_type in takes and reader.outputs[0].name not in self.claimed:
                value = reader.outputs[0]
                self._claim(i, [value])

    def _region(self, i: int, free: set[int]) -> Iterator[int]:
        """Nodes before ``i`` that stand for nothing, up to those that do; each is given to one region only."""
        todo = [self.nodes[i]]
        while todo:
            for value in todo.pop().inputs:
                producer = None if value is None else value.producer()
                j = None if producer is None else self.place.get(producer)
                if producer is not None and j in free:
                    free.remove(j)
                    todo.append(producer)
                    yield j

    def _slice(self, values: Sequence[ir.Value], unassigned: set[ir.Node]) -> tuple[str, ...]:
        """Nodes of the model that compute ``values`` from what other kernels stand for."""
        found: set[ir.Node] = set()
        todo: list[ir.Value | None] = list(values)
        while todo:
            value = todo.pop()
            node = None if value is None else value.producer()
            if node is not None and node in unassigned:
                unassigned.remove(node)
                found.add(node)
                todo.extend(v for v in node.inputs if v is not None and v.name not in self.claimed)
        return tuple(str(node.name) for node in sorted(found, key=self.order.__getitem__))

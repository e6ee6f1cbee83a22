"""What the time of a kernel depends on: its operations, and the elements that it reads and writes.

Which nodes run as one kernel can change with the widths. Nodes that do so at some widths count as one kernel at all of
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from tamis.passes.pruning.allocation.geometry import Geometry
from tamis.passes.pruning.allocation.kernel_owners import Profile
from tamis.passes.pruning.allocation.polynomial import Term
from tamis.passes.pruning.axes.axis import Slot, Tensor, operand


@dataclass(frozen=True)
class Features:
    """Of one kernel.

    Args:
        nodes: Places of its nodes in the model.
        macs: Multiply-accumulate operations.
        elements: Elements of what it reads, weights among them, and of what it writes, each value once.
    """

    nodes: frozenset[int]
    macs: tuple[Term, ...]
    elements: tuple[Term, ...]


def merged_kernels(profiles: Iterable[Profile]) -> list[frozenset[int]]:
    """Sets of nodes such that each kernel of each profile lies in one of them, in the order of the model."""
    found: list[set[int]] = []
    for nodes in sorted({nodes for profile in profiles for nodes in profile.times}, key=sorted):
        apart, together = [], set(nodes)
        for other in found:
            if other.isdisjoint(nodes):
                apart.append(other)
            else:
                together |= other
        found = [*apart, together]
    return sorted((frozenset(nodes) for nodes in found), key=min)


def features_of(geometry: Geometry, nodes: frozenset[int]) -> Features:
    """Of the nodes that run as one kernel; sizes that are not known count nothing."""
    everything = list(geometry.graph.model.graph)
    inside = [everything[i] for i in sorted(nodes)]
    macs = tuple(term for node in inside for term in geometry.macs(node))
    elements = (geometry.elements(tensor) for tensor in _moved(inside))
    return Features(nodes, macs, tuple(term for term in elements if term is not None))


def all_elements(geometry: Geometry) -> tuple[Term, ...]:
    """Elements of all values that nodes give."""
    found = (geometry.elements(value) for node in geometry.graph.model.graph for value in node.outputs)
    return tuple(term for term in found if term is not None)


def _moved(nodes: Sequence[ir.Node]) -> list[Tensor]:
    inside = set(nodes)
    found: dict[Tensor, None] = {}
    for node in nodes:
        for index in range(len(node.inputs)):
            tensor = operand(node, index)
            if isinstance(tensor, Slot) or (tensor is not None and tensor.producer() not in inside):
                found[tensor] = None
        for value in node.outputs:
            if value.is_graph_output() or any(use.node not in inside for use in value.uses()):
                found[value] = None
    return list(found)

"""Bytes of constants as a cost."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from tamis.compiler.analysis.tensor_size import nbytes
from tamis.compiler.rewriting.constants import constant_tensor
from tamis.passes.pruning.allocation.cost import PolynomialCost
from tamis.passes.pruning.allocation.geometry import Geometry
from tamis.passes.pruning.allocation.polynomial import Polynomial, Term
from tamis.passes.pruning.axes.axis import Axis, Slot
from tamis.passes.pruning.axes.axis_graph import AxisGraph


class SizeCost(PolynomialCost):
    """The bytes of all constants of a model, graphs inside nodes included.

    A constant with several readers counts once for each different part of it that they keep.

    Args:
        graph: Of the model.
    """

    def __init__(self, graph: AxisGraph) -> None:
        geometry = Geometry(graph)
        super().__init__("bytes", graph.groups, Polynomial(_terms(graph, geometry), geometry.lengths))


def _terms(graph: AxisGraph, geometry: Geometry) -> Iterator[Term]:
    slots: dict[ir.Value, dict[tuple[object, ...], Slot]] = {}
    for node in graph.model.graph:
        for index, value in enumerate(node.inputs):
            if value is not None and constant_tensor(value) is not None:
                slot = Slot(node, index)
                slots.setdefault(value, {}).setdefault(_kept(geometry, slot), slot)
    for value, parts in slots.items():
        for slot in parts.values():
            elements = geometry.elements(slot)
            tensor = constant_tensor(value)
            if elements is not None and tensor is not None:
                yield elements.times(tensor.dtype.itemsize)
    for inner in graph.model.graphs():
        for value in inner.initializers.values():
            if value not in slots:
                yield Term(float(nbytes(value) or 0))


def _kept(geometry: Geometry, slot: Slot) -> tuple[object, ...]:
    """The same for readers that keep the same part of a constant whatever goes."""
    rank = geometry.graph.ties.rank(slot) or 0
    found = [(i, *part) for i in range(rank) for part in geometry.members.get(Axis(slot, i), ())]
    return tuple((i, number, member.positions.tobytes()) for i, number, member in found)

"""Multiply-accumulate operations as a cost."""

from __future__ import annotations

from tamis.compiler.analysis.macs import macs_of
from tamis.passes.pruning.allocation.cost import PolynomialCost
from tamis.passes.pruning.allocation.geometry import Geometry
from tamis.passes.pruning.allocation.polynomial import Polynomial, Term
from tamis.passes.pruning.axes.axis_graph import AxisGraph


class MacsCost(PolynomialCost):
    """The multiply-accumulate operations of a model; those of graphs inside nodes count once and never change.

    Args:
        graph: Of the model.

    *References.* Howard et al., MobileNets, 2017 (1704.04861), section 3.1; see ``compiler/analysis/macs.py``.
    """

    def __init__(self, graph: AxisGraph) -> None:
        geometry = Geometry(graph)
        terms = [term for node in graph.model.graph for term in geometry.macs(node)]
        outer = set(graph.model.graph)
        inner = sum(macs_of(node) or 0 for node in graph.model.graph.all_nodes() if node not in outer)
        super().__init__("MACs", graph.groups, Polynomial([*terms, Term(float(inner))], geometry.lengths))

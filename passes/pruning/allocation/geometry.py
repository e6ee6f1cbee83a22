"""Elements and operations of the nodes of a model, as functions of the widths of its groups.

::

    size of an axis = positions that belong to no group + sum over groups of (positions a unit) x (units left)

*Refuses* nothing: a size that is not known makes what depends on it unknown (None), and what no group touches is constant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.macs import macs_of
from tamis.passes.pruning.allocation.mac_products import products_of
from tamis.passes.pruning.allocation.polynomial import Floats, Lengths, Term, lengths_of
from tamis.passes.pruning.axes.axis import Axis, Tensor
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.group import Group, Member


class Geometry:
    """The sizes of a model.

    Args:
        graph: Its groups are those whose widths vary.

    Attributes:
        groups: In the order of ``graph``.
        number: Group -> its place there.
        members: Axis -> what groups, by their numbers, have of it.
        lengths: Of the sizes that terms name. Axes that are always equally long share one.
    """

    def __init__(self, graph: AxisGraph) -> None:
        self.graph = graph
        self.groups = graph.groups
        self.number: Mapping[Group, int] = {group: i for i, group in enumerate(self.groups)}
        self.members: dict[Axis, list[tuple[int, Member]]] = {}
        self._varying: dict[Axis, int] = {}
        self.lengths = self._find_lengths()

    def widths(self, widths: Mapping[Group, int]) -> Floats:
        """``(groups,)``, units left; groups that are not named are whole."""
        return np.asarray([widths.get(group, group.units) for group in self.groups], np.float64)

    def product(self, axes: Sequence[Axis]) -> Term | None:
        """The product of the sizes of some axes; None if one is not known."""
        coefficient, sizes = 1, []
        for axis in axes:
            number = self._varying.get(axis)
            if number is not None:
                sizes.append(number)
                continue
            size = self.graph.ties.size(axis)
            if size is None:
                return None
            coefficient *= size
        return Term(float(coefficient), tuple(sizes))

    def elements(self, tensor: Tensor) -> Term | None:
        """Number of elements of a tensor; None if it is not known."""
        rank = self.graph.ties.rank(tensor)
        return None if rank is None else self.product([Axis(tensor, i) for i in range(rank)])

    def macs(self, node: ir.Node) -> tuple[Term, ...]:
        """Multiply-accumulate operations of one run of ``node``; empty if they are not known.

        An operator whose formula is unknown here has as many as it has in the whole model.
        """
        whole = macs_of(node)
        if not whole:
            return ()
        terms = [self.product(axes) for axes in products_of(node)]
        known = [term for term in terms if term is not None]
        if len(known) == len(terms) and math.isclose(sum(self.whole(term) for term in known), whole):
            return tuple(known)
        return (Term(float(whole)),)

    def whole(self, term: Term) -> float:
        """Of a term, with nothing gone."""
        return term.coefficient * math.prod(self._sizes[i] for i in term.sizes)

    def _find_lengths(self) -> Lengths:
        parts: dict[Axis, dict[int, int]] = {}
        for number, group in enumerate(self.groups):
            for member in group.members:
                parts.setdefault(member.axis, {})[number] = member.positions.shape[1]
                self.members.setdefault(member.axis, []).append((number, member))
        rows: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}
        for axis, each in parts.items():
            size = self.graph.ties.size(axis) or 0
            fixed = size - sum(n * self.groups[g].units for g, n in each.items())
            self._varying[axis] = rows.setdefault((fixed, tuple(sorted(each.items()))), len(rows))
        self._sizes = [fixed + sum(n * self.groups[g].units for g, n in each) for fixed, each in rows]
        return lengths_of([(fixed, dict(each)) for fixed, each in rows], len(self.groups))

"""What is left of each axis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import set_constant
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.pruning.axes.axis import Axis, Indices
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.axes.ties import Ties

Removal = Mapping[Group, Indices]
"""Group -> the units of it that go."""


class Kept:
    """The positions that stay, for the rules that repair their nodes.

    Args:
        ties: Of the graph that the groups belong to.
        removal: What goes.
        names: Free names of the model.
    """

    def __init__(self, ties: Ties, removal: Removal, names: Names) -> None:
        self._ties = ties
        self._names = names
        gone: dict[Axis, list[Indices]] = {}
        for group, units in removal.items():
            if len(units):
                for member in group.members:
                    gone.setdefault(member.axis, []).append(member.positions[units].ravel())
        self._kept = {
            axis: np.setdiff1d(np.arange(self.size_before(axis)), np.concatenate(parts)) for axis, parts in gone.items()
        }

    @property
    def axes(self) -> Mapping[Axis, Indices]:
        """Axes that lose something -> positions that stay, sorted."""
        return self._kept

    def positions(self, axis: Axis) -> Indices:
        """Positions of an axis of known size that stay, sorted: all of them, if it loses none."""
        found = self._kept.get(axis)
        return np.arange(self.size_before(axis)) if found is None else found

    def size(self, axis: Axis) -> int:
        """How many positions stay."""
        found = self._kept.get(axis)
        return self.size_before(axis) if found is None else len(found)

    def size_before(self, axis: Axis) -> int:
        """How many there were; the axis has a known size."""
        size = self._ties.size(axis)
        assert size is not None
        return size

    def shape_before(self, tensor: ir.Value) -> tuple[int | None, ...] | None:
        """Of a tensor, before anything went."""
        return self._ties.shape(tensor)

    def loses(self, axis: Axis) -> bool:
        """Whether something of an axis goes."""
        return axis in self._kept

    def fresh(self, base: str) -> str:
        """A free name of the model, taken from now on."""
        return self._names.fresh(base)

    def set_constant(self, node: ir.Node, index: int, array: Indices) -> None:
        """Give ``node`` another constant at input ``index``; other readers of the old one keep it."""
        old = node.inputs[index] if index < len(node.inputs) else None
        base = old.name if old is not None and old.name else f"{node.name}_{index}"
        set_constant(node, index, array, self._names.fresh(f"{base}_kept"))

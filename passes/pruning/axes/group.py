"""Channels that can go, one by one, and all that goes with each of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis import Axis, Indices, Role, Slot


@dataclass(frozen=True, eq=False)
class Member:
    """An axis with the positions that go.

    Args:
        axis: Of a value, or of a constant as one node reads it.
        positions: ``(units, n)``, n positions for each unit.
        role: What the node does with it, of a constant.
    """

    axis: Axis
    positions: Indices
    role: Role | None = None

    @property
    def node(self) -> ir.Node:
        """The reader, of a constant."""
        assert isinstance(self.axis.tensor, Slot)
        return self.axis.tensor.node

    @property
    def elements(self) -> np.ndarray[Any, Any]:
        """All of the constant."""
        assert isinstance(self.axis.tensor, Slot)
        array = constant_array(self.axis.tensor.value)
        assert array is not None
        return array


@dataclass(frozen=True, eq=False)
class Group:
    """Units, each of which can go without the others: channels, heads, hidden units.

    Args:
        name: Of the first node that produces it; unique in its graph.
        units: How many there are.
        members: Everything that a unit has a part of.
        contracted: Whether some of it is multiplied with some of it and summed over, without a weight in between.
    """

    name: str
    units: int
    members: tuple[Member, ...]
    contracted: bool = False

    def with_role(self, role: Role) -> tuple[Member, ...]:
        """The constants' axes that have ``role``, in the order of the graph."""
        return tuple(m for m in self.members if m.role is role)

    @cached_property
    def axes(self) -> dict[Axis, Member]:
        """Axis -> member."""
        return {m.axis: m for m in self.members}


@dataclass(frozen=True)
class Frozen:
    """Channels that weights produce and that cannot go.

    Args:
        name: Of the first node that produces them.
        units: How many there are.
        reasons: Why, each once.
    """

    name: str
    units: int
    reasons: tuple[str, ...]

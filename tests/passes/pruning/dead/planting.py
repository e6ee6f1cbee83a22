"""Channels that do nothing, planted into a model by group: silent, constant, unread, equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import set_constant
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.pruning.axes.axis import Role, Slot
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.group import Group, Member
from tamis.passes.pruning.dead.weights import weight

KINDS = ("silent", "constant", "unread", "equal", "unscaled", "nothing")


def plant(model: ir.Model, random: np.random.Generator, views: Sequence[int] = (0, 1, 2)) -> list[str]:
    """Plant something into a unit of each group; returns what."""
    planted = []
    names = Names(model)
    for view in views:
        for group in AxisGraph(model, (view,)).groups:
            if group.units > 1:
                planted.append(str(random.choice(KINDS)))
                unit, other = random.choice(group.units, 2, replace=False)
                change(group, planted[-1], int(unit), int(other), names)
    return planted


def change(group: Group, kind: str, unit: int, other: int, names: Names) -> None:
    """Make ``unit`` of ``group`` silent, constant, unread, without scale, or equal to ``other``."""
    roles = {
        "silent": (Role.PRODUCE, Role.OFFSET),
        "constant": (Role.PRODUCE,),
        "unread": (Role.CONSUME,),
        "unscaled": (Role.SCALE,),
        "equal": (Role.PRODUCE, Role.OFFSET, Role.SCALE),
    }
    for member in (m for role in roles.get(kind, ()) for m in group.with_role(role)):
        _write(member, unit, other if kind == "equal" else None, names)


def _write(member: Member, unit: int, other: int | None, names: Names) -> None:
    axis = member.axis
    assert isinstance(axis.tensor, Slot)
    array = weight(axis).copy()
    array[member.positions[unit]] = 0 if other is None else array[member.positions[other]]
    whole = np.ascontiguousarray(np.moveaxis(array, 0, axis.index))
    set_constant(axis.tensor.node, axis.tensor.index, whole, names.fresh("planted"))

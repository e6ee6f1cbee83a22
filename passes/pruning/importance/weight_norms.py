"""Norms of the weights of each unit: no data is needed.

::

    share of unit u in a tensor W = sum over its slices of |w|^p / sum over W of |w|^p;   p = 1 (l1), p = 2 (l2)

The shares of all tensors that produce or read the units are added, so that a tensor counts as much as any other.

*References.* Li et al., Pruning filters for efficient ConvNets, 2016 (1608.08710), for p = 1 and one tensor; the sum over
coupled tensors is that of Fang et al., DepGraph, 2023 (2301.12900).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.passes.pruning.axes.axis import Role
from tamis.passes.pruning.axes.group import Group, Member

Array = np.ndarray[Any, np.dtype[Any]]


def weight_norms(group: Group, power: int) -> Array:
    """``(units,)``, float64: shares in the producing and the consuming tensors, added; ``power`` is 1 or 2."""
    members = (*group.with_role(Role.PRODUCE), *group.with_role(Role.CONSUME))
    total = np.zeros(group.units)
    for member in members:
        total += share(slice_energies(member, power), member)
    return total


def slice_energies(member: Member, power: int = 2) -> Array:
    """Sum of ``|w|^power`` of each slice along the member's axis: ``(size of the axis,)``, float64."""
    array = np.abs(member.elements.astype(np.float64))
    others = tuple(i for i in range(array.ndim) if i != member.axis.index)
    found: Array = (array**power if power != 1 else array).sum(axis=others)
    return found


def share(energies: Array, member: Member) -> Array:
    """Sum of each unit over that of the whole axis; zeros if that is zero: ``(size,)`` -> ``(units,)``."""
    total = float(energies.sum())
    found: Array = energies[member.positions].sum(axis=1) / total if total > 0 else np.zeros(len(member.positions))
    return found

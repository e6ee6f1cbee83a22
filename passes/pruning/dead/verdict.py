"""Which units of a group do nothing, and why.

A unit goes if at each weight that reads it, each of its positions adds nothing that something else cannot add:

- *unread*: the weights there are zero;
- *zero*: the channel is zero;
- *constant*: the channel is one number, and a bias can take over what it adds;
- *duplicate*: a channel that stays is equal, and its weights can take over.

Units that are summed over without a weight go if one of the two factors is zero.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis.passes.pruning.axes.axis import Role
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.dead.evidence import Evidence
from tamis.passes.pruning.dead.fact import Array
from tamis.passes.pruning.dead.reader import Reader, read_member


class Cause(enum.StrEnum):
    """Why a unit goes; of several positions, the last cause that any of them needs."""

    UNREAD = "unread"
    ZERO = "zero"
    CONSTANT = "constant"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, eq=False)
class Verdict:
    """What can go of one group.

    Args:
        group: The group.
        causes: Unit -> why it goes, those first that go at no cost.
        readers: The weights that read it.
        stuck: Units that are constant, but no bias can take over what they add.
    """

    group: Group
    causes: dict[int, Cause]
    readers: Sequence[Reader]
    stuck: int


def judge_group(graph: AxisGraph, group: Group, evidence: Evidence) -> Verdict:
    """Tell which units of ``group`` do nothing, duplicates apart."""
    readers = [read_member(member, evidence) for member in group.with_role(Role.CONSUME)]
    unread, nothing, constant, fixed = (np.ones(group.units, bool) for _ in range(4))
    for reader in readers:
        positions = reader.member.positions
        unread &= reader.unread[positions].all(axis=1)
        nothing &= reader.nothing[positions].all(axis=1)
        constant &= (reader.nothing | reader.constant)[positions].all(axis=1)
        fixed &= (reader.nothing | reader.fixed)[positions].all(axis=1)
    if group.contracted:
        nothing &= _without_products(graph, group, evidence)
        unread, constant, fixed = np.zeros_like(nothing), nothing, nothing
    causes = dict.fromkeys(np.flatnonzero(unread).tolist(), Cause.UNREAD)
    causes |= dict.fromkeys(np.flatnonzero(nothing & ~unread).tolist(), Cause.ZERO)
    causes |= dict.fromkeys(np.flatnonzero(constant & ~nothing).tolist(), Cause.CONSTANT)
    return Verdict(group, causes, readers, stuck=int((fixed & ~constant).sum()))


def _without_products(graph: AxisGraph, group: Group, evidence: Evidence) -> Array:
    """Units of which, wherever they are summed over without a weight, one of the two factors is zero."""
    found = np.ones(group.units, bool)
    for pair in graph.ties.contracted:
        if pair[0] not in group.axes:
            continue
        channels = [evidence.along(axis) for axis in pair]
        zero = np.zeros(graph.ties.sizes[pair[0]], bool)
        for known in channels:
            if known is not None:
                zero |= known.zero
        found &= zero[group.axes[pair[0]].positions].all(axis=1)
    return found

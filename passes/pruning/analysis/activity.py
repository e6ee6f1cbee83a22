"""What the channels of a group do on samples: how many are zero, how many always."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.passes.pruning.axes.group import Group, Member
from tamis.passes.pruning.importance.zeros import ZeroStats


@dataclass(frozen=True)
class Activity:
    """Of the values of a group that ReLU or its like gives; see ``ZeroStats``.

    Args:
        zeros: Share of zeros, mean over these values.
        blocks_of_eight: Share of aligned blocks of eight channels that are zero throughout, mean over them.
        dead: Share of the units that are zero at all positions, in all of them, on all samples.
        per_unit: ``(units,)``: share of zeros of each unit.
    """

    zeros: float
    blocks_of_eight: float
    dead: float
    per_unit: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {**vars(self), "per_unit": list(self.per_unit)}


def activity_of(group: Group, stats: Mapping[str, ZeroStats]) -> Activity | None:
    """What a group does; None if no value of it is behind ReLU or its like.

    Args:
        group: Of the model that was observed.
        stats: Name of a value -> its zeros.
    """
    found: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
    for member in group.members:
        each = stats.get(_name(member))
        if each is not None and each.name not in found and _covers(member, each):
            found[each.name] = each.per_channel[member.positions].mean(axis=1)
    if not found:
        return None
    shares = np.stack(list(found.values()))
    return Activity(
        float(np.mean([stats[name].share for name in found])),
        float(np.mean([stats[name].blocks_of_eight for name in found])),
        float((shares == 1).all(axis=0).mean()),
        tuple(shares.mean(axis=0).tolist()),
    )


def tensors_as_data(stats: Sequence[ZeroStats]) -> list[dict[str, Any]]:
    """As JSON data, a value each."""
    return [
        {
            "tensor": each.name,
            "zeros": each.share,
            "blocks_of_eight": each.blocks_of_eight,
            "dead_channels": int((each.per_channel == 1).sum()),
            "per_channel": each.per_channel.tolist(),
        }
        for each in stats
    ]


def _name(member: Member) -> str:
    value = member.axis.tensor
    return str(value.name) if isinstance(value, ir.Value) else ""


def _covers(member: Member, stats: ZeroStats) -> bool:
    """Whether the channels that were counted are those along the member's axis."""
    value = member.axis.tensor
    assert isinstance(value, ir.Value) and value.shape is not None
    return value.shape[member.axis.index] == len(stats.per_channel)

"""Energy that each unit brings into what reads it.

::

    share of unit u = sum over its channels c of |W_c|^2 mean(x_c^2) / sum over all channels
    of a contraction, q k^T:  mean(q_c^2) mean(k_c^2) in place of the product

The shares of all readers are added. Correlations between channels are left out.

*References.* Sun et al., Wanda, 2023 (2306.11695), for single weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Skip
from tamis.passes.pruning.axes.axis import Axis, Role
from tamis.passes.pruning.axes.group import Group, Member
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.importance.moments import Samples, mean_squares
from tamis.passes.pruning.importance.weight_norms import share, slice_energies, weight_norms

Array = np.ndarray[Any, np.dtype[Any]]
NOT_FINITE = "what it reads is not finite on the samples: its weights alone are looked at"
NOT_SEEN = "no value that it reads carries the channels: its weights alone are looked at"


@dataclass(frozen=True, eq=False)
class Reading:
    """What reads units: a weight, or another value that carries them.

    Args:
        name: Of the node.
        read: The axis of the value that carries the units; None if there is none.
        by: The axis that it is multiplied with: of a weight, or of a value.
    """

    name: str
    read: Member | None
    by: Member

    @property
    def values(self) -> tuple[Axis, ...]:
        """Axes of values to look at."""
        members = () if self.read is None else (self.read,) if self.by.role else (self.read, self.by)
        return tuple(m.axis for m in members)


def readings(group: Group, ties: Ties) -> tuple[Reading, ...]:
    """All that reads the units of a group."""
    weights = [Reading(str(m.node.name), _carrier(group, m.node), m) for m in group.with_role(Role.CONSUME)]
    contracted = [
        Reading(str(_reader(a)), group.axes[a], group.axes[b])
        for a, b in ties.contracted
        if a in group.axes and b in group.axes and isinstance(a.tensor, ir.Value) and isinstance(b.tensor, ir.Value)
    ]
    return (*weights, *contracted)


def activation_weighted(
    model: ir.Model, groups: Sequence[Group], ties: Ties, samples: Samples
) -> tuple[dict[Group, Array], tuple[Skip, ...]]:
    """Shares of the units of each group, ``(units,)``, float64, added over all that reads them.

    Raises:
        DataError: There are no samples.
    """
    read = {group: readings(group, ties) for group in groups}
    squares = mean_squares(model, (a for rs in read.values() for r in rs for a in r.values), samples)
    skips: list[Skip] = []
    found = {group: energy(group, rs, squares, skips) for group, rs in read.items()}
    return found, tuple(skips)


def energy(group: Group, readings: Sequence[Reading], squares: Mapping[Axis, Array], skips: list[Skip]) -> Array:
    """The shares of ``readings``, added; of the weights alone where there is nothing to go by."""
    if not readings:
        return weight_norms(group, 2)
    total = np.zeros(group.units)
    for reading in readings:
        reason = _unusable(reading, squares)
        if reason is None:
            total += _share(reading, squares)
            continue
        skips.append(Skip(reason, reading.name))
        total += share(slice_energies(reading.by), reading.by) if reading.by.role else weight_norms(group, 2)
    return total


def _unusable(reading: Reading, squares: Mapping[Axis, Array]) -> str | None:
    if reading.read is None:
        return NOT_SEEN
    return None if all(np.isfinite(squares[axis]).all() for axis in reading.values) else NOT_FINITE


def _share(reading: Reading, squares: Mapping[Axis, Array]) -> Array:
    assert reading.read is not None
    left = squares[reading.read.axis]
    right = slice_energies(reading.by) if reading.by.role else squares[reading.by.axis]
    if len(left) == len(right) and np.array_equal(reading.read.positions, reading.by.positions):
        return share(left * right, reading.by)
    products: Array = left[reading.read.positions].mean(axis=1) * right[reading.by.positions].sum(axis=1)
    total = float(products.sum())
    return products / total if total > 0 else np.zeros(len(products))


def _carrier(group: Group, node: ir.Node) -> Member | None:
    """The axis of a value that ``node`` reads, or gives and reads again, along which the units lie."""
    return next(_carried(group, [v for v in node.inputs if v is not None]), None) or next(
        _carried(group, node.outputs), None
    )


def _carried(group: Group, values: Sequence[ir.Value]) -> Iterator[Member]:
    for value in values:
        yield from (m for m in group.members if m.axis.tensor is value)


def _reader(axis: Axis) -> str:
    assert isinstance(axis.tensor, ir.Value)
    return next((str(use.node.name) for use in axis.tensor.uses()), str(axis.tensor.name))

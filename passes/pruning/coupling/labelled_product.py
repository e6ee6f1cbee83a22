"""Any product of tensors whose axes have labels, as Einsum writes it: the one rule behind MatMul, Gemm and Einsum.

::

    x: (b, t, k)   W: (k, n)      ->  y: (b, t, n)      k of W is consumed, n of W is produced
    q: (b, h, t, d)   k: (b, h, s, d)  ->  (b, h, t, s)   d is contracted: multiplied and summed over without a weight
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from tamis.passes.pruning.axes.axis import Axis, Role, Slot, Tensor
from tamis.passes.pruning.axes.ties import Ties

DIAGONAL = "a diagonal of a product"
BROADCAST = "is repeated along an axis of a product"
SUMMED = "is summed over"


class Labelled(NamedTuple):
    """A tensor with a label for each axis, e.g. the letters of an Einsum."""

    tensor: Tensor
    labels: Sequence[Hashable]

    def axes(self, label: Hashable) -> list[Axis]:
        """The axes called ``label``."""
        return [Axis(self.tensor, i) for i, other in enumerate(self.labels) if other == label]


def couple_product(operands: Sequence[Labelled], result: Labelled, ties: Ties) -> None:
    """Tie the axes of equal labels; labels that ``result`` does not have are summed over.

    Args:
        operands: What is multiplied; the rank of each is the number of its labels.
        result: What is computed.
        ties: To add to.
    """
    for label in dict.fromkeys(label for labelled in (*operands, result) for label in labelled.labels):
        found = [labelled.axes(label) for labelled in operands]
        results = result.axes(label)
        axes = [axis for each in found for axis in each]
        if max(map(len, (*found, results))) > 1:
            _freeze(ties, [*axes, *results], DIAGONAL)
            continue
        wide = [axis for axis in axes if ties.size(axis) != 1] or axes
        _freeze(ties, [axis for axis in axes if axis not in wide], BROADCAST)
        if results:
            _keep(wide, results[0], ties)
        else:
            _sum(wide, len(wide) < len(axes), ties)


def _keep(axes: Sequence[Axis], result: Axis, ties: Ties) -> None:
    """An axis of the result: made by weights alone, or one that an operand has already."""
    computed = any(not isinstance(axis.tensor, Slot) for axis in axes)
    if not computed:
        ties.start(result)
    for axis in axes:
        ties.tie(axis, result)
        if isinstance(axis.tensor, Slot):
            ties.role(axis, Role.SCALE if computed else Role.PRODUCE)


def _sum(axes: Sequence[Axis], repeats: bool, ties: Ties) -> None:
    """An axis that is summed over: by a weight, or of several values that are multiplied.

    Args:
        axes: Of full size.
        repeats: Whether another operand has size 1 there.
        ties: To add to.
    """
    constants = [axis for axis in axes if isinstance(axis.tensor, Slot)]
    values = [axis for axis in axes if not isinstance(axis.tensor, Slot)]
    for axis in constants:
        ties.role(axis, Role.CONSUME)
    if constants and values:
        for axis in axes[1:]:
            ties.tie(axes[0], axis)
    elif len(values) > 1 and not repeats:
        for axis in values[1:]:
            ties.contract(values[0], axis)
    else:
        _freeze(ties, axes, SUMMED)


def _freeze(ties: Ties, axes: Sequence[Axis], reason: str) -> None:
    for axis in axes:
        ties.freeze(axis, reason)

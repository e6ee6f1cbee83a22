"""What is known of a tensor, slice by slice: bounds of its elements, and which slices are the same.

::

    relu(conv(x)): (N, 3, H, W)    low, high, number: (1, 3, 1, 1)    [0, 0.5, 0]  [0, 0.5, inf]  [7, 9, 7]

An axis of size 1 of the three arrays stands for all positions of the tensor's axis: here, channel 0 is zero, channel 1 is
0.5 everywhere. Slices of one number are equal, whatever the inputs are (value numbering).

*References.* Alpern et al., "Detecting equality of variables in programs", 1988, section 2; Moore, "Interval analysis",
1966, for the bounds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
LIMIT = 1 << 16
"""Most slices of a tensor that are told apart."""


@dataclass(frozen=True, eq=False)
class Fact:
    """Bounds and numbers of slices; each axis is that of the tensor, or 1.

    Args:
        low, high: float64; no element of the slice is outside.
        number: int64; slices of tensors with the same number are equal.
    """

    low: Array
    high: Array
    number: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the arrays."""
        found: tuple[int, ...] = self.low.shape
        return found

    def moved(self, shape: Iterable[int]) -> Fact:
        """The same elements in another shape."""
        sizes = tuple(shape)
        return Fact(self.low.reshape(sizes), self.high.reshape(sizes), self.number.reshape(sizes))

    def taken(self, key: Any) -> Fact:
        """The same index into each array."""
        return Fact(self.low[key], self.high[key], self.number[key])

    def at(self, axis: int) -> tuple[Array, Array]:
        """Bounds of the positions of one axis, ``(size,)`` each."""
        others = tuple(i for i in range(self.low.ndim) if i != axis)
        return self.low.min(axis=others), self.high.max(axis=others)


class Numbers:
    """Gives equal things equal numbers."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}
        self._next = 0

    def fresh(self) -> int:
        """A number that nothing else has."""
        self._next += 1
        return self._next

    def of(self, thing: Hashable) -> int:
        """The number of ``thing``."""
        found = self._known.get(thing)
        if found is None:
            found = self._known[thing] = self.fresh()
        return found

    def combine(self, label: Hashable, *parts: Array) -> Array:
        """Numbers of the tuples (label, part, part, ...), element by element of parts that broadcast."""
        columns = np.broadcast_arrays(*parts)
        table = np.stack([np.ascontiguousarray(c).ravel() for c in columns], axis=-1)
        rows, inverse = np.unique(table, axis=0, return_inverse=True)
        found = np.asarray([self.of((label, row.tobytes())) for row in rows], np.int64)
        numbered: Array = found[inverse.reshape(-1)].reshape(columns[0].shape)
        return numbered

    def along(self, label: Hashable, numbers: Array, axes: tuple[int, ...]) -> Array:
        """Numbers of the tuples along ``axes``, which become 1."""
        shape = tuple(1 if i in axes else n for i, n in enumerate(numbers.shape))
        rows = np.moveaxis(numbers, axes, range(-len(axes), 0)).reshape(int(np.prod(shape)), -1)
        return self.combine(label, *rows.T).reshape(shape)


def expand(fact: Fact, axis: int, size: int, numbers: Numbers) -> Fact:
    """Tell the positions of an axis of ``size`` apart."""
    if fact.shape[axis] == size:
        return fact
    shape = tuple(size if i == axis else n for i, n in enumerate(fact.shape))
    positions = np.arange(size).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    number = numbers.combine(("at", axis), fact.number, positions)
    return Fact(np.broadcast_to(fact.low, shape), np.broadcast_to(fact.high, shape), number)


def collapse(fact: Fact, axes: Iterable[int], numbers: Numbers) -> Fact:
    """Tell the positions of ``axes`` apart no more."""
    told = tuple(i for i in axes if fact.shape[i] > 1)
    if not told:
        return fact
    number = numbers.along(("all", told), fact.number, told)
    return Fact(fact.low.min(axis=told, keepdims=True), fact.high.max(axis=told, keepdims=True), number)


def only(fact: Fact, axes: Iterable[int], numbers: Numbers) -> Fact:
    """Tell the positions of no other axes than ``axes`` apart."""
    kept = set(axes)
    return collapse(fact, (i for i in range(len(fact.shape)) if i not in kept), numbers)

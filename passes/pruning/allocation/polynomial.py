"""Sums of products of sizes, as a function of how many units are left of each group.

::

    size_a = fixed_a + sum_g each_ag w_g        sum_t coefficient_t prod_{a in t} size_a

Operations and elements of nodes are such sums, since each axis is as long as what it never loses and what is left of its
groups. All of them are evaluated at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Term:
    """One product: ``coefficient`` times the lengths of ``sizes``, numbers of sizes that vary; one may occur twice."""

    coefficient: float
    sizes: tuple[int, ...] = ()

    def times(self, factor: float) -> Term:
        """The same with another coefficient."""
        return Term(self.coefficient * factor, self.sizes)


@dataclass(frozen=True)
class Lengths:
    """Sizes that vary.

    Args:
        fixed: ``(sizes,)``, positions that stay whatever goes.
        each: ``(sizes, groups)``, sparse: positions that a unit of a group has.
    """

    fixed: Floats
    each: csr_array[np.float64]

    def at(self, widths: Floats) -> Floats:
        """``(sizes,)`` or ``(sizes, n)`` for ``widths: (groups,)`` or ``(groups, n)``."""
        fixed = self.fixed if widths.ndim == 1 else self.fixed[:, None]
        found: Floats = fixed + self.each @ widths
        return found


class Polynomial:
    """A sum of terms.

    Args:
        terms: What is summed.
        lengths: Of the sizes that the terms name.
    """

    def __init__(self, terms: Iterable[Term], lengths: Lengths) -> None:
        merged: dict[tuple[int, ...], float] = {}
        for term in terms:
            key = tuple(sorted(term.sizes))
            merged[key] = merged.get(key, 0.0) + term.coefficient
        self.lengths = lengths
        self.constant = merged.pop((), 0.0)
        self._keys = [key for key, coefficient in merged.items() if coefficient]
        self._coefficients = np.asarray([merged[key] for key in self._keys], np.float64)
        self._table = padded(self._keys, len(lengths.fixed))

    @property
    def terms(self) -> list[Term]:
        """What is summed, each product once; the last one is the constant."""
        pairs = zip(self._coefficients.tolist(), self._keys, strict=True)
        return [*(Term(coefficient, key) for coefficient, key in pairs), Term(self.constant)]

    def times(self, factor: float) -> Polynomial:
        """The same with all coefficients multiplied."""
        return Polynomial((term.times(factor) for term in self.terms), self.lengths)

    def at(self, widths: Floats) -> float:
        """The sum for ``widths: (groups,)``, units left."""
        if not self._keys:
            return self.constant
        sizes = np.append(self.lengths.at(widths), 1.0)
        return self.constant + float(self._coefficients @ sizes[self._table].prod(axis=1))

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """For each group the terms that it has a part in."""
        by_group: list[list[int]] = [[] for _ in range(self.lengths.each.shape[1])]
        for row, key in enumerate(self._keys):
            touched = {int(g) for size in key for g in _groups_of(self.lengths, size)}
            for group in touched:
                by_group[group].append(row)
        return tuple(self._part(group, rows) for group, rows in enumerate(by_group))

    def _part(self, group: int, rows: Sequence[int]) -> Part:
        keys = [self._keys[row] for row in rows]
        sizes = sorted({size for key in keys for size in key})
        place = {size: i for i, size in enumerate(sizes)}
        each = self.lengths.each[sizes].toarray() if sizes else np.zeros((0, self.lengths.each.shape[1]))
        groups = np.flatnonzero(each.any(axis=0))
        table = padded([tuple(place[size] for size in key) for key in keys], len(sizes))
        own = int(np.searchsorted(groups, group)) if len(groups) else 0
        return Part(groups, own, self.lengths.fixed[sizes], each[:, groups], self._coefficients[list(rows)], table)


@dataclass(frozen=True)
class Part:
    """The terms that one group has a part in.

    Args:
        groups: Numbers of the groups that they depend on.
        own: Which of ``groups`` this one is.
        fixed, each: As of ``Lengths``, dense, of the sizes in these terms.
        coefficients: ``(terms,)``.
        table: ``(terms, factors)``, sizes; the number after the last stands for 1.
    """

    groups: Indices
    own: int
    fixed: Floats
    each: Floats
    coefficients: Floats
    table: Indices

    def savings(self, before: Floats, after: Floats) -> Floats:
        """What the sum loses.

        Args:
            before: ``(groups,)``, units left of ``groups``.
            after: ``(n,)``, units left of this group afterwards, n cases.
        """
        sizes = np.ones((len(self.fixed) + 1, len(after) + 1))
        own = self.each[:, self.own]
        whole = self.fixed + self.each @ before
        sizes[:-1, 0] = whole
        sizes[:-1, 1:] = whole[:, None] + own[:, None] * (after - before[self.own])
        sums = self.coefficients @ sizes[self.table].prod(axis=1)
        found: Floats = sums[0] - sums[1:]
        return found


def padded(keys: Sequence[tuple[int, ...]], one: int) -> Indices:
    """``(keys, longest)``, filled up with ``one``, the number of a size that is always 1."""
    longest = max(map(len, keys), default=1)
    table = np.full((len(keys), longest), one, np.int64)
    for row, key in zip(table, keys, strict=True):
        row[: len(key)] = key
    return table


def _groups_of(lengths: Lengths, size: int) -> Indices:
    start, stop = lengths.each.indptr[size : size + 2]
    found: Indices = lengths.each.indices[start:stop].astype(np.int64)
    return found


def lengths_of(rows: Sequence[tuple[float, Mapping[int, int]]], groups: int) -> Lengths:
    """Lengths from rows of (fixed positions, group -> positions a unit)."""
    from scipy.sparse import csr_array

    counts = [len(each) for _, each in rows]
    start = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    columns = np.asarray([g for _, each in rows for g in each], np.int64)
    values = np.asarray([n for _, each in rows for n in each.values()], np.float64)
    table = csr_array((values, columns, start), shape=(len(rows), groups))
    return Lengths(np.asarray([fixed for fixed, _ in rows], np.float64), table)

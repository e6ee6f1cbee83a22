"""Register tiles: how many results a kernel's innermost loops compute at once, and how well that uses a core.

A tile of rows x columns keeps its sums in registers while the reduction goes on. Each step loads a column vector and
one value a row, so that a tile that is neither too flat nor too large for the registers does the most arithmetic a
load. Plain arithmetic, no TVM.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

LATENCY = 4
"""Cycles from the begin of a multiply-add to its result."""
NARROW_BITS = 256
"""Wider units of today's CPUs do one operation a cycle where those of this width do two."""
WHOLE = 32
"""A row of columns up to this length is one vector, even if no power of two."""


@dataclass(frozen=True)
class Tile:
    """A register tile.

    Args:
        rows: Extents of the tile in the row dimensions, outermost first.
        vectors: Column vectors.
        lanes: Elements of a column vector.
        cost: Estimated cycles for one multiply-add of the kernel; lower is better.
    """

    rows: tuple[int, ...]
    vectors: int
    lanes: int
    cost: float


def tiles(rows: tuple[int, ...], columns: int, width: int, bits: int, registers: int, shared: bool) -> Iterator[Tile]:
    """All tiles that divide the problem and fit the registers, the best first.

    Args:
        rows: Extents of the row dimensions, outermost first.
        columns: Extent of the column dimension.
        width: Elements in a register.
        bits: Bits in a register.
        registers: How many registers.
        shared: Whether rows share the column operand (as in a matrix product); else each row loads its own (as in a
            depthwise convolution).
    """
    found = []
    for lanes in _lanes(columns, width):
        used = math.ceil(lanes / width)
        for vectors in _divisors(columns // lanes):
            for shape in _shapes(rows):
                count = math.prod(shape)
                if used * (count * vectors + vectors + 1) > registers:
                    continue
                found.append(Tile(shape, vectors, lanes, _cost(count, vectors, lanes, width, bits, shared)))
    yield from sorted(found, key=lambda t: (t.cost, -t.lanes, t.vectors, t.rows))


def _cost(rows: int, vectors: int, lanes: int, width: int, bits: int, shared: bool) -> float:
    pieces = vectors * math.ceil(lanes / width)
    rate = 2 if min(bits, bits * lanes / width) <= NARROW_BITS else 1
    steps = rows * pieces
    loads = rows + pieces if shared else steps + pieces
    cycles = max(steps / rate, loads / (2 * rate) if rate == 1 else loads / 2, LATENCY)
    return (cycles + 0.2 * loads / 2) / (rows * vectors * lanes)


def _lanes(columns: int, width: int) -> list[int]:
    """Lengths of column vectors, at most a register's; a narrow odd row is taken whole."""
    fitting = [n for n in _divisors(columns) if n <= width and n & (n - 1) == 0]
    if fitting[-1] * 4 > width or fitting[-1] == columns:
        return [n for n in fitting if n * 4 > width or n == columns]
    if columns <= WHOLE:
        return [columns]
    return [max(n for n in _divisors(columns) if n <= WHOLE)]


def _shapes(rows: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Extents within the row dimensions; all but the innermost are cut only when that is taken whole."""
    if not rows:
        yield ()
        return
    *outer, inner = rows
    for n in _divisors(inner):
        if n == inner and outer:
            for rest in _shapes(tuple(outer)):
                yield (*rest, n)
        else:
            yield (*(1 for _ in outer), n)


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]

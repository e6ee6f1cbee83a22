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
SCALAR = 1.0
"""Cycles of a multiply-add that is not vectorized."""
FAR = 0.3
"""Cycles that loading a column vector costs, beside the load: rows share it, so that it comes from farther away."""
NARROW_BITS = 256
"""Wider units of today's CPUs do one operation a cycle where those of this width do two."""
RAGGED = 1.05
"""What a rest costs in code and balance, beside its computation."""
MOST = 14
"""Rows of a tile that does not divide its dimension."""
FEW = 4
"""The rest of a dimension is computed apart only if there are more whole tiles than this."""


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
    """All tiles that fit the registers, the best first.

    A tile divides the problem, or leaves a rest that is small against it. The rest is computed without vectors.

    Args:
        rows: Extents of the row dimensions, outermost first.
        columns: Extent of the column dimension.
        width: Elements in a register.
        bits: Bits in a register.
        registers: How many registers.
        shared: Whether rows share the column operand (as in a matrix product); else each row loads its own (as in a
            depthwise convolution), and sums get only half of the registers.
    """
    found = []
    for lanes in (n for n in _powers(width) if n <= columns):
        for vectors in range(1, registers // 2):
            for shape in _shapes(rows):
                count = math.prod(shape)
                if count * vectors + vectors + 1 > registers or (not shared and count * vectors > registers // 2):
                    continue
                whole, rest = divmod(columns, lanes * vectors)
                if rest and whole <= FEW:
                    continue
                cycles = _cycles(count, vectors, lanes, width, bits, shared)
                cost = (whole * cycles + bool(rest) * SCALAR * count * lanes * vectors) / (count * columns)
                uneven = RAGGED if rest or any(n % size for n, size in zip(rows, shape, strict=True)) else 1.0
                found.append(Tile(shape, vectors, lanes, cost * uneven * _row_rest(rows, shape)))
    yield from sorted(found, key=lambda t: (t.cost, -t.lanes, t.vectors, t.rows))


def _cycles(rows: int, vectors: int, lanes: int, width: int, bits: int, shared: bool) -> float:
    """Of one step of the reduction in a whole tile."""
    steps = rows * vectors
    if lanes == 1:
        return max(steps * SCALAR, LATENCY)
    rate = 2 if bits * lanes / width <= NARROW_BITS else 1
    loads = (rows if shared else steps) + vectors
    return max(steps / rate, loads / 2, LATENCY) + 0.1 * loads + (FAR * vectors if shared else 0)


def _row_rest(rows: tuple[int, ...], shape: tuple[int, ...]) -> float:
    """How much more is computed because the last tile of a dimension reaches over its end."""
    return math.prod(math.ceil(n / size) * size / n for n, size in zip(rows, shape, strict=True))


def _powers(width: int) -> list[int]:
    return [1 << k for k in range(width.bit_length() - 1, -1, -1)]


def _shapes(rows: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Extents within the row dimensions; all but the innermost are cut only when that is taken whole."""
    if not rows:
        yield ()
        return
    *outer, inner = rows
    sizes = _divisors(inner)
    if inner > max(MOST, 2 * FEW):
        sizes += [n for n in range(2, MOST + 1) if inner % n and inner // n > FEW]
    for n in sizes:
        if n == inner and outer:
            for rest in _shapes(tuple(outer)):
                yield (*rest, n)
        else:
            yield (*(1 for _ in outer), n)


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]

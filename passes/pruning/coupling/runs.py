"""Which axes of a tensor and of its reshaped form hold the same elements.

A reshape leaves the elements in their order. Where the products of the leading sizes are equal on both sides, the axes
behind are independent of those before: ``(2, 6, 5) -> (2, 2, 3, 5)`` are the runs 2 -> 2, 6 -> 2 3, 5 -> 5. Sizes that are
known at run time only are symbols, which cancel: ``(N, T, 64) -> (N T, 8, 8)`` are N T -> NT and 64 -> 8 8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Size:
    """A product of a number and of symbols.

    Args:
        number: A fraction, where the whole of a size follows from divisions.
        powers: (Symbol, power other than 0), sorted.
    """

    number: Fraction = Fraction(1)
    powers: tuple[tuple[str, int], ...] = ()

    @staticmethod
    def of(size: int | str) -> Size:
        """A known size, or the name of one that is not known."""
        return Size(Fraction(size)) if isinstance(size, int) else Size(powers=((size, 1),))

    def __mul__(self, other: Size) -> Size:
        return self._combined(other, 1)

    def __truediv__(self, other: Size) -> Size:
        return self._combined(other, -1)

    @property
    def known(self) -> int | None:
        """The size, if it is one number."""
        return int(self.number) if not self.powers and self.number.denominator == 1 else None

    def _combined(self, other: Size, sign: int) -> Size:
        powers = Counter(dict(self.powers))
        for symbol, power in other.powers:
            powers[symbol] += sign * power
        left = tuple(sorted((symbol, power) for symbol, power in powers.items() if power))
        return Size(self.number * other.number if sign > 0 else self.number / other.number, left)


ONE = Size()


def product(sizes: Iterable[Size]) -> Size:
    """All of them multiplied."""
    found = ONE
    for size in sizes:
        found = found * size
    return found


@dataclass(frozen=True)
class Run:
    """Axes, none of size 1, that hold the same elements in the same order.

    Args:
        before: Axes of the input.
        after: Axes of the output.
        equal: False for a rest that does not come out even as far as is known.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    equal: bool = True


def align(before: Sequence[Size], after: Sequence[Size]) -> tuple[Run, ...]:
    """The shortest runs; axes of size 1 are in none.

    Args:
        before: Sizes of the input.
        after: Sizes of the output, of the same product.
    """
    left, right = ([i for i, size in enumerate(sizes) if size != ONE] for sizes in (before, after))
    if any(size.number == 0 for size in (*before, *after)):
        return (Run(tuple(left), tuple(right), equal=False),)
    found = []
    while left and right:
        i = j = 1
        ratio = before[left[0]] / after[right[0]]
        while ratio != ONE and (i < len(left) or j < len(right)):
            if j == len(right) or (i < len(left) and _lacks(ratio)):
                ratio, i = ratio * before[left[i]], i + 1
            else:
                ratio, j = ratio / after[right[j]], j + 1
        found.append(Run(tuple(left[:i]), tuple(right[:j]), ratio == ONE))
        left, right = left[i:], right[j:]
    if left or right:
        found.append(Run(tuple(left), tuple(right), equal=False))
    return tuple(found)


def _lacks(ratio: Size) -> bool:
    """Whether more is needed on top."""
    if ratio.powers:
        return any(power < 0 for _, power in ratio.powers)
    return ratio.number < 1

"""Facts through a change of shape: runs of axes with equal products hold the same elements.

::

    (N, C, H, W) -> (N, C H W)      N ~ N    C, H, W ~ C H W
"""

from __future__ import annotations

from tamis.passes.pruning.dead.fact import LIMIT, Fact, Numbers, expand

Shape = tuple[int | None, ...]
Run = tuple[list[int], list[int]]
UNKNOWN = 2**61 - 1
"""A prime that divides no size."""


def reshaped(fact: Fact, before: Shape, after: Shape, numbers: Numbers) -> Fact | None:
    """What is known of the same elements in another shape; None if the two cannot be told to fit.

    Axes of a run are told apart if one of them was. Numbers are those of the slices before: mark them.
    """
    runs = _runs(before, after)
    if runs is None:
        return None
    shape: list[int] = [1] * len(after)
    for old, new in runs:
        if all(fact.shape[i] == 1 for i in old):
            continue
        sizes = [before[i] for i in old]
        if any(size is None for size in sizes):
            if len(old) != 1 or len(new) != 1:
                return None
            continue
        for i in old:
            size = before[i] or 0
            if fact.low.size * size > LIMIT * fact.shape[i]:
                return None
            fact = expand(fact, i, size, numbers)
        for j in new:
            shape[j] = after[j] or 0
    return fact.moved(shape)


def _runs(before: Shape, after: Shape) -> list[Run] | None:
    """Axes that belong together, those of size 1 apart; None if the elements are not as many.

    One unknown size on either side is the same, as the rest of the elements are as many.
    """
    if before.count(None) > 1 or after.count(None) > 1:
        return None
    old, new = _ends(before), _ends(after)
    if (list(old)[-1:] or [1]) != (list(new)[-1:] or [1]):
        return None
    runs, start = [], 0
    for end in sorted(old.keys() & new.keys()):
        first, second = ([axis for reached, axis in ends.items() if start < reached <= end] for ends in (old, new))
        runs.append((first, second))
        start = end
    return runs


def _ends(shape: Shape) -> dict[int, int]:
    """Product of the sizes up to an axis and including it -> the axis; an unknown size counts as a large prime."""
    found, product = {}, 1
    for axis, size in enumerate(shape):
        if size != 1:
            product *= UNKNOWN if size is None else size
            found[product] = axis
    return found

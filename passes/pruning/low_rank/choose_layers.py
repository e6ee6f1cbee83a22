"""Which layers to factorize, and how far: the least damage for the most time first, as far as the accuracy budget goes.

Each layer has several forms, of falling rank. From whole to the first and on to the next form is a step; steps of all
layers stand in one line, by damage added for what is saved. How much of the line holds the budget is found by bisection;
the step that breaks it is passed over with all further ones of its layer, and the rest is tried in the same way, as long
as looks are left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

LOOKS = 12
"""Models that are looked at; each takes one run over the samples."""


class Point(NamedTuple):
    """What a form of a layer costs and saves, against the whole layer."""

    damage: float
    saved: float


class Step(NamedTuple):
    """To a form of a layer, by their numbers."""

    layer: int
    form: int


Choice = Mapping[int, int]
"""Layer -> form; layers that stay whole are missing."""


def steps(layers: Sequence[Sequence[Point]]) -> list[Step]:
    """The line, those of one layer in order of what they save; forms that another one makes
    pointless, or that break the model, are left out."""
    found: list[tuple[float, Step]] = []
    for i, points in enumerate(layers):
        here = Point(0.0, 0.0)
        while ahead := [
            (j, point) for j, point in enumerate(points) if point.saved > here.saved and math.isfinite(point.damage)
        ]:
            at = here
            j, here = min(ahead, key=lambda pair: (_slope(at, pair[1]), pair[0]))
            found.append((_slope(at, here), Step(i, j)))
    return [step for _, step in sorted(found, key=lambda pair: pair[0])]


def choice_of(line: Sequence[Step]) -> dict[int, int]:
    """What is chosen once all steps are taken."""
    return {step.layer: step.form for step in line}


def within_budget(line: Sequence[Step], holds: Callable[[Choice], bool], looks: int = LOOKS) -> dict[int, int]:
    """The forms that hold the budget together, as far as ``looks`` calls of ``holds`` tell.

    Args:
        line: Steps, the best first.
        holds: Whether a choice keeps the budget. Nothing chosen holds.
        looks: Most calls.
    """
    taken: list[Step] = []
    rest = list(line)
    while rest and looks > 0:
        low, high = 0, len(rest) + 1  # rest[:low] holds, rest[:high] does not
        attempt = len(rest)
        while high - low > 1 and looks > 0:
            looks -= 1
            if holds(choice_of([*taken, *rest[:attempt]])):
                low = attempt
            else:
                high = attempt
            attempt = (low + high) // 2
        taken += rest[:low]
        broke = {step.layer for step in rest[low : low + 1]}
        rest = [step for step in rest[low + 1 :] if step.layer not in broke]
    return choice_of(taken)


def _slope(before: Point, after: Point) -> float:
    """Damage added for what is saved; never less than none, so that steps of a layer keep their order."""
    return max(after.damage - before.damage, 0.0) / (after.saved - before.saved)

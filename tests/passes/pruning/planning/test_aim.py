"""Aiming at a measured goal with a cost model that is off."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tamis.passes.pruning.planning.aim import Aim


def cliff(part: float) -> float:
    """A kernel that changes: nearly the whole time down to two thirds, less than half below 0.55."""
    return 0.98 if part > 0.66 else 0.41 if part < 0.55 else 0.78


@pytest.mark.parametrize(
    ("measure", "within"),
    [(lambda part: part, 1e-9), (lambda part: 1.2 * part, 1e-9), (lambda part: part**2, 0.02), (cliff, 0.03)],
)
def test_it_comes_close_in_a_few_rounds(measure: Callable[[float], float], within: float) -> None:
    aim, best = Aim(0.8, 0.8), 1.0
    for _ in range(4):
        measured = measure(aim.part)
        best = min(best, abs(measured - 0.8))
        assert 0 < aim.part < 1
        aim.correct(measured)
    assert best <= within


def test_it_never_asks_for_what_is_known_to_be_too_little_or_too_much() -> None:
    aim = Aim(0.8, 0.66)
    aim.correct(0.98)
    assert aim.part == pytest.approx(0.66 * 0.8 / 0.98)
    low = aim.part
    aim.correct(0.41)
    assert low < aim.part < 0.66

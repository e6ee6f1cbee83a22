"""Timing over several loads: the luck of a load is not a gain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tamis.compiler.measure import compare
from tamis.compiler.measure_loads import LOADS, compare_loads
from tamis.compiler.timings import Comparison
from tests.compiler.test_measure import MS, SimulatedMachine

LUCK = 0.04


def measured(a: float, b: float, *, seed: int = 0, load_seconds: float = 0.01) -> Comparison:
    """Loads take ``load_seconds``; each makes its calls faster or slower by some 4 %, for good."""
    machine, random = SimulatedMachine(seed), np.random.default_rng(seed + 1000)

    def load(ns: float) -> Callable[[], None]:
        machine.now += load_seconds * 1e9
        return machine.call(ns * float(np.exp(LUCK * random.standard_normal())))

    return compare_loads(lambda: load(a), lambda: load(b), seconds=1.0, clock=machine.clock)


def test_equal_models_are_rarely_told_apart() -> None:
    verdicts = [measured(10 * MS, 10 * MS, seed=seed).verdict for seed in range(100)]
    assert 100 - verdicts.count("undecided") <= 13  # 5 % expected, of 100; the binomial's 99.9 % point is 13


def test_one_load_of_each_would_often_tell_them_apart() -> None:
    random = np.random.default_rng(0)
    wrong = 0
    for seed in range(50):
        machine = SimulatedMachine(seed)
        a, b = (machine.call(10 * MS * float(np.exp(LUCK * random.standard_normal()))) for _ in range(2))
        wrong += compare(a, b, seconds=1.0, clock=machine.clock, min_gain=0).verdict != "undecided"
    assert wrong > 25


@pytest.mark.parametrize(("b", "verdict"), [(8.5 * MS, "faster"), (11.5 * MS, "slower")])
def test_a_real_difference_is_found(b: float, verdict: str) -> None:
    found = measured(10 * MS, b)
    assert found.verdict == verdict
    assert found.low < 10 * MS / b < found.high
    assert len(found.loads) == LOADS
    assert found.pairs >= 10 * LOADS
    assert found.to_dict()["loads"] == list(found.loads)


def test_a_model_that_is_slow_to_load_is_loaded_once() -> None:
    assert measured(10 * MS, 5 * MS, load_seconds=0.2).loads == ()

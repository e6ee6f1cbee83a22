"""Timing on a simulated machine: gains are found, equal things are not told apart, drift does not fool."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tamis.compiler.measure import Clock, compare, time_one
from tamis.compiler.timings import Comparison

MS = 1_000_000


class SimulatedMachine:
    """A clock that calls advance: ``call(ns)`` is a function that takes about ``ns`` nanoseconds.

    Args:
        seed: Of the noise.
        noise: Relative standard deviation of a call.
        drift: The machine slows down by this fraction a simulated second.
    """

    def __init__(self, seed: int = 0, noise: float = 0.03, drift: float = 0.0) -> None:
        self.now = 0.0
        self._random = np.random.default_rng(seed)
        self._noise, self._drift = noise, drift
        self.clock = Clock(wall=lambda: int(self.now), cpu=lambda: int(2 * self.now), cpu_resolution=1)

    def call(self, ns: float) -> Callable[[], None]:
        def run() -> None:
            slower = 1 + self._drift * self.now / 1e9
            self.now += ns * slower * float(np.exp(self._noise * self._random.standard_normal()))

        return run

    def compare(self, a: float, b: float, **options: float) -> Comparison:
        return compare(self.call(a), self.call(b), clock=self.clock, seconds=1.0, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("b", "verdict"), [(9 * MS, "faster"), (11 * MS, "slower")])
def test_a_difference_of_ten_percent_is_found(b: float, verdict: str) -> None:
    found = SimulatedMachine().compare(10 * MS, b)
    assert found.verdict == verdict
    assert found.low < 10 * MS / b < found.high
    assert found.cpu_low < 10 * MS / b < found.cpu_high
    assert found.pairs >= 20
    assert 0.01 < found.noise < 0.06


def test_equal_calls_are_rarely_told_apart() -> None:
    verdicts = [SimulatedMachine(seed).compare(10 * MS, 10 * MS, min_gain=0).verdict for seed in range(200)]
    assert 200 - verdicts.count("undecided") <= 20  # 5 % expected, of 200; the binomial's 99.9 % point is 20


def test_a_machine_that_slows_down_does_not_fool() -> None:
    for seed in range(20):
        found = SimulatedMachine(seed, drift=0.5).compare(10 * MS, 10 * MS)
        assert abs(found.speedup - 1) < 0.03


def test_the_interval_covers_the_truth() -> None:
    covered = [
        found.low <= 1.02 <= found.high
        for seed in range(200)
        for found in (SimulatedMachine(seed).compare(10.2 * MS, 10 * MS),)
    ]
    assert sum(covered) >= 175


def test_small_gains_get_no_verdict_unless_asked_for() -> None:
    assert SimulatedMachine(noise=0.001).compare(10.2 * MS, 10 * MS).verdict == "undecided"
    assert SimulatedMachine(noise=0.001).compare(10.2 * MS, 10 * MS, min_gain=0).verdict == "faster"


def test_short_calls_are_repeated_in_a_sample() -> None:
    found = SimulatedMachine().compare(10_000, 10_000)
    assert found.calls_a * 10_000 >= 1.5 * MS
    assert found.median_a_ms == pytest.approx(0.01, rel=0.05)


def test_percentiles_of_one_call() -> None:
    machine = SimulatedMachine(noise=0.1)
    timing = time_one(machine.call(10 * MS), clock=machine.clock)
    assert timing.percentile_ms(50) == pytest.approx(10, rel=0.1)
    assert timing.percentile_ms(95) > timing.percentile_ms(50)
    assert timing.percentile_ms(95) * MS in timing.samples


def test_the_figures_are_data() -> None:
    data = SimulatedMachine().compare(10 * MS, 5 * MS).to_dict()
    assert data["speedup"] == pytest.approx(2, rel=0.05)
    assert len(data["samples_a_ns"]) == len(data["samples_b_ns"]) == data["pairs"]


def test_real_clocks() -> None:
    values = np.random.default_rng(0).standard_normal(200_000)
    found = compare(lambda: np.sort(values), lambda: values.sum(), seconds=0.2)
    assert found.verdict == "faster"
    assert found.speedup > 2

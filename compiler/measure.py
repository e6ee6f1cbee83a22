"""Timing: is B faster than A on this machine, by how much, and how sure is that?

Whatever times models uses this module, or ``measure_loads``, which repeats it over several loads of the models.
One measurement is made at a time on a machine, see ``alone``.
A and B are timed in pairs whose order alternates (AB BA AB BA ...), so that whatever slows the machine
down for a while slows both; ``paired_ratio`` makes a ratio with an interval of the pairs.

The number of pairs depends on time alone, never on what was seen so far: looking at the interval after
every pair and stopping at the first clear verdict would call far more than 5 % of equal pairs different.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np

from tamis.compiler.alone import alone
from tamis.compiler.paired_ratio import Times, ratio_of
from tamis.compiler.timings import Comparison, Pairs, Timing, comparison_of

Call = Callable[[], object]
"""What is timed. One that has ``timed(count)``, as ``Remote`` has, times itself."""


MIN_GAIN = 0.03
"""Smaller differences give no verdict. Two loads of the same model into the same process differ by up to that much if a
call takes milliseconds, wherever their weights happen to lie; no number of pairs shows that this is not a gain."""
MAX_PAIRS = 500
"""Beyond that many pairs, samples get longer instead: more pairs sharpen little and fill the records."""
FEWEST_PAIRS = 10
OVERTIME = 4.0
"""Slow calls: how many times the given seconds may pass before fewer than ``min_pairs`` pairs are accepted."""
SAMPLE_NS = 2_000_000
"""Calls shorter than that are repeated inside a sample."""
SETTLE_SECONDS = 0.003
"""Pause after a sample that another process took: its threads spin for about a millisecond before they sleep."""
WARM_UP_CALLS = (3, 20)
STEADY = 1.1
MAX_SAMPLES = 1000


class Remote:
    """``runner`` on ``feeds``, timed by the runner itself; see ``call_of``."""

    def __init__(self, runner: Any, feeds: Any) -> None:
        self._runner, self._feeds = runner, feeds

    def __call__(self) -> object:
        """Run once."""
        return self._runner(self._feeds)

    def timed(self, count: int) -> tuple[float, float]:
        """Run ``count`` times; wall and CPU time of one run, nanoseconds, where the model runs."""
        wall, cpu = self._runner.timed(self._feeds, count)
        return float(wall), float(cpu)


def call_of(runner: Any, feeds: Any) -> Call:
    """What to time to learn how fast ``runner`` is on ``feeds``.

    A runner that has ``timed(feeds, count) -> (wall, cpu)`` is asked for its own times, since a call from here
    would count the way to the process or device that the model runs in.
    """
    return Remote(runner, feeds) if hasattr(runner, "timed") else partial(runner, feeds)


@dataclass(frozen=True)
class Clock:
    """Where time comes from, in nanoseconds; tests put a simulated machine here.

    Args:
        wall: Elapsed time.
        cpu: CPU time of all threads of this process.
        cpu_resolution: Smallest difference that ``cpu`` can show.
    """

    wall: Callable[[], int] = time.perf_counter_ns
    cpu: Callable[[], int] = time.process_time_ns
    cpu_resolution: int = max(1, round(time.get_clock_info("process_time").resolution * 1e9))


def compare(
    a: Call,
    b: Call,
    *,
    min_pairs: int = 20,
    seconds: float = 2.0,
    min_gain: float = MIN_GAIN,
    seed: int = 0,
    clock: Clock | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Comparison:
    """Time ``b`` against ``a``.

    Calls under 2 ms are repeated inside a sample, so that a sample takes at least 2 ms. Garbage
    collection is off meanwhile.

    Args:
        a: The reference.
        b: The candidate.
        min_pairs: Go on beyond ``seconds`` for so many pairs. Calls so slow that this would take more than
            four times ``seconds`` get fewer, but never less than 10.
        seconds: How long to measure for, after warming up.
        min_gain: Differences below this fraction give no verdict, however sure they are.
        seed: Of the bootstrap.
        clock: Time source.
        progress: Gets (fraction done, ratio of the last pair) between pairs.
    """
    found = time_pairs(a, b, min_pairs=min_pairs, seconds=seconds, clock=clock, progress=progress)
    return comparison_of([found], ratio_of(found.wall, seed), ratio_of(found.cpu, seed), min_gain)


def time_pairs(
    a: Call,
    b: Call,
    *,
    min_pairs: int,
    seconds: float,
    clock: Clock | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Pairs:
    """Warm up and take the samples; see ``compare``."""
    clock = clock or Clock()
    with alone(progress), _no_garbage_collection():
        length = max(SAMPLE_NS, seconds * 1e9 / (2 * MAX_PAIRS))
        first, second = (_calls_per_sample(_warm_up(call, seconds, clock), length) for call in (a, b))
        calls = (first, second)
        wall, cpu = _pairs((a, b), calls, min_pairs, seconds, clock, progress)
    return Pairs(wall, np.maximum(cpu, clock.cpu_resolution / np.asarray(calls)), calls)


def time_one(call: Call, *, min_samples: int = 20, seconds: float = 1.0, clock: Clock | None = None) -> Timing:
    """Latency of single calls, for percentiles; use ``compare`` to tell which of two is faster.

    Args:
        call: What to time.
        min_samples: Go on beyond ``seconds`` for so many samples.
        seconds: How long to measure for, after warming up. Of very short calls only every k-th is recorded,
            so that at most about 1000 samples spread over the whole time.
        clock: Time source.
    """
    clock = clock or Clock()
    samples: list[int] = []
    with alone(), _no_garbage_collection():
        typical = _warm_up(call, seconds, clock)
        unrecorded = int(seconds * 1e9 / (MAX_SAMPLES * typical))
        end = clock.wall() + seconds * 1e9
        while clock.wall() < end or len(samples) < min_samples:
            if unrecorded:
                _sample(call, unrecorded, clock)
            samples.append(round(_sample(call, 1, clock)[0]))
    return Timing(tuple(samples))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _warm_up(call: Call, seconds: float, clock: Clock) -> float:
    """Call until the last call is as fast as the fastest, within 10 %; returns the fastest, nanoseconds."""
    fewest, most = WARM_UP_CALLS
    end = clock.wall() + seconds * 1e9 / 4
    fastest = float("inf")
    for i in range(most):
        last = max(1.0, _sample(call, 1, clock)[0])
        steady = last <= STEADY * fastest or clock.wall() > end
        fastest = min(fastest, last)
        if i + 1 >= fewest and steady:
            break
    return fastest


def _calls_per_sample(typical_ns: float, sample_ns: float) -> int:
    return math.ceil(sample_ns / max(typical_ns, 50.0))


def _pairs(
    both: tuple[Call, Call],
    calls: tuple[int, int],
    min_pairs: int,
    seconds: float,
    clock: Clock,
    progress: Callable[[float, str], None] | None,
) -> tuple[Times, Times]:
    """Wall and CPU time per call, nanoseconds: two arrays (pairs, 2); the number of pairs is even."""
    wall: list[list[float]] = []
    cpu: list[list[float]] = []
    begun = clock.wall()
    while True:
        for order in ((0, 1), (1, 0)):
            wall.append([0.0, 0.0])
            cpu.append([0.0, 0.0])
            for side in order:
                wall[-1][side], cpu[-1][side] = _sample(both[side], calls[side], clock)
        spent = (clock.wall() - begun) / 1e9 / seconds
        if progress is not None:
            fraction = max(min(spent, len(wall) / min_pairs), spent / OVERTIME)
            progress(min(1.0, fraction), f"{wall[-1][0] / wall[-1][1]:.2f}x")
        if (spent >= 1 and len(wall) >= min_pairs) or (spent >= OVERTIME and len(wall) >= FEWEST_PAIRS):
            return np.asarray(wall), np.asarray(cpu)


def _sample(call: Call, count: int, clock: Clock) -> tuple[float, float]:
    """Wall and CPU time of a call, nanoseconds, over ``count`` calls."""
    if (timed := getattr(call, "timed", None)) is not None:
        wall, cpu = timed(count)
        time.sleep(SETTLE_SECONDS)
        return wall, cpu
    cpu, wall = clock.cpu(), clock.wall()
    for _ in repeat(None, count):
        call()
    stopped = clock.wall()
    return (stopped - wall) / count, (clock.cpu() - cpu) / count

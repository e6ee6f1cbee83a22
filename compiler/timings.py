"""What measuring gives: samples taken in pairs, a comparison of two models, the latency of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.compiler.paired_ratio import Ratio, Times, Verdict, centre_of, noise_of, verdict_of


@dataclass(frozen=True)
class Pairs:
    """What was timed.

    Args:
        wall, cpu: (pairs, 2), nanoseconds a call of A and of B; even rows ran A first.
        calls: Calls in one sample of A and of B.
    """

    wall: Times
    cpu: Times
    calls: tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """B against A, measured in interleaved pairs.

    Args:
        speedup: How many times faster B is (wall time of A over that of B); above 1, B is faster.
        low, high: 95 % interval of ``speedup``.
        cpu_speedup: The same ratio of CPU time, all threads together.
        cpu_low, cpu_high: 95 % interval of ``cpu_speedup``.
        noise: Spread of A against itself: robust standard deviation of the ratio of neighbouring samples of A,
            divided by the square root of 2. 0.02 means that single samples scatter by 2 %.
        verdict: ``faster`` or ``slower`` if the whole interval says so by more than the smallest gain that counts,
            else ``undecided``.
        samples_a, samples_b: Wall time per call, nanoseconds; entry i of both is pair i; even pairs ran A first.
        cpu_a, cpu_b: CPU time per call, nanoseconds.
        calls_a, calls_b: Calls in one sample.
        loads: Speedup in each round, if both were loaded anew for every round; see ``compare_loads``.
    """

    speedup: float
    low: float
    high: float
    cpu_speedup: float
    cpu_low: float
    cpu_high: float
    noise: float
    verdict: Verdict
    samples_a: tuple[float, ...]
    samples_b: tuple[float, ...]
    cpu_a: tuple[float, ...]
    cpu_b: tuple[float, ...]
    calls_a: int
    calls_b: int
    loads: tuple[float, ...] = ()

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return len(self.samples_a)

    @property
    def median_a_ms(self) -> float:
        """Median wall time of a call of A, milliseconds."""
        return float(np.median(self.samples_a)) / 1e6

    @property
    def median_b_ms(self) -> float:
        """Median wall time of a call of B, milliseconds."""
        return float(np.median(self.samples_b)) / 1e6

    def summary(self) -> dict[str, Any]:
        """The figures as data, without the raw samples."""
        names = ("speedup", "low", "high", "cpu_speedup", "cpu_low", "cpu_high", "noise")
        return {
            "verdict": self.verdict,
            **{name: round(float(getattr(self, name)), 5) for name in names},
            "pairs": self.pairs,
            "median_a_ms": round(self.median_a_ms, 6),
            "median_b_ms": round(self.median_b_ms, 6),
        }

    def to_dict(self) -> dict[str, Any]:
        """Figures and raw samples as data, for ``--json`` and ``measurements.json``."""
        raw = ("samples_a", "samples_b", "cpu_a", "cpu_b")
        return {
            **self.summary(),
            "calls_a": self.calls_a,
            "calls_b": self.calls_b,
            "loads": list(self.loads),
            **{f"{name}_ns": [round(v, 1) for v in getattr(self, name)] for name in raw},
        }


@dataclass(frozen=True)
class Timing:
    """Latency of one callable.

    Args:
        samples: Wall time of single calls, nanoseconds, in the order of the calls.
    """

    samples: tuple[int, ...]

    @property
    def median_ms(self) -> float:
        """Median latency, milliseconds."""
        return self.percentile_ms(50)

    def percentile_ms(self, p: float) -> float:
        """A latency that ``p`` percent of the samples met, milliseconds; always one that was measured."""
        return float(np.percentile(self.samples, p, method="higher")) / 1e6

    def to_dict(self) -> dict[str, Any]:
        """Percentiles and raw samples as data."""
        points = {f"p{p}_ms": round(self.percentile_ms(p), 6) for p in (50, 90, 95, 99)}
        return {"min_ms": min(self.samples) / 1e6, **points, "samples_ns": list(self.samples)}


def comparison_of(rounds: Sequence[Pairs], wall: Ratio, cpu: Ratio, min_gain: float) -> Comparison:
    """What was timed in one or several rounds, with ratio and interval of the wall and of the CPU time."""
    walls, cpus = (np.concatenate([getattr(r, kind) for r in rounds]) for kind in ("wall", "cpu"))
    return Comparison(
        *wall,
        *cpu,
        noise=float(np.median([noise_of(r.wall[:, 0]) for r in rounds])),
        verdict=verdict_of(wall[1], wall[2], min_gain),
        samples_a=tuple(walls[:, 0].tolist()),
        samples_b=tuple(walls[:, 1].tolist()),
        cpu_a=tuple(cpus[:, 0].tolist()),
        cpu_b=tuple(cpus[:, 1].tolist()),
        calls_a=rounds[0].calls[0],
        calls_b=rounds[0].calls[1],
        loads=tuple(round(centre_of(r.wall), 5) for r in rounds) if len(rounds) > 1 else (),
    )

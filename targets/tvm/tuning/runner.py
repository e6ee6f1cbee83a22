"""Measures built candidates, one at a time, in a process of their own. Runs in the compiler process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tamis.compiler.alone import alone
from tamis.targets.tvm.tuning.builder import Built
from tamis.targets.tvm.tuning.workers import Nursery, Worker, WorkerLost

MODULE = "tamis.targets.tvm.tuning.measure_worker"
SECONDS = 20.0
"""Time limit of one measurement, loading included."""
LEAST_SECONDS = 2.0
CALLS = 1000
"""Where the best candidate is known, another one gets ``LEAST_SECONDS`` and the time of so many of the best one's calls."""
MILLISECONDS = 5.0
"""Length of a repetition."""


@dataclass(frozen=True)
class Measured:
    """Outcome of a measurement.

    Args:
        us: Time of a call, microseconds; infinite if it failed.
        probed: Whether it was broken off as hopeless; the time is rough then.
        error: Why it failed; None if it did not.
    """

    us: float = math.inf
    probed: bool = False
    error: str | None = None


class Runner:
    """The measuring worker; use it as a context manager. Nothing else should run while it measures.

    Args:
        nursery: Starts it.
        seconds: Time limit of a measurement.
        module: What the worker does.
        least_seconds: The part of it that does not depend on the best candidate's time.
        cold: See ``measure_worker``.
    """

    def __init__(
        self,
        nursery: Nursery,
        seconds: float = SECONDS,
        module: str = MODULE,
        *,
        least_seconds: float = LEAST_SECONDS,
        cold: bool = False,
    ) -> None:
        self._nursery, self._seconds, self._module, self._cold = nursery, seconds, module, cold
        self._least_seconds = least_seconds
        self._worker: Worker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._worker is not None:
            self._worker.close()

    def measure(
        self,
        built: Built,
        reference: Path,
        constant: tuple[int, ...] = (),
        best_us: float | None = None,
        best: Built | None = None,
    ) -> Measured:
        """Time a candidate; a crash, a hang, wrong results or a time that is none are a failed trial.

        Args:
            built: The candidate.
            reference: What it must compute; the first candidate of a task writes the file.
            constant: See ``measure_worker``.
            best_us: Time of the best so far.
            best: Its library. If it is given, the two are timed in turns, and the result is ``best_us`` times the ratio.
        """
        if built.error is not None:
            return Measured(error=built.error)
        request = {
            "path": str(built.path),
            "arguments": built.arguments,
            "reference": str(reference),
            "constant": constant,
            "best_us": best_us,
            "best": best and [str(best.path), best.arguments],
            "milliseconds": MILLISECONDS,
            "cold": self._cold,
        }
        limit = self._seconds if best_us is None else min(self._seconds, self._least_seconds + CALLS * best_us * 1e-6)
        try:
            reply = self.ask(request, limit)
        except WorkerLost as error:
            self._worker = None
            return Measured(error=str(error))
        if "error" in reply:
            return Measured(error=reply["error"])
        us = float(reply["us"])
        if best_us is not None and reply.get("best_us"):
            us *= best_us / reply["best_us"]
        if not (math.isfinite(us) and us > 0):
            return Measured(error=f"a time of {us} us")
        return Measured(us, probed=reply["probed"])

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The worker's answer, while nobody else measures on this machine. Raises ``WorkerLost``."""
        with alone():
            return self.send(request, seconds)

    def send(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The worker's answer; a worker is started if there is none. Raises ``WorkerLost``."""
        if self._worker is None:
            self._worker = self._nursery.start(self._module)
        return self._worker.call(request, seconds)

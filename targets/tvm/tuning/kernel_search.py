"""The search for one kernel's schedule: what was tried, what is best, what to try next. Runs in the compiler process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import Schedule

from tamis.targets.tvm.tuning.builder import Built
from tamis.targets.tvm.tuning.default_schedule import candidate_schedules
from tamis.targets.tvm.tuning.evolution import Evolution
from tamis.targets.tvm.tuning.records import apply_trace, has_choices, trace_digest, trace_json
from tamis.targets.tvm.tuning.runner import Measured
from tamis.targets.tvm.tuning.store import BEST, Stored
from tamis.targets.tvm.tuning.tasks import Task

BATCH = 8
PATIENCE = 2
"""A search ends after so many batches in a row without gain."""
GAIN = 0.01
"""Relative; less is no gain."""
EXPECTED = 0.3
"""Relative gain that is expected of a kernel's second batch."""
ATTEMPTS = 3
"""How often the source is asked again when it repeats itself."""


@dataclass(frozen=True)
class Candidate:
    """A schedule to be measured.

    Args:
        schedule: The schedule.
        trace: How it was made, as JSON.
        place: Its position in the proposal of the evolutionary search; None for one of ours.
    """

    schedule: Schedule
    trace: Any
    place: int | None


@dataclass
class KernelSearch:
    """State of one search.

    Args:
        task: The kernel.
        target: What it is for.
        model: Cost model, shared by all searches.
        trials: How many candidates are measured at most, those of earlier runs included.
        seed: Of the random choices.
        known: What an earlier run found.

    Attributes:
        best_built: The best schedule, built, which others are measured beside; None as long as this run has not measured it.
    """

    task: Task
    target: tvm.target.Target
    model: ms.cost_model.CostModel
    trials: int
    seed: int
    known: Stored | None = None
    best: list[dict[str, Any]] = field(default_factory=list)
    measured: int = 0
    failed: int = 0
    default_us: float = math.inf
    stopped: str | None = None
    expected: float = 1.0
    best_built: Built | None = None
    _tried: list[str] = field(default_factory=list)
    _stale: int = 0
    _ours: Iterator[Schedule] | None = None
    _evolution: Evolution | None = None
    _proposed: int = 0

    def __post_init__(self) -> None:
        if self.known is not None:
            found = self.known["measurements"]
            self.best = list(self.known["value"]["schedules"])
            self.measured, self._tried = found["trials"], list(found["tried"])
            self.default_us = found["default_us"] or math.inf
            self.expected = EXPECTED
            if found["finished"] >= self.trials:
                self.stopped = "known"
        self.earlier = self.measured
        self._finish_if_spent()

    @property
    def best_us(self) -> float:
        """Time of the best schedule; infinite before anything was measured."""
        return float(self.best[0]["us"]) if self.best else math.inf

    @property
    def cost_us(self) -> float:
        """Time that the model spends in this kernel."""
        return self.task.weight * (self.best_us if self.best else max(self.task.flops / 1e4, 1.0))

    def known_best(self) -> Schedule | None:
        """The best schedule, if an earlier run found it and this one has not measured it yet."""
        if not self.best or self.best_built is not None:
            return None
        return apply_trace(self.task.module, self.best[0]["trace"])

    def renew(self, built: Built, us: float) -> None:
        """Take in what the best schedule takes today; the times of all others change with it."""
        factor = us / self.best_us
        self.best_built, self.default_us = built, round(self.default_us * factor, 3)
        self.best = [{**schedule, "us": round(schedule["us"] * factor, 3)} for schedule in self.best]

    def propose(self) -> list[Candidate]:
        """The next batch; empty ends the search.

        Our own candidates come first: the very first one is the default, so that tuning can only gain.
        """
        count = min(BATCH, self.trials - self.measured)
        found = list(self._take_ours(count))
        self._proposed = 0
        for _ in range(ATTEMPTS):
            if len(found) >= count:
                break
            fresh = list(self._take_evolved(count - len(found)))
            found += fresh
            if fresh:
                break
        if not found:
            self.stopped = "exhausted"
        return found

    def tell(self, batch: list[Candidate], outcome: list[Measured]) -> None:
        """What the last batch's candidates came to."""
        before = self.best_us
        seconds: list[float | None] = [None] * self._proposed
        for candidate, result in zip(batch, outcome, strict=True):
            self._tried.append(trace_digest(candidate.trace))
            self.measured += 1
            if result.error is not None:
                self.failed += 1
                continue
            if self.default_us == math.inf:
                self.default_us = result.us
            self.best.append({"trace": candidate.trace, "us": round(result.us, 3)})
            if candidate.place is not None:
                seconds[candidate.place] = result.us * 1e-6
        self.best = sorted(self.best, key=lambda s: s["us"])[:BEST]
        if self._evolution is not None and self._proposed:
            self._evolution.tell(seconds)
        self._judge(before)

    def record(self) -> Stored:
        """What is known now, as it is stored."""
        return {
            "workload": self.task.digest,
            "value": {"schedules": self.best},
            "measurements": {
                "cost": self.best_us if self.best else None,
                "default_us": self.default_us if self.best else None,
                "trials": self.measured,
                "failed": self.failed,
                "finished": self.trials if self.stopped and self.stopped != "negligible" else 0,
                "tried": self._tried,
                "operators": list(self.task.operators),
            },
        }

    def stop(self, reason: str) -> None:
        """End the search."""
        self.stopped = self.stopped or reason

    def _take_ours(self, count: int) -> Iterator[Candidate]:
        if self._ours is None:
            self._ours = candidate_schedules(self.task.module, self.target)
        while count > 0:
            schedule = next(self._ours, None)
            if schedule is None:
                return
            trace = trace_json(schedule)
            if trace_digest(trace) not in self._tried:
                count -= 1
                yield Candidate(schedule, trace, None)

    def _take_evolved(self, count: int) -> Iterator[Candidate]:
        if self._evolution is None:
            seed = self.seed + int(self.task.digest[:7], 16) + self.measured
            self._evolution = Evolution(self.task, self.target, self.model, seed, 1)
            for item in self.best:
                schedule = apply_trace(self.task.module, item["trace"])
                if schedule is not None and has_choices(schedule):
                    self._evolution.learn(schedule, item["us"] * 1e-6)
        proposed = self._evolution.propose(count)
        self._proposed = len(proposed)
        for place, schedule in enumerate(proposed):
            trace = trace_json(schedule)
            if trace_digest(trace) not in self._tried:
                yield Candidate(schedule, trace, place)

    def _judge(self, before: float) -> None:
        if before == math.inf:
            self.expected = EXPECTED
            self._stale = 0 if self.best else self._stale + 1
        else:
            gain = 1 - self.best_us / before
            self._stale = 0 if gain > GAIN else self._stale + 1
            self.expected = max(gain, self.expected / 2)
        if self._stale >= PATIENCE:
            self.stop("no gain")
        self._finish_if_spent()

    def _finish_if_spent(self) -> None:
        if self.measured >= self.trials:
            self.stop("trials")

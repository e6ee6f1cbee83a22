"""Builds candidates in parallel, each within a time limit. Runs in the compiler process."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tamis.targets.tvm.tuning.workers import Nursery, Worker, WorkerLost, ready

MODULE = "tamis.targets.tvm.tuning.build_worker"
SECONDS = 30.0
"""Time limit of a build."""
LEAST_SECONDS = 2.0
SLOWER = 3.0
"""An optional build may take so many times as long as the longest of the others so far, or ``LEAST_SECONDS``."""
FIRST_SECONDS = 120.0
"""Time limit while the linker may have to put together the C library's symbols."""


@dataclass(frozen=True)
class Built:
    """Outcome of a build.

    Args:
        path: The library.
        arguments: dtype and shape of each parameter.
        error: Why there is no library; None if there is one.
    """

    path: Path
    arguments: tuple[Any, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class _Order:
    number: int
    module: str
    optional: bool


@dataclass(frozen=True)
class _Begun:
    order: _Order
    start: float
    limit: float

    @property
    def end(self) -> float:
        """When the time is over, on the monotonic clock."""
        return self.start + self.limit


class Builder:
    """Build workers; use it as a context manager.

    Args:
        nursery: Starts them.
        target: What to build for, see ``machine_target``.
        folder: Where libraries go.
        workers: How many builds run at once.
        seconds: Time limit of one.
        module: What the workers do.
    """

    def __init__(
        self,
        nursery: Nursery,
        target: dict[str, Any],
        folder: Path,
        workers: int,
        seconds: float = SECONDS,
        module: str = MODULE,
    ) -> None:
        self._module = module
        self._nursery, self._target, self._folder, self._seconds = nursery, target, folder, seconds
        self._count, self._number, self._linked = workers, 0, False
        self._idle: list[Worker] = []
        self._longest: float | None = None
        self._waiting: deque[_Order] = deque()
        self._busy: dict[Worker, _Begun] = {}
        self._done: dict[int, Built] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in (*self._idle, *self._busy):
            worker.close()

    def submit(self, module: str, *, optional: bool = False) -> int:
        """Begin to build a module (its JSON) as soon as a worker is free; returns the build's number.

        Args:
            module: What to build.
            optional: Whether it is given up when it takes far longer than builds usually do.
        """
        self._number += 1
        self._waiting.append(_Order(self._number, module, optional))
        self._dispatch()
        self._collect(0.0)
        return self._number

    def finish(self) -> dict[int, Built]:
        """Wait for all builds; what they came to, by number."""
        while self._waiting or self._busy:
            self._dispatch()
            self._collect(1.0)
        done, self._done = self._done, {}
        return done

    def _dispatch(self) -> None:
        while self._waiting and (self._idle or len(self._busy) < self._count):
            worker = self._idle.pop() if self._idle else self._nursery.start(self._module)
            order = self._waiting.popleft()
            path = self._path(order.number)
            try:
                worker.send({"module": order.module, "target": self._target, "path": str(path)})
            except WorkerLost as error:
                self._done[order.number] = Built(path, error=str(error))
            else:
                self._busy[worker] = _Begun(order, time.monotonic(), self._limit(order))

    def _limit(self, order: _Order) -> float:
        """Seconds that a build may take."""
        if not self._linked:
            return max(self._seconds, FIRST_SECONDS)
        if not order.optional or self._longest is None:
            return self._seconds
        return min(self._seconds, max(LEAST_SECONDS, SLOWER * self._longest))

    def _collect(self, seconds: float) -> None:
        """Take in what is ready, waiting at most ``seconds`` for the first; end workers that are over their time."""
        if not self._busy:
            return
        now = time.monotonic()
        until = min(now + seconds, *(begun.end for begun in self._busy.values()))
        spoken = set(ready(list(self._busy), until))
        now = time.monotonic()
        late = {worker for worker, begun in self._busy.items() if begun.end <= now}
        for worker in spoken | late:
            begun = self._busy.pop(worker)
            number = begun.order.number
            try:
                reply = worker.receive(0.0 if worker in spoken else -1.0)
            except WorkerLost as error:
                why = str(error) if worker in spoken else f"took longer than {round(begun.limit, 1):g} s"
                self._done[number] = Built(self._path(number), error=why)
                continue
            self._idle.append(worker)
            if "error" not in reply:
                if self._linked and not begun.order.optional:
                    self._longest = max(self._longest or 0.0, now - begun.start)
                self._linked = True
            self._done[number] = Built(self._path(number), tuple(reply.get("arguments", ())), error=reply.get("error"))
        self._dispatch()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.so"

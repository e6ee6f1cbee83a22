"""The starting and stopping of workers: processes that may crash or hang without harm to anybody else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

START_SECONDS = 120.0
"""Time limit for loading TVM, once a nursery; a busy machine needs tens of seconds."""
PRELOADED = ("tamis.targets.tvm.tuning.build_worker", "tamis.targets.tvm.tuning.measure_worker")


class WorkerLost(Exception):
    """A worker crashed, or was ended because it took too long."""


class Nursery:
    """Starts workers by forking a process that has loaded TVM; use it as a context manager.

    Loading begins at once, in the background; the first worker waits for it.

    Args:
        preloaded: Modules that workers will need.
    """

    def __init__(self, preloaded: Sequence[str] = PRELOADED) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tamis.targets.tvm.tuning.nursery", str(theirs.fileno()), *preloaded],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def start(self, module: str) -> Worker:
        """A new worker that answers with ``module.answer``.

        Raises:
            WorkerLost: The nursery does not work.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._socket, [module.encode()], [theirs.fileno()])
            except OSError as error:
                raise WorkerLost(f"the process that starts workers has ended: {error}") from error
        return Worker(Connection(ours.detach()))


class Worker:
    """One worker process.

    Args:
        connection: Its socket.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.pid: int = self._receive(START_SECONDS)["pid"]

    def send(self, request: dict[str, Any]) -> None:
        """Hand it a request.

        Raises:
            WorkerLost: It is gone.
        """
        try:
            self.connection.send_bytes(json.dumps(request).encode())
        except OSError as error:
            self.close()
            raise WorkerLost("the worker has ended") from error

    def receive(self, seconds: float) -> dict[str, Any]:
        """Its answer.

        Raises:
            WorkerLost: It crashed or took longer than ``seconds``; it is ended then.
        """
        return self._receive(seconds)

    def call(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send and receive."""
        self.send(request)
        return self.receive(seconds)

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        if pid := getattr(self, "pid", 0):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self.pid = 0

    def _receive(self, seconds: float) -> dict[str, Any]:
        try:
            if not self.connection.poll(max(seconds, 0.0)):
                raise WorkerLost(f"took longer than {round(seconds, 1):g} s")
            message: dict[str, Any] = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError) as error:
            self.close()
            raise WorkerLost("crashed") from error
        except WorkerLost:
            self.close()
            raise
        return message


def ready(workers: list[Worker], until: float) -> list[Worker]:
    """The workers that have something to say, or have ended; waits for one until the monotonic time ``until``."""
    found = wait([w.connection for w in workers], max(until - time.monotonic(), 0.0))
    return [w for w in workers if w.connection in found]

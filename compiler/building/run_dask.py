"""The jobs of a build as Dask tasks, on workers that see the same files under the same paths.

A job whose worker dies is given to another one, up to ``distributed.scheduler.allowed-failures`` times (3). One worker
process a machine runs as many compiles as it has threads; only they stand still while one of them measures.

*References.* https://distributed.dask.org, "Resilience".
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tamis.compiler.building.job import Job, Result
from tamis.compiler.building.memory import limit
from tamis.compiler.building.quiet import Quiet
from tamis.compiler.building.room import Room
from tamis.compiler.building.run_build import Crew
from tamis.compiler.building.run_job import CHILD, Workshop
from tamis.compiler.errors import RuntimeFailureError, UsageError

LOCAL = "local"
CONNECT_SECONDS = 20.0

_workshops: dict[str, Workshop] = {}
_lock = threading.Lock()


@contextmanager
def on_dask(scheduler: str, jobs: int, build: str, module: str = CHILD) -> Iterator[Crew]:
    """Workers of a Dask cluster.

    Args:
        scheduler: ``tcp://host:port`` of one that runs, or ``local`` to start one here.
        jobs: Compiles at a time of a local one.
        build: A name that no other build has.
        module: What is run with the arguments of ``tamis``.

    Raises:
        UsageError: Dask is not installed, or that is no address.
        RuntimeFailureError: The scheduler cannot be reached, or has no workers.
    """
    with _client(scheduler, jobs) as client:
        executor = client.get_executor(pure=False)
        try:
            yield Crew(executor, _Task(build, module), lambda: _stop_all(client, build))
        finally:
            with suppress(OSError):  # a scheduler that is gone has nothing left to close
                client.run(_close, build)


class _Task:
    """``run`` of the workshop of whichever worker it gets to."""

    def __init__(self, build: str, module: str) -> None:
        self.build, self.module = build, module

    def __call__(self, job: Job) -> Result:
        with _lock:
            if self.build not in _workshops:
                _workshops[self.build] = Workshop(Quiet(), Room(limit()), self.module)
            workshop = _workshops[self.build]
        return workshop.run(job)


def _stop_all(client: Any, build: str) -> None:
    client.run(_stop, build)


def _stop(build: str) -> None:
    with _lock:
        if build not in _workshops:
            _workshops[build] = Workshop(Quiet(), Room(0))
        workshop = _workshops[build]
    workshop.quiet.stop()


def _close(build: str) -> None:
    with _lock:
        workshop = _workshops.pop(build, None)
    if workshop is not None:
        workshop.quiet.close()


@contextmanager
def _client(scheduler: str, jobs: int) -> Iterator[Any]:
    try:
        import distributed
    except ImportError as error:
        raise UsageError("--scheduler needs Dask", found=str(error), fix="pip install 'tamis[distributed]'") from error
    dask: Any = distributed
    if scheduler == LOCAL:
        with (
            dask.LocalCluster(
                n_workers=1,
                threads_per_worker=jobs,
                memory_limit=0,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            ) as cluster,
            dask.Client(cluster) as client,
        ):
            yield client
        return
    if "://" not in scheduler:
        raise UsageError(
            "this is no scheduler", where="--scheduler", expected="tcp://HOST:PORT or local", found=scheduler
        )
    try:
        client = dask.Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise RuntimeFailureError(
            "the scheduler cannot be reached", where=scheduler, found=str(error), fix="start it with 'dask scheduler'"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise RuntimeFailureError(
                "the scheduler has no workers", where=scheduler, fix=f"start one with 'dask worker {scheduler}'"
            ) from error
        yield client

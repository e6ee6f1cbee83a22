"""Run all jobs of a build, on this machine or on Dask, until they are done, one fails, or somebody interrupts."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType

from tamis.compiler.building.job import NOT_RUN, Job, Result
from tamis.compiler.building.memory import limit
from tamis.compiler.building.quiet import Quiet
from tamis.compiler.building.room import Room
from tamis.compiler.building.run_job import CHILD, CRASHED, Workshop
from tamis.compiler.staging import sweep

Note = Callable[[float, str], None]


@dataclass(frozen=True)
class Crew:
    """Who does the work.

    Args:
        executor: Where jobs are sent.
        run: What is done with each.
        stop: End what runs and start nothing more.
    """

    executor: Executor
    run: Callable[[Job], Result]
    stop: Callable[[], None]


@contextmanager
def here(
    jobs: int, listen: Callable[[str | None], None] | None = None, memory: int | None = None, module: str = CHILD
) -> Iterator[Crew]:
    """Processes of this machine.

    Args:
        jobs: How many at a time.
        listen: Gets the name of the compile that measures, or None.
        memory: Bytes that they may take together, by default most of what is free now.
        module: What is run with the arguments of ``tamis``.
    """
    quiet = Quiet(listen)
    try:
        workshop = Workshop(quiet, Room(limit() if memory is None else memory), module)
        with ThreadPoolExecutor(jobs, thread_name_prefix="tamis-job") as pool:
            yield Crew(pool, workshop.run, quiet.stop)
    finally:
        quiet.close()


def run_build(jobs: Sequence[Job], crew: AbstractContextManager[Crew], *, keep_going: bool, note: Note) -> list[Result]:
    """One result a job.

    Args:
        jobs: What to compile.
        crew: Who does it.
        keep_going: Go on after a job that failed or missed its budget; otherwise the others are ended.
        note: Gets the share that is done and a few words.

    Raises:
        KeyboardInterrupt: The build was interrupted or terminated; every compile has ended and left nothing.
    """
    results = [NOT_RUN] * len(jobs)
    with _terminated_as_interrupted(), crew as hands:
        sent: dict[Future[Result], int] = {}
        try:
            for index, job in enumerate(jobs):
                sent[hands.executor.submit(hands.run, job)] = index
            for done, future in enumerate(as_completed(sent), 1):
                index = sent[future]
                results[index] = _result(future)
                note(done / len(jobs), f"{done} of {len(jobs)}, {jobs[index].label}: {results[index].verdict}")
                if not (results[index].good or results[index] == NOT_RUN or keep_going):
                    _end(hands, sent)
        except BaseException:
            _end(hands, sent)
            raise
        finally:
            hands.executor.shutdown(wait=True)
            for job, result in zip(jobs, results, strict=True):
                if not result.good and job.out.parent.is_dir():
                    sweep(job.out)
    return results


def _end(hands: Crew, sent: dict[Future[Result], int]) -> None:
    for future in sent:
        future.cancel()
    hands.stop()


def _result(future: Future[Result]) -> Result:
    """What came of a job; Dask gives back whatever went wrong on a worker."""
    try:
        return future.result()
    except CancelledError:
        return NOT_RUN
    except Exception as error:  # noqa: BLE001
        if "Cancelled" in type(error).__name__:
            return NOT_RUN
        return Result("failed", CRASHED, f"{type(error).__name__}: {error}")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the build as Ctrl-C does, with everything tidied up; a second signal does not keep it from that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        for kind in before:
            signal.signal(kind, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)}
    for kind in before:
        signal.signal(kind, interrupt)
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)

"""Judge many cases in several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from benchmarks.corpus.cases import Case, load_cases, with_constants
from benchmarks.corpus.judge import Outcome, Result, judge

CHUNK = 25
"""Cases that a process gets at once."""


def run(names: Sequence[str], processes: int | None = None) -> list[Result]:
    """Judge the named cases in processes of their own, sorted by name.

    A process that ends (the runtime can be brought down) is a crash of all the cases that it had been given.
    """
    count = processes or len(os.sched_getaffinity(0))
    chunks = [list(names[i : i + CHUNK]) for i in range(0, len(names), CHUNK)]
    found: list[Result] = []
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        pending: dict[Future[list[Result]], list[str]] = {pool.submit(judge_all, chunk): chunk for chunk in chunks}
        for future in as_completed(pending):
            try:
                found += future.result()
            except BrokenProcessPool:
                found += [Result(name, Outcome.CRASH, "the process ended") for name in pending[future]]
    return sorted(found, key=lambda result: result.name)


def judge_all(names: Sequence[str]) -> list[Result]:
    """The named cases, each in all its forms."""
    cases = {case.name: case for case in load_cases()}
    return [_judge(form) for name in names for form in with_constants(cases[name])]


def _judge(case: Case) -> Result:
    """Whatever goes wrong beside the steps is a failure of the case, not the end of the run."""
    try:
        return judge(case)
    except Exception as error:
        return Result(case.name, Outcome.CRASH, f"{type(error).__name__}: {error}")

"""Judge many cases in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed

from benchmarks.corpus.cases import load_cases, with_constants
from benchmarks.corpus.judge import Outcome, Result, judge
from tamis.targets.hardware.cpu_limits import usable_threads

CHUNK = 25
"""Cases that a process gets at once."""


def run(names: Sequence[str]) -> list[Result]:
    """Judge the named cases in processes of their own, sorted by name.

    A process that fails or ends (the runtime can be brought down) is a crash of all the cases that it was given at once.
    """
    chunks = [list(names[i : i + CHUNK]) for i in range(0, len(names), CHUNK)]
    found: list[Result] = []
    with ProcessPoolExecutor(usable_threads(), multiprocessing.get_context("spawn")) as pool:
        pending: dict[Future[list[Result]], list[str]] = {pool.submit(judge_all, chunk): chunk for chunk in chunks}
        for future in as_completed(pending):
            if (error := future.exception()) is None:
                found += future.result()
            else:
                reason = f"{type(error).__name__}: {error}"
                found += [Result(name, Outcome.CRASH, reason) for name in pending[future]]
    return sorted(found, key=lambda result: result.name)


def judge_all(names: Sequence[str]) -> list[Result]:
    """The named cases, each in all its forms."""
    cases = {case.name: case for case in load_cases()}
    return [judge(form) for name in names for form in with_constants(cases[name])]

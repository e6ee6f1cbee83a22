"""The search over all kernels of a model: those that promise most first. Runs in the compiler process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm.s_tir.schedule import Schedule

from tamis.targets.tvm.tuning.builder import Builder, Built
from tamis.targets.tvm.tuning.kernel_search import Candidate, KernelSearch
from tamis.targets.tvm.tuning.runner import Measured, Runner
from tamis.targets.tvm.tuning.tasks import layout_free, lowered_form

Report = Callable[[dict[str, Any]], None]

ROUND = 32
"""Candidates that are built together before they are measured; about so many are lost by a kill."""
NEGLIGIBLE = 0.003
"""A kernel with so small a share of the model's time is left as it is after its first batch."""


def search(
    searches: Sequence[KernelSearch],
    builder: Builder,
    runner: Runner,
    folder: Path,
    report: Report,
    seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Tune until every search has stopped or the time is over.

    Building keeps all cores busy; then the candidates are measured one after the other while nothing else runs.

    Args:
        searches: One a kernel.
        builder: Builds candidates.
        runner: Measures them.
        folder: For references of results.
        report: Gets a report with the kernel's record after each batch.
        seconds: Time limit; a round that has begun is finished.
        clock: Seconds.
    """
    end = math.inf if seconds is None else clock() + seconds
    while clock() < end:
        _drop_negligible(searches)
        active = [s for s in searches if s.stopped is None]
        if not active:
            return
        _round(sorted(active, key=_promise, reverse=True), searches, builder, runner, folder, report)


def model_ms(searches: Sequence[KernelSearch], *, default: bool = False) -> float | None:
    """Time of a call of the model, from its kernels; None as long as one was never measured."""
    times = [s.task.weight * (s.default_us if default else s.best_us) for s in searches]
    total = sum(times) / 1000
    return round(total, 4) if math.isfinite(total) else None


def _promise(search: KernelSearch) -> tuple[bool, float]:
    """Kernels never measured come first, then those that the model would gain most from."""
    return not search.best and search.measured == search.earlier, search.cost_us * search.expected


def _drop_negligible(searches: Sequence[KernelSearch]) -> None:
    if any(not s.best and s.stopped is None for s in searches):
        return
    total = sum(s.cost_us for s in searches if s.best)
    for search in searches:
        if search.cost_us < NEGLIGIBLE * total:
            search.stop("negligible")


def _round(
    order: Sequence[KernelSearch],
    searches: Sequence[KernelSearch],
    builder: Builder,
    runner: Runner,
    folder: Path,
    report: Report,
) -> None:
    batches: list[tuple[KernelSearch, int | None, list[Candidate], list[int]]] = []
    for kernel in order:
        if sum(len(candidates) for _, _, candidates, _ in batches) >= ROUND:
            break
        report(_place(kernel))
        known = kernel.known_best()
        again = None if known is None else builder.submit(_module(known))
        candidates = kernel.propose()
        numbers = [builder.submit(_module(c.schedule), optional=c.place is not None) for c in candidates]
        batches.append((kernel, again, candidates, numbers))
    built = builder.finish()
    for kernel, again, candidates, numbers in batches:
        if again is not None:
            _measure_again(kernel, built[again], runner, folder)
        results = _measure(kernel, [built[n] for n in numbers], runner, folder)
        kernel.tell(candidates, results)
        report({**_place(kernel), **_news(kernel, results), **_totals(searches)})


def _module(schedule: Schedule) -> str:
    return str(tvm.ir.save_json(lowered_form(schedule)))


def _measure_again(kernel: KernelSearch, again: Built, runner: Runner, folder: Path) -> None:
    """What is best from an earlier run, at today's clocks; if it fails, new candidates are measured by themselves."""
    found = runner.measure(again, _reference(kernel, folder), layout_free(kernel.task.module))
    if found.error is None:
        kernel.renew(again, found.us)


def _measure(kernel: KernelSearch, candidates: list[Built], runner: Runner, folder: Path) -> list[Measured]:
    reference, free = _reference(kernel, folder), layout_free(kernel.task.module)
    us, results = kernel.best_us, list[Measured]()
    for built in candidates:
        found = runner.measure(built, reference, free, us if math.isfinite(us) else None, kernel.best_built)
        results.append(found)
        useless: Built | None = built
        if found.us < us:
            us, kernel.best_built, useless = found.us, built, kernel.best_built
        if useless is not None:
            useless.path.unlink(missing_ok=True)
    return results


def _reference(kernel: KernelSearch, folder: Path) -> Path:
    return folder / f"{kernel.task.digest[:24]}.npz"


def _place(kernel: KernelSearch) -> dict[str, Any]:
    return {"phase": "tune", "op": " ".join(kernel.task.operators), "node": kernel.task.name}


def _news(kernel: KernelSearch, results: list[Measured]) -> dict[str, Any]:
    return {
        "task": kernel.task.name,
        "best_us": kernel.best_us if kernel.best else None,
        "default_us": kernel.default_us if kernel.best else None,
        "errors": sorted({r.error for r in results if r.error is not None}),
        "stopped": kernel.stopped,
        "records": [kernel.record()],
    }


def _totals(searches: Sequence[KernelSearch]) -> dict[str, Any]:
    return {
        "trials": sum(s.measured - s.earlier for s in searches),
        "failed": sum(s.failed for s in searches),
        "finished": sum(s.stopped is not None for s in searches),
        "kernels": len(searches),
        "estimated_ms": model_ms(searches),
    }

"""Search the session settings that matter, one at a time, by paired measurement.

The settings and their order come from measurements on x86: the number of threads and the layout level move
latency, spinning moves CPU time, and two of ONNX Runtime's own fusions cost MiniLM 10 % of its speed. A candidate
replaces the incumbent if it is measured faster; if neither is, the one that surely uses less CPU time wins, which
leaves the machine to its other work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from pydantic import JsonValue

from tamis.compiler.graph_pass import Feeds
from tamis.compiler.measure import Clock
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.target import Runner, TuneResult
from tamis.compiler.timings import Comparison
from tamis.targets.onnxruntime.settings import Settings

Load = Callable[[Settings], Runner]

CPU_GAIN = 0.05
"""CPU time that a candidate must save, beyond its interval, to win without being faster."""


def tune_session(
    load: Load,
    start: Settings,
    fixed: frozenset[str],
    feeds: Feeds,
    seconds: float,
    progress: Callable[[float, str], None],
    clock: Clock | None = None,
) -> TuneResult:
    """Coordinate search from ``start``; in the end the winner must hold against ``start`` once more.

    Args:
        load: Makes a runner with given settings.
        start: The defaults.
        fixed: Settings that the recipe has decided.
        feeds: What to run.
        seconds: Time budget, shared equally by the measurements. One that has begun is finished, so slow models
            may take longer.
        progress: Called with (fraction done, best so far).
        clock: Time source.
    """
    clock = clock or Clock()
    plan = [(key, value) for key, value in candidates(start.threads) if key not in fixed]
    share = seconds / (len(plan) + 1)
    deadline = clock.wall() + seconds * 1e9
    best, trials = start, list[dict[str, JsonValue]]()

    def race(a: Settings, b: Settings) -> Comparison:
        return compare_loads(
            lambda: partial(load(a), feeds), lambda: partial(load(b), feeds), seconds=share, clock=clock
        )

    for i, (key, value) in enumerate(plan):
        if clock.wall() >= deadline:
            break
        progress(i / (len(plan) + 1), f"{key} {value}")
        changed = best.model_copy(update={key: value})
        found = race(best, changed)
        wins = prefers(found)
        trials.append({"setting": key, "value": value, "kept": wins, **found.summary()})
        if wins:
            best = changed
    record: dict[str, JsonValue] = {"start": start.to_json(), "trials": list(trials)}
    if best != start:
        progress(len(plan) / (len(plan) + 1), "confirming")
        confirmed = race(start, best)
        record["confirmed"] = confirmed.summary()
        if not prefers(confirmed):
            best = start
    return TuneResult(best.to_json(), record)


def candidates(threads: int) -> Iterator[tuple[str, JsonValue]]:
    """Setting and value of each trial, the most promising first."""
    count = threads // 2
    while count >= 1:
        yield "threads", count
        count //= 2
    yield "fuse_skip_layer_norm", False
    yield "fuse_matmul_add", False
    yield "graph_optimization", "extended"
    yield "spinning", "never"


def prefers(found: Comparison) -> bool:
    """Whether the candidate (B) replaces the incumbent (A)."""
    if found.verdict != "undecided":
        return found.verdict == "faster"
    return found.cpu_low > 1 + CPU_GAIN

"""Search the session settings that matter, one at a time, by paired measurement.

The settings and their order come from measurements on x86 and ARM: the number of threads and the layout
level move latency; spinning moves CPU time; flushing denormals matters to models whose state decays.
(The memory arena, memory patterns and prepacking showed no effect and are left out.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pydantic import JsonValue

from tamis.compiler.graph_pass import Feeds
from tamis.compiler.measure import Comparison, compare
from tamis.compiler.target import Runner, TuneResult

Settings = Mapping[str, JsonValue]


def tune_session(
    load: Callable[[Settings], Runner],
    start: Settings,
    fixed: set[str],
    feeds: Feeds,
    seconds: float,
    progress: Callable[[float, str], None],
) -> TuneResult:
    """Coordinate search from ``start``.

    A candidate replaces the incumbent if it is measured faster; if neither is, the one that uses less CPU
    time beyond noise wins, which frees the machine for its other work.

    Args:
        load: Makes a runner with given settings.
        start: All settings, at their defaults.
        fixed: Settings that the recipe has decided.
        feeds: What to run.
        seconds: Time budget, shared equally by the candidates.
        progress: Called with (fraction done, best so far).
    """
    plan = [(key, value) for key, value in candidates(int(str(start["threads"]))) if key not in fixed]
    best, trials = dict(start), []
    incumbent = load(best)
    total = 1.0
    for i, (key, value) in enumerate(plan):
        if best[key] == value:
            continue
        candidate = load({**best, key: value})
        found = _race(incumbent, candidate, feeds, seconds / len(plan))
        wins = prefers(found)
        trials.append({"setting": key, "value": value, "kept": wins, **found.summary()})
        if wins:
            best, incumbent = {**best, key: value}, candidate
            total *= found.speedup
        progress((i + 1) / len(plan), f"best so far {total:.2f}x")
    return TuneResult(best, {"trials": trials, "speedup": total})


def candidates(threads: int) -> Iterator[tuple[str, JsonValue]]:
    """Setting and value of each trial, the most promising first."""
    count = threads // 2
    while count >= 1:
        yield "threads", count
        count //= 2
    yield "allow_spinning", False
    yield "optimization", "extended"
    yield "denormal_as_zero", True


def prefers(found: Comparison) -> bool:
    """Whether the candidate (B) replaces the incumbent (A)."""
    if found.verdict != "undecided":
        return found.verdict == "faster"
    return found.cpu_low > 1


def _race(a: Runner, b: Runner, feeds: Feeds, seconds: float) -> Comparison:
    return compare(lambda: a(feeds), lambda: b(feeds), seconds=seconds)


"""What the measuring worker does: load a library, check what it computes, time it. Runs in a worker process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from tamis.compiler.staging import staged_file

REPEATS = 3
BYTES = ("int8", "uint8")
"""Integers that are rounded floats: another order of sums may give the next one."""
HOPELESS = 2.5
"""A candidate whose first run takes so many times as long as the best one is not timed any further."""
COLD_BYTES = 1 << 23
"""So many bytes of weights take turns where they are to be cold: more than a core's own cache holds."""
FEW_BYTES = 1 << 16
"""Weights so small come from the cache behind fast enough."""
TOLERANCE = {"float64": 1e-9, "float32": 1e-3, "float16": 5e-2, "bfloat16": 2e-1}
"""Normwise; schedules reorder sums, and values that are no user's are drawn at random."""


Timer = Callable[[int], float]
"""Seconds of one of so many calls."""

_best: dict[str, Timer] = {}
"""What times the best library, by its path: it stays loaded until there is another one."""


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Measure a library, in turns with the best one: clocks of a machine change from one candidate to the next.

    Args:
        request: ``path``; ``arguments`` (dtype and shape of each); ``constant`` (indices of the arguments whose order
            the schedule may have changed: they are filled with one value); ``reference`` (path of the results that it
            must have; written if missing); ``best``, path and arguments of the best library, or None; ``best_us`` or
            None; ``milliseconds`` that a repetition takes; ``cold``, whether constants are in no near cache when a call
            begins, as in a model with many of them.

    Returns:
        ``us``, time of a call; whether it was only ``probed``; and ``best_us``, that of the best library at the same time,
        None without one.
    """
    seconds = _loaded(request, request["path"], request["arguments"], checked=True)
    best = _timer_of_best(request)
    probe = _probe(seconds)
    best_us = request["best_us"] if best is None else _probe(best)
    if best_us is not None and probe > HOPELESS * best_us:
        return {"us": probe, "probed": True, "best_us": best and best_us}
    us, best_us = _in_turns(request, seconds, probe, best)
    if best_us is not None and us < best_us:  # by luck, maybe: many try
        us, best_us = _in_turns(request, seconds, us, best)
    return {"us": us, "probed": False, "best_us": best_us}


def _timer_of_best(request: dict[str, Any]) -> Timer | None:
    if request["best"] is None:
        return None
    path, arguments = request["best"]
    if path not in _best:
        _best.clear()
        _best[path] = _loaded(request, path, arguments, checked=False)
    return _best[path]


def _loaded(request: dict[str, Any], path: str, shapes: list[Any], *, checked: bool) -> Timer:
    """What times a library, after one call of it."""
    module = tvm.runtime.load_module(path)
    arrays = [fill(i, dtype, shape, i in request["constant"]) for i, (dtype, shape) in enumerate(shapes)]
    arguments = [tvm.runtime.tensor(array, tvm.cpu()) for array in arrays]
    main = module["main"]
    main(*arguments)
    if checked:
        check(Path(request["reference"]), arrays, [a.numpy() for a in arguments])
    turns = cold_turns(arguments, arrays, request["constant"]) if request["cold"] else [arguments]
    return partial(_warm_seconds, module, arguments) if len(turns) == 1 else partial(_seconds, main, cycle(turns))


def _in_turns(request: dict[str, Any], seconds: Timer, us: float, best: Timer | None) -> tuple[float, float | None]:
    """Microseconds of a call, and of one of the best library.

    Args:
        request: Of the measurement.
        seconds: Times the candidate.
        us: About how long it takes.
        best: Times the best library.
    """
    number = max(1, math.ceil(request["milliseconds"] * 1000 / max(us, 0.01)))
    pairs = [(seconds(number), best and best(number)) for _ in range(REPEATS)]
    return min(t for t, _ in pairs) * 1e6, best and min(t for _, t in pairs if t) * 1e6


def _probe(seconds: Timer) -> float:
    """About how many microseconds a call takes."""
    return min(seconds(1) for _ in range(2)) * 1e6


def cold_turns(arguments: list[Any], arrays: list[np.ndarray], constant: Sequence[int]) -> list[list[Any]]:
    """The arguments several times, each with constants of its own, so that those of the next call are not at hand.

    Args:
        arguments: Of a call.
        arrays: Their elements.
        constant: Which of them are constants. If they are small, there is one turn only; if they are large, too, since a
            call then ends without what it began with in the cache.
    """
    size = sum(arrays[i].nbytes for i in constant)
    count = 1 + math.ceil(COLD_BYTES / size) if FEW_BYTES < size < COLD_BYTES else 1

    def fresh(i: int, argument: Any) -> Any:
        return tvm.runtime.tensor(arrays[i], argument.device) if i in constant else argument

    return [arguments, *([fresh(i, a) for i, a in enumerate(arguments)] for _ in range(count - 1))]


def _warm_seconds(module: Any, arguments: list[Any], number: int) -> float:
    """Of one of ``number`` calls with the same arguments."""
    return float(module.time_evaluator("main", tvm.cpu(), number=number, repeat=1)(*arguments).min)


def _seconds(main: Any, turns: Iterator[list[Any]], number: int) -> float:
    """Of one of ``number`` calls with the arguments whose turn it is."""
    order = list(islice(turns, number))
    begin = time.perf_counter()
    for arguments in order:
        main(*arguments)
    return (time.perf_counter() - begin) / number


def fill(index: int, dtype: str, shape: list[int], constant: bool) -> np.ndarray:
    """Numbers between 0 and 1; bytes are quantized values; other integers are 0, a valid index of everything."""
    if dtype in BYTES:
        return np.random.default_rng(index).integers(0, 1 if constant else 100, shape).astype(dtype)
    if dtype.startswith(("int", "uint", "bool")):
        return np.zeros(shape, dtype)
    if constant:
        return np.full(shape, 0.5, _numpy(dtype))
    return np.random.default_rng(index).random(shape, np.float32).astype(_numpy(dtype))


def _numpy(dtype: str) -> Any:
    if dtype == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return dtype


def check(reference: Path, before: list[np.ndarray], after: list[np.ndarray]) -> None:
    """Raise if the results differ from the reference's, beyond what another order of sums can do.

    Args:
        reference: File with the results of the first schedule; written if missing.
        before: All arguments before the call.
        after: And after it: those that changed are the results.
    """
    changed = [a for a, b in zip(after, before, strict=True) if a.tobytes() != b.tobytes()]
    results = [a.astype(np.float64) for a in changed]
    limit = max((TOLERANCE.get(str(a.dtype), 0.0) for a in after), default=0.0)
    if not reference.exists():
        with staged_file(reference) as path, path.open("wb") as file:
            np.savez(file, *results)
        return
    with np.load(reference) as stored:
        expected = [stored[name] for name in stored.files]
    steps = [float(str(a.dtype) in BYTES) for a in changed]
    if len(expected) != len(results) or not all(map(_close, results, expected, [limit] * len(steps), steps)):
        raise ValueError("computes something else than the first schedule")


def _close(x: np.ndarray, y: np.ndarray, limit: float, step: float) -> bool:
    if x.shape != y.shape:
        return False
    scale = float(np.max(np.abs(y), initial=0.0, where=np.isfinite(y)))
    with np.errstate(invalid="ignore"):
        same = (x == y) | (np.isnan(x) & np.isnan(y)) | (np.abs(x - y) <= max(limit * scale, step))
    return bool(same.all())

"""Timing over several loads of both models: where a load happens to put the weights is chance, too.

Two loads of one model differ by up to 8 % where a call takes microseconds, and by 1 to 2 % where it takes
milliseconds, wherever their buffers lie; however many calls are timed, they all repeat the same luck. So both
models are loaded anew several times, in alternating order, each round is timed in pairs, and the interval is
that of the mean over the rounds.

*References.* Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013, section 4: repeat at the
highest level that varies at random. Mytkowicz et al., Producing Wrong Data Without Doing Anything Obviously
Wrong, ASPLOS 2009: what the layout of memory does to times.
"""

from __future__ import annotations

from collections.abc import Callable

from tamis.compiler.alone import alone
from tamis.compiler.measure import Call, Clock, compare, time_pairs
from tamis.compiler.paired_ratio import centre_of, mean_ratio
from tamis.compiler.timings import Comparison, Pairs, comparison_of

LOADS = 6
"""Loads of either model. With so few the interval, Student's, is 2.6 standard errors wide to either side."""
PAIRS_PER_LOAD = 10
MIN_GAIN = 0.01
"""Smaller differences give no verdict: two processes differ by about half of that."""


def compare_loads(
    load_a: Callable[[], Call],
    load_b: Callable[[], Call],
    *,
    seconds: float = 5.0,
    min_pairs: int = LOADS * PAIRS_PER_LOAD,
    clock: Clock | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Comparison:
    """Time what ``load_b`` gives against what ``load_a`` gives.

    Models whose loads would take longer than the measurement are loaded once; then differences under
    ``measure.MIN_GAIN`` get no verdict. Never more than one of each is loaded at a time.

    Args:
        load_a: Loads the reference.
        load_b: Loads the candidate.
        seconds: How long to measure for, without loading.
        min_pairs: Go on beyond ``seconds`` for so many pairs, over all loads.
        clock: Time source.
        progress: Gets (fraction done, ratio of the last pair) between pairs.
    """
    with alone(progress):
        return _compare(load_a, load_b, seconds, min_pairs, clock or Clock(), progress)


def _compare(
    load_a: Callable[[], Call],
    load_b: Callable[[], Call],
    seconds: float,
    min_pairs: int,
    clock: Clock,
    progress: Callable[[float, str], None] | None,
) -> Comparison:
    begun = clock.wall()
    a, b = load_a(), load_b()
    if (clock.wall() - begun) / 1e9 * LOADS > seconds:
        return compare(a, b, seconds=seconds, clock=clock, progress=progress, min_pairs=min_pairs)
    rounds: list[Pairs] = []
    for i in range(LOADS):
        if i:
            del a, b
            if i % 2:
                b, a = load_b(), load_a()
            else:
                a, b = load_a(), load_b()
        report = _share(progress, i)
        pairs = max(PAIRS_PER_LOAD, min_pairs // LOADS)
        rounds.append(time_pairs(a, b, seconds=seconds / LOADS, min_pairs=pairs, clock=clock, progress=report))
    wall, cpu = (mean_ratio([centre_of(getattr(r, kind)) for r in rounds]) for kind in ("wall", "cpu"))
    return comparison_of(rounds, wall, cpu, MIN_GAIN)


def _share(progress: Callable[[float, str], None] | None, done: int) -> Callable[[float, str], None] | None:
    return None if progress is None else lambda fraction, text: progress((done + fraction) / LOADS, text)

"""Give up integers where the real metric wants it: the fastest mix that holds the budget, with few looks at the metric.

The sum of damages only predicts. So the front of mixes is searched by bisection on the real metric; from the fastest
mix that does not hold, the part with the best change of metric per latency given up is reverted until it holds; and
what holds gets parts back as long as it goes on holding. The metric is looked at a limited number of times.

*References.* Accuracy control of NNCF (reverting by measured rank), which has no regard to latency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Chosen = frozenset[int]

SHORTLIST = 3
"""Parts whose effect on the real metric is measured before one of them is reverted."""
SMALLEST_GAIN = 0.002
"""Parts whose reversion gives up less of the latency are not worth a look at the metric when parts are given back."""


@dataclass(frozen=True)
class Trial:
    """One look at the metric.

    Args:
        chosen: Parts in integers.
        excess: By how much the budget is broken; it holds at 0 and below.
    """

    chosen: Chosen
    excess: float


@dataclass
class Looks:
    """The metric, with a memory and a limit.

    Args:
        excess_of: By how much a mix breaks the budget.
        limit: Most calls of ``excess_of``.
    """

    excess_of: Callable[[Chosen], float]
    limit: int
    trials: list[Trial] = field(default_factory=list)
    _known: dict[Chosen, float] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Looks that are left."""
        return self.limit - len(self.trials)

    def __call__(self, chosen: Chosen) -> float | None:
        """The excess of a mix; None if no look is left."""
        if chosen not in self._known:
            if self.left <= 0:
                return None
            self._known[chosen] = self.excess_of(chosen)
            self.trials.append(Trial(chosen, self._known[chosen]))
        return self._known[chosen]

    def holds(self, chosen: Chosen) -> bool:
        """Whether it is known, or found, that a mix holds the budget."""
        excess = self(chosen)
        return excess is not None and excess <= 0


def first_that_holds(mixes: Sequence[Chosen], looks: Looks) -> int:
    """Index of the first mix that holds, by bisection: damage falls along ``mixes``; their number if none does."""
    if mixes and looks.holds(mixes[0]):
        return 0
    low, high = 0, len(mixes)
    while high - low > 1:
        middle = (low + high) // 2
        if looks.holds(mixes[middle]):
            high = middle
        else:
            low = middle
    return high


def bridge(start: Chosen, end: Chosen, damage: Sequence[float]) -> list[Chosen]:
    """From ``start``, which contains ``end``, to ``end``, giving up the most harmful part at each step."""
    path = [start]
    for part in sorted(start - end, key=lambda i: (-damage[i], i)):
        path.append(path[-1] - {part})
    return path


def between(
    harmful: Sequence[Chosen],
    base: Chosen,
    damage: Sequence[float],
    speedup: Callable[[Chosen], float],
    looks: Looks,
) -> set[Chosen]:
    """A mix that holds, on the bridge to ``base`` from what was timed as faster than it and does not hold; empty if none.

    Where predicted latencies are wrong, ``base`` gives up too much, and what the budget still bears is found here.

    Args:
        harmful: Mixes with more damage than ``base``.
        base: The mix predicted to be the fastest.
        damage: Predicted damage of each part.
        speedup: As measured.
        looks: The metric.
    """
    over = [chosen | base for chosen in harmful if not looks.holds(chosen)]
    best = max(over, key=speedup, default=base)
    if best == base or speedup(best) <= speedup(base):
        return set()
    path = bridge(best, base, damage)
    return set(path[first_that_holds(path, looks) :][:1])


def revert(start: Chosen, damage: Sequence[float], latency: Callable[[Chosen], float], looks: Looks) -> Chosen | None:
    """Revert parts of ``start`` until the budget holds; None if it does not before the looks run out.

    Args:
        start: A mix that does not hold.
        damage: Predicted damage of each part.
        latency: Predicted latency of a mix.
        looks: The metric.
    """
    current = start
    while not looks.holds(current):
        if not current or looks.left <= 0:
            return None
        before, here = looks(current), latency(current)
        price = {i: max(latency(current - {i}) - here, 1e-6 * here) for i in current}
        likely = sorted(current, key=lambda i: (-damage[i] / price[i], i))[:SHORTLIST]
        measured = [(looks(current - {i}), i) for i in likely]
        known = [(excess, i) for excess, i in measured if excess is not None]
        if before is None or not known:
            return None
        if holding := [i for excess, i in known if excess <= 0]:
            return current - {min(holding, key=lambda i: (price[i], i))}
        best = max(known, key=lambda pair: ((before - pair[0]) / price[pair[1]], -likely.index(pair[1])))
        current = current - {best[1]}
    return current


def give_back(start: Chosen, wanted: Chosen, latency: Callable[[Chosen], float], looks: Looks) -> Chosen:
    """Put parts of ``wanted`` into integers again, that with most to gain first, as long as the budget holds."""
    current = start
    refused: set[int] = set()
    while looks.left > 0:
        here = latency(current)
        gains = {i: here - latency(current | {i}) for i in wanted - current - refused}
        worth = [i for i, gain in gains.items() if gain > SMALLEST_GAIN * here]
        if not worth:
            break
        best = max(worth, key=lambda i: (gains[i], -i))
        if looks.holds(current | {best}):
            current = current | {best}
        else:
            refused.add(best)
    return current


def back_off(
    mixes: Sequence[Chosen], damage: Sequence[float], latency: Callable[[Chosen], float], looks: Looks
) -> Chosen | None:
    """The fastest mix found that holds the budget; None if none was found.

    Args:
        mixes: The fastest first, with falling damage.
        damage: Predicted damage of each part.
        latency: Predicted latency of a mix.
        looks: The metric. Half of what the bisection leaves is for reverting.
    """
    if not mixes:
        return None
    first = first_that_holds(mixes, looks)
    if first == 0:
        return mixes[0]
    found = [mixes[first]] if first < len(mixes) else []
    limit, looks.limit = looks.limit, len(looks.trials) + (looks.left + 1) // 2
    reverted = revert(mixes[first - 1], damage, latency, looks)
    looks.limit = limit
    if reverted is not None:
        found.append(reverted)
    if not found:
        return None
    best = min(found, key=lambda chosen: (latency(chosen), sorted(chosen)))
    return give_back(best, mixes[0], latency, looks)

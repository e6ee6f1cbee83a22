"""The search on the real metric, with metrics that are known here."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from tamis.passes.quantization.mixed.back_off import (
    Looks,
    back_off,
    between,
    bridge,
    first_that_holds,
    give_back,
    revert,
)

Chosen = frozenset[int]


def additive(damage: list[float], limit: float) -> Callable[[Chosen], float]:
    return lambda chosen: sum(damage[i] for i in chosen) - limit


def latency_of(gains: list[float]) -> Callable[[Chosen], float]:
    return lambda chosen: 1000.0 - sum(gains[i] for i in chosen)


def falling(count: int) -> list[Chosen]:
    return [frozenset(range(n)) for n in range(count, -1, -1)]


@pytest.mark.parametrize("limit", [-1.0, 0.0, 1.0, 3.5, 7.0, 8.0, 100.0])
def test_bisection_finds_the_first_that_holds(limit: float) -> None:
    mixes = falling(8)
    looks = Looks(additive([1.0] * 8, limit), 20)
    wanted = next((i for i, mix in enumerate(mixes) if len(mix) <= limit), len(mixes))
    assert first_that_holds(mixes, looks) == wanted
    assert len(looks.trials) <= 5


def test_the_metric_is_looked_at_once_for_a_mix_and_not_beyond_the_limit() -> None:
    calls: list[Chosen] = []

    def excess(chosen: Chosen) -> float:
        calls.append(chosen)
        return 1.0

    looks = Looks(excess, 2)
    assert [looks(frozenset({n})) for n in (1, 1, 2, 3)] == [1.0, 1.0, 1.0, None]
    assert calls == [{1}, {2}]
    assert not looks.holds(frozenset({3}))


def test_a_bridge_gives_up_the_most_harmful_first() -> None:
    assert bridge(frozenset({0, 1, 2, 3}), frozenset({0}), [9.0, 1.0, 3.0, 2.0]) == [
        {0, 1, 2, 3}, {0, 1, 3}, {0, 1}, {0},
    ]  # fmt: skip
    assert bridge(frozenset({1}), frozenset({1}), [0.0, 1.0]) == [{1}]


def test_what_was_timed_as_faster_is_cut_down_until_it_holds() -> None:
    base, everything, damage = frozenset({0}), frozenset({0, 1, 2, 3}), [9.0, 1.0, 3.0, 2.0]
    speedup = {base: 1.2, everything: 2.0}
    looks = Looks(lambda chosen: len(chosen) - 2.5, 10)
    assert between([everything], base, damage, speedup.__getitem__, looks) == {frozenset({0, 1})}
    assert between([everything], base, damage, speedup.__getitem__, Looks(lambda c: -1.0, 10)) == set()
    assert between([everything], base, damage, speedup.__getitem__, Looks(lambda c: 1.0, 10)) == set()
    assert between([everything], base, damage, {base: 2.1, everything: 2.0}.__getitem__, looks) == set()
    assert between([], base, damage, speedup.__getitem__, looks) == set()


def test_what_costs_most_metric_per_latency_is_reverted() -> None:
    damage, gains = [1.0, 5.0, 5.0, 1.0], [10.0, 100.0, 10.0, 10.0]
    found = revert(frozenset(range(4)), damage, latency_of(gains), Looks(additive(damage, 7.0), 50))
    assert found == frozenset({0, 1, 3})


def test_the_real_metric_overrules_the_prediction() -> None:
    predicted, real, gains = [9.0, 8.0, 1.0], [0.0, 6.0, 1.0], [10.0, 10.0, 10.0]
    found = revert(frozenset(range(3)), predicted, latency_of(gains), Looks(additive(real, 2.0), 50))
    assert found == frozenset({0, 2})


def test_reverting_ends_when_nothing_is_left_or_no_look() -> None:
    damage, gains = [1.0] * 3, [1.0] * 3
    assert revert(frozenset(range(3)), damage, latency_of(gains), Looks(lambda c: 1.0, 100)) is None
    assert revert(frozenset(range(3)), damage, latency_of(gains), Looks(lambda c: 1.0, 2)) is None


def test_parts_are_given_back_as_long_as_the_budget_holds() -> None:
    damage, gains = [3.0, 1.0, 1.0, 1.0], [50.0, 40.0, 30.0, 0.5]
    looks = Looks(additive(damage, 2.0), 20)
    assert give_back(frozenset(), frozenset(range(4)), latency_of(gains), looks) == {1, 2}


def test_all_in_integers_where_it_holds_at_one_look() -> None:
    looks = Looks(additive([1.0] * 4, 4.0), 20)
    assert back_off(falling(4), [1.0] * 4, latency_of([1.0] * 4), looks) == frozenset(range(4))
    assert len(looks.trials) == 1


def test_nothing_holds() -> None:
    assert back_off(falling(3), [1.0] * 3, latency_of([1.0] * 3), Looks(lambda c: 1.0, 20)) is None
    assert back_off([], [], latency_of([]), Looks(lambda c: 1.0, 20)) is None


@pytest.mark.parametrize("seed", range(8))
def test_close_to_the_best_there_is_when_the_prediction_is_off(seed: int) -> None:
    """Predicted damage is wrong by a factor with a spread of e; 10 parts, so that every mix can be tried here."""
    rng = np.random.default_rng(seed)
    real = [float(d) for d in rng.lognormal(0, 1.5, 10)]
    predicted = [float(d * f) for d, f in zip(real, rng.lognormal(0, 1.0, 10), strict=True)]
    gains = [float(g) for g in rng.uniform(10, 80, 10)]
    limit, latency = 0.3 * sum(real), latency_of(gains)
    mixes = [frozenset(c) for n in range(11) for c in itertools.combinations(range(10), n)]
    order = sorted(range(10), key=lambda i: -predicted[i] / gains[i])
    plan = [frozenset(order[n:]) for n in range(11)]
    looks = Looks(additive(real, limit), 24)
    found = back_off(plan, predicted, latency, looks)
    assert found is not None and additive(real, limit)(found) <= 0
    best = min(latency(mix) for mix in mixes if additive(real, limit)(mix) <= 0)
    assert 1000 - latency(found) >= 0.75 * (1000 - best)
    assert len(looks.trials) <= 24

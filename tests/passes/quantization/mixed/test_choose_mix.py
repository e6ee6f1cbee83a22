"""The integer program against every mix there is, and against simpler ways to choose."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tamis.compiler.errors import PassError
from tamis.passes.quantization.mixed.choose_mix import Crossing, MixProblem, Place, front, solve


def chain(gains: list[float], damage: list[float], edge: float) -> MixProblem:
    """Places one after the other, each 100 ns in float."""
    places = [Place(f"p{i}", 100.0, 100.0 - g, d) for i, (g, d) in enumerate(zip(gains, damage, strict=True))]
    ends: list[int | None] = [None, *range(len(places)), None]
    crossings = [Crossing(a, (b,), edge, edge) for a, b in itertools.pairwise(ends)]
    return MixProblem(tuple(places), tuple(crossings))


def random_problem(seed: int) -> MixProblem:
    """Up to 9 places, some free, with fan-out, inputs and outputs of the model."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 10))
    places = [
        Place(f"p{i}", rng.uniform(10, 100), rng.uniform(5, 90), 0.0 if free else rng.uniform(0, 1), bool(free))
        for i, free in enumerate(rng.random(count) < 0.3)
    ]
    crossings = []
    for _ in range(count + 2):
        order = [int(i) for i in rng.permutation(count)][: int(rng.integers(2, 5))]
        producer, *readers = order if rng.random() < 0.8 else [None, *order]
        with_output = [*readers, None] if rng.random() < 0.3 else readers
        crossings.append(Crossing(producer, tuple(with_output), rng.uniform(0, 30), rng.uniform(0, 30)))
    return MixProblem(tuple(places), tuple(crossings))


def all_mixes(problem: MixProblem) -> list[frozenset[int]]:
    indices = range(len(problem.places))
    return [frozenset(c) for n in range(len(indices) + 1) for c in itertools.combinations(indices, n)]


@pytest.mark.parametrize("seed", range(25))
def test_no_mix_is_faster_within_the_budget(seed: int) -> None:
    problem = random_problem(seed)
    whole = problem.damage(problem.units)
    for budget in (math.inf, whole / 2, whole / 5, 0.0):
        found = solve(problem, budget)
        best = min(problem.latency_ns(mix) for mix in all_mixes(problem) if problem.damage(mix) <= budget)
        assert found.damage <= budget * (1 + 1e-6)
        assert found.latency_ns == pytest.approx(best, rel=1e-9)
        assert found.latency_ns == pytest.approx(problem.latency_ns(found.chosen | found.free))


def test_a_slow_place_is_carried_along_where_splitting_costs_more() -> None:
    assert solve(chain([50, -10, 50], [0, 0, 0], edge=15)).chosen == {0, 1, 2}


def test_a_slow_place_is_left_out_where_splitting_is_cheap() -> None:
    assert solve(chain([50, -10, 50], [0, 0, 0], edge=2)).chosen == {0, 2}


def test_conversions_that_cost_more_than_is_won_leave_everything_in_float() -> None:
    assert solve(chain([10, 10], [0, 0], edge=15)).chosen == frozenset()


def test_a_tensor_with_many_readers_is_converted_once() -> None:
    places = tuple(Place(f"p{i}", 100.0, 90.0) for i in range(3))
    once = MixProblem(places, (Crossing(None, (0, 1, 2), 25.0, 25.0),))
    assert solve(once).chosen == {0, 1, 2}
    assert once.edges_ns(frozenset({0, 1, 2})) == 25.0
    assert once.edges_ns(frozenset({1})) == 25.0


def test_a_tensor_that_floats_and_integers_read_leaves_once() -> None:
    crossing = MixProblem(tuple(Place(f"p{i}", 1, 1) for i in range(3)), (Crossing(0, (1, 2), 7.0, 5.0),))
    assert crossing.edges_ns(frozenset({0, 1})) == 5.0
    assert crossing.edges_ns(frozenset({1, 2})) == 7.0
    assert crossing.edges_ns(frozenset({0, 1, 2})) == 0.0


def test_a_place_waits_for_what_it_needs() -> None:
    places = (Place("a", 100, 120, 0.0), Place("add", 50, 10, free=True, needs=(0,)))
    found = solve(MixProblem(places, (Crossing(0, (1,), 5, 5),)))
    assert found.chosen | found.free == {0, 1}
    assert solve(MixProblem(places, ()), fixed={0: False}).free == frozenset()


def test_a_free_place_follows_its_neighbours() -> None:
    places = (Place("a", 100, 50), Place("add", 5, 6, free=True), Place("b", 100, 50))
    problem = MixProblem(places, (Crossing(0, (1,), 10, 10), Crossing(1, (2,), 10, 10)))
    found = solve(problem)
    assert found.chosen == {0, 2}
    assert found.free == {1}
    assert solve(problem, fixed={0: False, 2: False}).free == frozenset()


@pytest.mark.parametrize("damage", [math.inf, math.nan])
def test_what_breaks_the_outputs_is_never_chosen(damage: float) -> None:
    problem = chain([50, 50], [damage, 0.1], edge=1)
    assert problem.units == {1}
    assert solve(problem).chosen == {1}


def test_fixed_places_stay() -> None:
    problem = chain([50, 50, 50], [0.1, 0.1, 0.1], edge=1)
    assert solve(problem, fixed={1: False}).chosen == {0, 2}
    with pytest.raises(PassError, match="no mix of precisions"):
        solve(problem, 0.15, fixed={0: True, 1: True})


def test_nothing_to_choose() -> None:
    assert solve(MixProblem((), ())).chosen == frozenset()


@pytest.mark.parametrize("seed", range(5))
def test_the_front_falls_in_damage_and_rises_in_latency(seed: int) -> None:
    mixes = front(random_problem(seed))
    assert mixes[-1].damage == 0
    for faster, slower in itertools.pairwise(mixes):
        assert faster.latency_ns <= slower.latency_ns + 1e-6
        assert faster.damage > slower.damage


def greedy_by_damage(problem: MixProblem, budget: float) -> frozenset[int]:
    """All in integers, and the most harmful reverted until the budget holds."""
    left = sorted(problem.units, key=lambda i: problem.places[i].damage)
    while left and problem.damage(frozenset(left)) > budget:
        left.pop()
    return frozenset(left)


def random_mix(problem: MixProblem, budget: float, seed: int) -> frozenset[int]:
    """Units in random order, taken while the budget allows it."""
    chosen: frozenset[int] = frozenset()
    for i in np.random.default_rng(seed).permutation(sorted(problem.units)):
        if problem.damage(chosen | {int(i)}) <= budget:
            chosen = chosen | {int(i)}
    return chosen


def test_baselines_are_never_faster_and_mostly_slower() -> None:
    wins = {"all": 0, "greedy": 0, "random": 0}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        damage = [float(d) for d in rng.lognormal(0, 2, 40)]
        problem = chain([float(g) for g in rng.uniform(-60, 60, 40)], damage, edge=12)
        for name in wins:
            budget = math.inf if name == "all" else 0.2 * sum(damage)
            mine = solve(problem, budget).latency_ns
            others = {"all": problem.units, "greedy": greedy_by_damage(problem, budget)}
            other = others.get(name, random_mix(problem, budget, seed))
            assert mine <= problem.latency_ns(other) + 1e-6
            wins[name] += mine < 0.99 * problem.latency_ns(other)
    assert min(wins.values()) >= 15, wins


def test_a_long_model_is_solved_in_a_moment() -> None:
    import time

    rng = np.random.default_rng(0)
    damage = [float(d) for d in rng.lognormal(0, 2, 400)]
    problem = chain([float(g) for g in rng.uniform(-20, 60, 400)], damage, edge=12)
    begun = time.perf_counter()
    found = solve(problem, 0.1 * sum(damage))
    assert time.perf_counter() - begun < 5
    assert found.damage <= 0.1 * sum(damage) * (1 + 1e-6)

"""How many units go: against brute force, and by the rules that no answer may break."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from tamis.passes.pruning.allocation.allocate import Method, allocate
from tamis.passes.pruning.allocation.blocks import Allocation
from tamis.passes.pruning.allocation.cost import Cost, PolynomialCost
from tamis.passes.pruning.allocation.knapsack import choose_one_each
from tamis.passes.pruning.allocation.macs_cost import MacsCost
from tamis.passes.pruning.allocation.polynomial import Polynomial, Term, lengths_of
from tamis.passes.pruning.allocation.widths import widths_of
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.importance.curve import Curve
from tests.passes.pruning.allocation.allocation_nets import NETS, Separable, axis_graph, curve, group

METHODS: tuple[Method, ...] = ("greedy", "knapsack", "uniform")
Problem = tuple[list[Group], dict[Group, Curve], Cost]


def chain(seed: int, units: tuple[int, ...] = (32, 24, 40, 32)) -> Problem:
    """Layers one after the other: products of neighbouring widths; losses that rise ever faster."""
    draw = np.random.default_rng(seed)
    groups = [group(f"g{i}", n) for i, n in enumerate(units)]
    last = len(units) - 1
    terms = [Term(float(draw.uniform(1, 4)), (i, i + 1)) for i in range(last)]
    terms += [Term(30.0, (0,)), Term(30.0, (last,)), Term(100.0)]
    cost = PolynomialCost(
        "MACs", groups, Polynomial(terms, lengths_of([(0, {i: 1}) for i in range(last + 1)], last + 1))
    )
    curves = {g: curve(np.sort(draw.uniform(0, 1, g.units) ** 3 * draw.uniform(0.2, 3))) for g in groups}
    return groups, curves, cost


def least_loss(problem: Problem, goal: float, multiple: int, min_keep: float) -> float:
    groups, curves, cost = problem
    found = math.inf
    for left in itertools.product(*(widths_of(g, multiple, min_keep) for g in groups)):
        widths = dict(zip(groups, left, strict=True))
        if cost.whole(widths) <= goal * cost.whole({}):
            found = min(found, sum(float(curves[g].loss[g.units - n]) for g, n in widths.items()))
    return found


def holds(problem: Problem, found: Allocation) -> None:
    """What an allocation says of itself is so."""
    groups, curves, cost = problem
    widths = {g: g.units - n for g, n in found.removed.items()}
    assert found.predicted == pytest.approx(cost.whole(widths) / cost.whole({}))
    assert found.loss == pytest.approx(sum(float(curves[g].loss[n]) for g, n in found.removed.items()))
    assert set(found.removed) <= set(groups)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("goal", [0.8, 0.5, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_the_goal_is_reached_with_whole_blocks(seed: int, goal: float, method: Method) -> None:
    problem = chain(seed)
    found = allocate(*problem, goal, method=method, multiple=8, min_keep=0.25)
    holds(problem, found)
    assert found.predicted <= goal
    for each, gone in found.removed.items():
        left = each.units - gone
        assert left % 8 == 0 and left >= 0.25 * each.units


@pytest.mark.parametrize("goal", [0.8, 0.6, 0.4])
@pytest.mark.parametrize("seed", range(6))
def test_knapsack_is_close_to_the_best_there_is_and_never_worse_than_greedy(seed: int, goal: float) -> None:
    problem = chain(seed)
    best = least_loss(problem, goal, 8, 0.25)
    greedy, knapsack = (allocate(*problem, goal, method=m, multiple=8) for m in METHODS[:2])
    assert best <= knapsack.loss + 1e-12 <= greedy.loss + 2e-12
    assert knapsack.loss <= 1.3 * best
    assert greedy.loss <= 2 * best


@pytest.mark.parametrize("seed", range(6))
def test_knapsack_is_the_best_there_is_where_costs_add_up(seed: int) -> None:
    draw = np.random.default_rng(seed)
    groups = [group(f"g{i}", 40) for i in range(4)]
    slopes = draw.uniform(1, 5, 4).tolist()
    cost = Separable({g: lambda n, s=s: s * n + 10 for g, s in zip(groups, slopes, strict=True)})  # type: ignore[misc]
    problem = groups, {g: curve(draw.uniform(0, 1, 40)) for g in groups}, cost
    found = allocate(*problem, 0.55, method="knapsack", multiple=8)
    assert found.loss == pytest.approx(least_loss(problem, 0.55, 8, 0.25), rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_lower_goal_never_loses_less(method: Method) -> None:
    problem = chain(4)
    losses = [allocate(*problem, goal, method=method, multiple=8).loss for goal in (0.95, 0.8, 0.6, 0.4, 0.3)]
    assert losses == sorted(losses)


def test_greedy_takes_the_best_block_each_time() -> None:
    groups, curves, cost = chain(5)
    found = allocate(groups, curves, cost, 0.4, multiple=8)
    widths = {g: g.units for g in groups}
    for block in found.path:
        ratios = {}
        for each in groups:
            narrower = [n for n in widths_of(each, 8, 0.25) if n < widths[each]][:4]
            for left in narrower:
                loss = curves[each].loss[each.units - left] - curves[each].loss[each.units - widths[each]]
                ratios[each, left] = float(loss) / cost.savings(widths, each, widths[each] - left)
        taken = block.group, block.group.units - block.removed
        assert ratios[taken] == pytest.approx(min(ratios.values()))
        widths[taken[0]] = taken[1]


@pytest.mark.parametrize("method", METHODS)
def test_each_prefix_of_the_path_is_an_allocation(method: Method) -> None:
    problem = chain(1)
    found = allocate(*problem, 0.4, method=method, multiple=8)
    removed: dict[Group, int] = {}
    for block in found.path:
        assert block.removed > removed.get(block.group, 0)
        removed[block.group] = block.removed
        holds(problem, Allocation(removed, block.predicted, block.loss, ()))
    assert removed == found.removed
    predicted = [block.predicted for block in found.path]
    assert predicted == sorted(predicted, reverse=True)
    assert all(p > 0.4 for p in predicted[:-1])


@pytest.mark.parametrize("method", METHODS)
def test_a_goal_out_of_reach_takes_all_there_is(method: Method) -> None:
    problem = chain(2)
    found = allocate(*problem, 0.01, method=method, multiple=8, min_keep=0.5)
    holds(problem, found)
    assert found.predicted > 0.01
    assert {g: g.units - n for g, n in found.removed.items()} == {g: widths_of(g, 8, 0.5)[-1] for g in problem[0]}


@pytest.mark.parametrize("method", METHODS)
def test_nothing_goes_without_need_or_choice(method: Method) -> None:
    problem = chain(3)
    assert allocate(*problem, 1.0, method=method, multiple=8) == Allocation({}, 1.0, 0.0, ())
    assert allocate(*problem, 0.5, method=method, multiple=64) == Allocation({}, 1.0, 0.0, ())
    assert allocate([], {}, Separable({}), 0.5, method=method, multiple=8) == Allocation({}, 1.0, 0.0, ())


def staircase(step: int) -> Callable[[int], float]:
    return lambda left: 100.0 * -(-left // step)


def test_a_block_that_saves_nothing_goes_only_with_those_that_make_it_save() -> None:
    stairs, slope = group("stairs", 32), group("slope", 32)
    cost = Separable({stairs: staircase(16), slope: lambda left: 1.0 * left})
    curves = {stairs: curve([0.01] * 32), slope: curve([1.0] * 32)}
    found = allocate([stairs, slope], curves, cost, 0.6, multiple=8)
    assert found.removed == {stairs: 16}
    assert found.path[0].removed == 16


def test_what_cannot_be_computed_never_goes() -> None:
    broken, sound = group("broken", 16), group("sound", 16)
    cost = Separable({g: lambda left: float(left) for g in (broken, sound)})
    curves = {broken: curve([math.inf] * 16), sound: curve([1.0] * 16)}
    for method in METHODS:
        assert set(allocate([broken, sound], curves, cost, 0.4, method=method, multiple=8).removed) == {sound}


def test_uniform_takes_the_same_part_of_each() -> None:
    groups, curves, cost = chain(0, (64, 32, 64, 32))
    found = allocate(groups, curves, cost, 0.3, method="uniform", multiple=8)
    left = [(g.units - found.removed.get(g, 0)) / g.units for g in groups]
    assert max(left) - min(left) <= 0.25


def test_on_a_network_whose_curves_favour_one_layer() -> None:
    graph = axis_graph(NETS["plain"]())
    curves = {g: curve([1.0 + i] * g.units) for i, g in enumerate(graph.groups)}
    found = allocate(graph.groups, curves, MacsCost(graph), 0.7, multiple=8)
    assert found.predicted <= 0.7
    assert found.path[0].group is graph.groups[0]


def test_many_groups_and_blocks() -> None:
    groups, curves, cost = chain(0, (240,) * 300)
    found = allocate(groups, curves, cost, 0.7, multiple=8)
    assert found.predicted <= 0.7
    assert len(found.path) > 1000


@pytest.mark.parametrize("seed", range(12))
def test_one_of_each_list(seed: int) -> None:
    draw = np.random.default_rng(seed)
    losses = [draw.uniform(0, 1, n) for n in (4, 1, 5, 3, 6)]
    costs = [draw.integers(0, 20, n).astype(float) for n in (4, 1, 5, 3, 6)]
    least = sum(float(each.min()) for each in costs)
    fits = {
        pick: sum(float(each[i]) for each, i in zip(losses, pick, strict=True))
        for pick in itertools.product(*(range(len(each)) for each in losses))
        if sum(float(each[i]) for each, i in zip(costs, pick, strict=True)) <= least + 10
    }
    found = choose_one_each(losses, costs, least + 10)
    assert found is not None and fits[tuple(found)] == min(fits.values())
    assert choose_one_each(losses, costs, least - 0.5) is None
    exact = choose_one_each(losses, costs, least)
    assert exact is not None and sum(float(c[i]) for c, i in zip(costs, exact, strict=True)) == least

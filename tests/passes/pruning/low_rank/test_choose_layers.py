"""The line of steps, and how far along it the budget holds."""

from __future__ import annotations

import math
from itertools import product

from tamis.passes.pruning.low_rank.choose_layers import Choice, Point, Step, choice_of, steps, within_budget

LAYERS = [
    [Point(1.0, 10.0), Point(3.0, 12.0)],
    [Point(0.1, 1.0), Point(0.2, 4.0)],
    [Point(5.0, 5.0)],
]


def test_least_damage_for_what_is_saved_comes_first() -> None:
    assert steps(LAYERS) == [Step(1, 1), Step(0, 0), Step(0, 1), Step(2, 0)]


def test_pointless_and_breaking_forms_are_left_out() -> None:
    assert steps(
        [[Point(0.1, -1.0)], [Point(math.inf, 5.0)], [Point(math.nan, 5.0)], [Point(1.0, 2.0), Point(2.0, 1.0)]]
    ) == [Step(3, 0)]


def test_every_prefix_is_the_best_for_its_damage() -> None:
    line = steps(LAYERS)
    ways = [
        (sum(p.damage for p in points), sum(p.saved for p in points))
        for points in product(*([Point(0, 0), *layer] for layer in LAYERS))
    ]
    for count in range(len(line) + 1):
        chosen = [LAYERS[i][form] for i, form in choice_of(line[:count]).items()]
        damage, saved = sum(p.damage for p in chosen), sum(p.saved for p in chosen)
        assert saved == max(s for d, s in ways if d <= damage + 1e-12)


def look(allowed: float, log: list[Choice]) -> object:
    def holds(choice: Choice) -> bool:
        log.append(choice)
        return sum(LAYERS[i][form].damage for i, form in choice.items()) <= allowed

    return holds


def test_the_whole_line_takes_one_look() -> None:
    log: list[Choice] = []
    assert within_budget(steps(LAYERS), look(100, log)) == {1: 1, 0: 1, 2: 0}  # type: ignore[arg-type]
    assert len(log) == 1


def test_what_breaks_the_budget_is_passed_over() -> None:
    line = [Step(i, 0) for i in range(9)]
    taken = within_budget(line, lambda choice: not choice.keys() & {3, 6}, looks=40)
    assert sorted(taken) == [0, 1, 2, 4, 5, 7, 8]


def test_further_steps_of_a_layer_that_broke_the_budget_are_not_tried() -> None:
    line = [Step(0, 0), Step(1, 0), Step(0, 1), Step(2, 0)]
    assert within_budget(line, lambda choice: choice.get(0) != 0 and 2 not in choice, looks=40) == {1: 0}


def test_looks_are_limited_and_what_is_taken_was_seen_to_hold() -> None:
    line = [Step(i, 0) for i in range(64)]
    for looks in range(8):
        seen: list[frozenset[int]] = []

        def holds(choice: Choice, seen: list[frozenset[int]] = seen) -> bool:
            seen.append(frozenset(choice))
            return len(choice) <= 5

        taken = within_budget(line, holds, looks)
        assert len(seen) <= looks
        assert not taken or frozenset(taken) in seen
        assert len(taken) <= 5


def test_nothing_to_take() -> None:
    assert within_budget([], lambda choice: True) == {}
    assert within_budget([Step(0, 0)], lambda choice: False) == {}

"""Runs of axes: what aligns, with known and with symbolic sizes."""

from __future__ import annotations

import pytest

from tamis.passes.pruning.coupling.runs import ONE, Run, Size, align, product

Sizes = tuple[int | str, ...]
CASES: list[tuple[Sizes, Sizes, list[tuple[tuple[int, ...], tuple[int, ...]]]]] = [
    ((2, 6, 5), (2, 2, 3, 5), [((0,), (0,)), ((1,), (1, 2)), ((2,), (3,))]),
    ((2, 3, 4), (6, 4), [((0, 1), (0,)), ((2,), (1,))]),
    ((2, 1, 4), (1, 2, 4, 1), [((0,), (1,)), ((2,), (2,))]),
    ((4, 6), (3, 8), [((0, 1), (0, 1))]),
    (("N", 8, 4), ("N", 32), [((0,), (0,)), ((1, 2), (1,))]),
    ((8, "N", 4), (8, "N", 2, 2), [((0,), (0,)), ((1,), (1,)), ((2,), (2, 3))]),
]


@pytest.mark.parametrize(("before", "after", "runs"), CASES)
def test_the_shortest_runs(before: Sizes, after: Sizes, runs: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    found = align([Size.of(s) for s in before], [Size.of(s) for s in after])
    assert [(run.before, run.after) for run in found] == runs
    assert all(run.equal for run in found)


def test_symbols_that_are_merged_and_split() -> None:
    n, t, width = Size.of("N"), Size.of("T"), Size.of(64)
    assert align([n, t, width], [n * t, width]) == (Run((0, 1), (0,)), Run((2,), (1,)))
    rest = product([n * t, width]) / product([Size.of(16), width])
    assert align([n * t, width], [rest, Size.of(16), width]) == (Run((0,), (0, 1)), Run((1,), (2,)))
    assert rest.known is None and (n / n) == ONE


def test_what_does_not_come_out_even_is_not_equal() -> None:
    assert align([Size.of(4), Size.of("N")], [Size.of(4), Size.of("M")]) == (Run((0,), (0,)), Run((1,), (1,), False))
    assert align([Size.of(4)], [Size.of(4), Size.of("N")]) == (Run((0,), (0,)), Run((), (1,), False))
    assert align([Size.of(0), Size.of(4)], [Size.of(4), Size.of(0)]) == (Run((0, 1), (0, 1), False),)

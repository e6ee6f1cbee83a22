from __future__ import annotations

import itertools

import numpy as np
import pytest

from tamis.passes.pruning.dead.fact import Fact, Numbers
from tamis.passes.pruning.dead.reshaping import reshaped
from tamis.passes.pruning.dead.weighted_sums import row_numbers, weighted_bounds
from tests.models import Array, random


def bounds(weights: Array, low: Array, high: Array) -> tuple[Array, Array]:
    return weighted_bounds(np.maximum(weights, 0), np.minimum(weights, 0), low, high)


@pytest.mark.parametrize("seed", range(5))
def test_bounds_are_the_extremes_over_all_corners(seed: int) -> None:
    weights = random(4, 5, seed=seed, dtype=np.float64)
    low = random(5, seed=seed + 50, dtype=np.float64)
    high = low + np.abs(random(5, seed=seed + 100, dtype=np.float64))
    sums = np.array([weights @ corner for corner in itertools.product(*zip(low, high, strict=True))])
    found = bounds(weights, low, high)
    np.testing.assert_allclose(found[0], sums.min(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found[1], sums.max(axis=0), rtol=1e-12)


def test_infinite_bounds_reach_only_what_has_weight_on_them() -> None:
    low, high = np.array([-np.inf, 0.0, 2.0]), np.array([1.0, np.inf, 2.0])
    found = bounds(np.array([[1.0, 0, 1], [0, 1, 0], [0, -1, 1], [0, 0, 3], [-1, 1, 0]]), low, high)
    assert found[0].tolist() == [-np.inf, 0, -np.inf, 6, -1]
    assert found[1].tolist() == [3, np.inf, 2, 6, np.inf]


def test_what_is_known_stays_known_whatever_the_order_of_summation() -> None:
    weights, point = random(50, 200, dtype=np.float64), random(200, seed=1, dtype=np.float64)
    found = bounds(weights, point, point)
    assert (found[0] == found[1]).all()


def test_equal_rows_have_one_number() -> None:
    rows, numbers = random(4, 3), Numbers()
    rows[2] = rows[0]
    found = row_numbers(rows, "row", numbers)
    assert found[0] == found[2] and len(set(found.tolist())) == 3
    assert found[0] != row_numbers(rows, "column", numbers)[0]


def fact(array: Array) -> Fact:
    return Fact(array, array, array.astype(np.int64))


@pytest.mark.parametrize(
    ("before", "after", "told", "wanted"),
    [
        ((2, 3, 4), (2, 12), (1, 3, 4), (1, 12)),
        ((2, 12), (2, 3, 1, 4), (1, 12), (1, 3, 1, 4)),
        ((None, 6, 1, 1), (None, 6), (1, 6, 1, 1), (1, 6)),
        ((2, 3, 4, 5), (6, 20), (1, 1, 4, 5), (1, 20)),
        ((None, 6), (6, None), (1, 6), None),
        ((2, 3), (3, 2), (1, 3), (3, 2)),
        ((2, 3), (2, 4), (1, 3), None),
    ],
)
def test_slices_follow_a_reshape(
    before: tuple[int | None, ...],
    after: tuple[int | None, ...],
    told: tuple[int, ...],
    wanted: tuple[int, ...] | None,
) -> None:
    numbered = np.arange(np.prod(told), dtype=np.float64).reshape(told)
    found = reshaped(fact(numbered), before, after, Numbers())
    assert (None if found is None else found.shape) == wanted
    if found is not None and None not in before:
        whole = np.broadcast_to(numbered, [n or 0 for n in before]).reshape([n or 0 for n in after])
        assert (np.broadcast_to(found.low, whole.shape) == whole).all()

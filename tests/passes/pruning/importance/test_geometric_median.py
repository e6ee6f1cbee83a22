"""The geometric median against a search, and filters that lie near it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from tamis.passes.pruning.importance.geometric_median import geometric_median, median_distances
from tests.passes.pruning.importance.importance_nets import MLP, graph


def test_has_the_smallest_sum_of_distances() -> None:
    points = np.random.default_rng(0).normal(size=(15, 3)) ** 3
    found = geometric_median(points)

    def total(m: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        return float(np.sqrt(((points - m) ** 2).sum(axis=1)).sum())

    best = minimize(total, points.mean(axis=0), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    assert total(found) <= best.fun * (1 + 1e-9)
    np.testing.assert_allclose(found, best.x, atol=1e-5)


def test_one_far_point_moves_it_little() -> None:
    points = np.random.default_rng(0).normal(size=(30, 2))
    far = np.concatenate([points, [[1e6, 0]]])
    assert np.abs(geometric_median(far) - geometric_median(points)).max() < 0.5
    assert np.abs(far.mean(axis=0)).max() > 1e4


def test_equal_points_and_a_single_one() -> None:
    np.testing.assert_array_equal(geometric_median(np.full((4, 2), 3.0)), [3, 3])
    np.testing.assert_array_equal(geometric_median(np.array([[1.0, 2.0]])), [1, 2])


def test_a_filter_at_the_median_costs_nothing_however_large_it_is() -> None:
    weights = np.random.default_rng(0).normal(size=(6, 12)).astype(np.float32)
    weights[:, 4] = geometric_median(np.delete(weights, 4, axis=1).T) + 0
    (group,) = graph(MLP, {"w1": weights + np.float32(10)}).groups
    distances = median_distances(group)
    assert int(np.argmin(distances)) == 4 and distances[4] < 1e-6
    assert distances.sum() == pytest.approx(1)


def test_equal_filters_cost_nothing() -> None:
    (group,) = graph(MLP, {"w1": np.ones((6, 12), np.float32)}).groups
    assert not median_distances(group).any()

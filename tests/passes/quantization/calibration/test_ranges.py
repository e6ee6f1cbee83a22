"""Tests of passes/quantization/calibration/ranges.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tamis.passes.quantization.calibration.affine import affine_of_range
from tamis.passes.quantization.calibration.ranges import Method, find_range
from tamis.passes.quantization.calibration.tensor_statistics import TensorStatistics, gather
from tests.models import Array, model

METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy", "mse")
N = 60_000


def _statistics(array: Array) -> TensorStatistics:
    found = model("g (float[N] x) => (float[N] y) { y = Neg(x) }")
    return gather(found, ["x"], lambda: [{"x": array.astype(np.float32)}], quiet=True)["x"]


def _normal(random: np.random.Generator) -> Array:
    return random.standard_normal(N)


def _relu(random: np.random.Generator) -> Array:
    return np.maximum(random.standard_normal(N), 0)


def _silu(random: np.random.Generator) -> Array:
    x = random.standard_normal(N) * 3
    found: Array = x / (1 + np.exp(-x))
    return found


def _tails(random: np.random.Generator) -> Array:
    return random.laplace(size=N) ** 3


def _outlier(random: np.random.Generator) -> Array:
    return np.append(random.standard_normal(N), 60.0)


def _negative(random: np.random.Generator) -> Array:
    return -np.abs(random.standard_normal(N))


DRAWS = (_normal, _relu, _silu, _tails, _outlier, _negative)


def _error(array: Array, low: float, high: float, symmetric: bool) -> float:
    back = affine_of_range(low, high, "int8" if symmetric else "uint8", symmetric=symmetric).round_trip(
        array.astype(np.float32)
    )
    return float(np.mean((back - array) ** 2))


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_mse_is_near_the_best_range_found_by_trying(draw: Callable[..., Array], symmetric: bool) -> None:
    array = draw(np.random.default_rng(0))
    low, high = find_range(_statistics(array), "mse", symmetric=symmetric)
    error = _error(array, low, high, symmetric)
    minmax = find_range(_statistics(array), "minmax", symmetric=symmetric)
    shares = np.geomspace(0.02, 1, 60)
    best = min(_error(array, minmax[0] * s, minmax[1] * s, symmetric) for s in shares)
    assert error <= 1.03 * best
    assert error <= 1.001 * _error(array, *minmax, symmetric)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_ranges_hold_zero_and_stay_inside_what_was_seen(
    draw: Callable[..., Array], method: Method, symmetric: bool
) -> None:
    array = draw(np.random.default_rng(1)).astype(np.float32)
    low, high = find_range(_statistics(array), method, symmetric=symmetric)
    assert low <= 0 <= high and high - low > 0
    largest = float(np.abs(array).max())
    if symmetric:
        assert low == -high and high <= largest
    else:
        assert min(0.0, float(array.min())) <= low and high <= max(0.0, float(array.max()))


def test_percentile_leaves_one_value_in_ten_thousand_outside() -> None:
    array = _normal(np.random.default_rng(2))
    low, high = find_range(_statistics(array), "percentile")
    assert 0 < np.mean(array > high) <= 5e-5 and 0 < np.mean(array < low) <= 5e-5
    low, high = find_range(_statistics(np.abs(array)), "percentile")
    assert low == 0 and 5e-5 < np.mean(np.abs(array) > high) <= 1e-4


def test_one_outlier_is_clipped() -> None:
    statistics = _statistics(_outlier(np.random.default_rng(3)))
    assert find_range(statistics, "minmax")[1] == 60
    assert find_range(statistics, "percentile")[1] < 8 and find_range(statistics, "entropy")[1] < 8
    assert find_range(statistics, "mse")[1] < 58


def test_entropy_keeps_the_bulk_of_a_distribution() -> None:
    for draw in (_normal, _relu, _tails):
        array = draw(np.random.default_rng(4))
        low, high = find_range(_statistics(array), "entropy")
        assert np.mean((array >= low) & (array <= high)) > 0.95


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_tensors_that_tell_little(method: Method, symmetric: bool) -> None:
    for array, wanted in (
        (np.zeros(5), (0.0, 0.0)),
        (np.full(5, np.nan), (0.0, 0.0)),
        (np.zeros(0), (0.0, 0.0)),
        (np.full(5, 2.5), (-2.5 if symmetric else 0.0, 2.5)),
        (np.full(5, -2.5), (-2.5, 2.5 if symmetric else 0.0)),
    ):
        assert find_range(_statistics(array), method, symmetric=symmetric) == wanted


@pytest.mark.parametrize("method", METHODS)
def test_ranges_at_the_limits_of_float32(method: Method) -> None:
    for scale in (1e-43, 1e-38, 3e38):
        low, high = find_range(_statistics(np.linspace(-1, 1, 999) * scale), method)
        assert np.isfinite([low, high]).all() and low <= 0 <= high


@pytest.mark.parametrize("method", METHODS)
def test_few_values(method: Method) -> None:
    for values in ([1.0, 2.0], [-1.0, 5.0], [0.0, 3.0], [1e-9, 1e3]):
        low, high = find_range(_statistics(np.array(values)), method)
        assert low <= 0 <= high and high > 0

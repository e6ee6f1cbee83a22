"""Zeros in matrices: the pattern holds exactly, and what each criterion is for."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from tamis.passes.pruning.sparsity.pattern import Blocked, Pattern, Unstructured, read_pattern
from tamis.passes.pruning.sparsity.sparsify import Criterion, output_error, sparsify
from tests.models import Array, random

CRITERIA: tuple[Criterion, ...] = ("magnitude", "wanda", "obs")
PATTERNS: tuple[Pattern, ...] = (Unstructured(0.5), Unstructured(0.8), Blocked(2, 4), Blocked(1, 4), Blocked(3, 8))


def gram(rows: int, groups: int = 1, directions: int = 6) -> Array:
    """Of correlated inputs of unlike size."""
    x = random(groups, 400, directions, seed=1) @ random(groups, directions, rows, seed=2)
    x = (x + 0.3 * random(groups, 400, rows, seed=3)) * np.geomspace(0.1, 3, rows, dtype=np.float32)
    found: Array = x.transpose(0, 2, 1) @ x
    return found


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
@pytest.mark.parametrize("shape", [(1, 200, 12), (3, 40, 5), (1, 128, 1), (2, 8, 7)])
def test_the_pattern_holds_exactly(shape: tuple[int, ...], pattern: Pattern, criterion: Criterion) -> None:
    weight = random(*shape)
    found = sparsify(weight, pattern, criterion, gram(shape[1], shape[0]))
    assert found.shape == shape and found.dtype == np.float32 and np.isfinite(found).all()
    assert pattern.holds(found) and not pattern.holds(weight)
    zeros = int(np.count_nonzero(found == 0))
    if isinstance(pattern, Blocked):
        blocks = found.reshape(shape[0], -1, pattern.block, shape[2])
        assert {int(n) for n in np.count_nonzero(blocks, axis=2).ravel()} == {pattern.kept}
    else:
        assert zeros == int(pattern.sparsity * weight.size)


def test_one_weight_too_many_breaks_a_pattern() -> None:
    weight = np.array([1, 2, 0, 0] * 4, np.float32).reshape(1, 16, 1)
    assert Blocked(2, 4).holds(weight) and Unstructured(0.5).holds(weight)
    weight[0, 6] = 1e-30
    assert not Blocked(2, 4).holds(weight) and not Unstructured(0.5).holds(weight)
    shifted = np.array([1, 1, 1, 0, 0, 0, 1, 0] * 2, np.float32).reshape(1, 16, 1)  # half, but not in each block
    assert Unstructured(0.5).holds(shifted) and not Blocked(2, 4).holds(shifted)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_correlated_inputs_make_up_for_what_goes(pattern: Pattern) -> None:
    weight, moments = random(1, 96, 16), gram(96)
    errors = {c: output_error(weight, sparsify(weight, pattern, c, moments), moments) for c in CRITERIA}
    assert errors["obs"] < 0.1 * errors["wanda"] < 0.1 * errors["magnitude"]


def test_magnitude_takes_the_smallest() -> None:
    weight = random(1, 20, 6)
    found = sparsify(weight, Unstructured(0.3), "magnitude", None)
    limit = np.sort(np.abs(weight).ravel())[36]
    np.testing.assert_array_equal(found, np.where(np.abs(weight) < limit, 0, weight))


def test_wanda_takes_the_smallest_of_each_output_by_size_of_input() -> None:
    weight, moments = random(1, 20, 6), gram(20)
    found = sparsify(weight, Unstructured(0.5), "wanda", moments)
    scores = np.abs(weight[0]) * np.sqrt(np.diag(moments[0]))[:, None]
    np.testing.assert_array_equal(found[0], np.where(scores < np.median(scores, axis=0), 0, weight[0]))


def test_the_update_is_the_best_for_a_weight_that_goes_last() -> None:
    """With two inputs of which one goes, the other makes up for it as least squares would."""
    moments = np.array([[[4.0, 1.5], [1.5, 1.0]]], np.float32)
    weight = np.array([[[0.1], [1.0]]], np.float32)
    found = sparsify(weight, Blocked(1, 2), "obs", moments)
    damped = moments[0] + 0.01 * np.trace(moments[0]) / 2 * np.eye(2)
    assert found[0, 0, 0] == 0
    assert found[0, 1, 0] == pytest.approx(1.0 + 0.1 * damped[0, 1] / damped[1, 1], rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 24, 5), (3, 10, 2)])
def test_what_stays_is_the_least_squares_fit(shape: tuple[int, ...]) -> None:
    weight, moments = random(*shape), gram(shape[1], shape[0])
    found = sparsify(weight, Unstructured(0.5), "obs", moments).astype(np.float64)
    mean = np.trace(moments, axis1=1, axis2=2) / shape[1]
    damped = moments + 0.01 * mean[:, None, None] * np.eye(shape[1])
    slope = damped @ (weight - found)
    assert np.abs(slope[found != 0]).max() < 1e-3 * np.abs(slope[found == 0]).max()


def test_obs_is_near_the_best_of_all_masks() -> None:
    weight, moments = random(1, 8, 1), gram(8, directions=3)
    found = output_error(weight, sparsify(weight, Unstructured(0.5), "obs", moments), moments)
    errors = []
    for kept in combinations(range(8), 4):
        rows = list(kept)
        best = np.zeros_like(weight)
        best[0, rows] = np.linalg.solve(moments[0][np.ix_(rows, rows)], moments[0][rows] @ weight[0])
        errors.append(output_error(weight, best, moments))
    plain = output_error(weight, sparsify(weight, Unstructured(0.5), "magnitude", None), moments)
    assert min(errors) - 1e-6 <= found < 0.5 * (min(errors) + plain)


def test_obs_is_never_worse_than_magnitude() -> None:
    for seed in range(20):
        weight, moments = random(2, 16, 3, seed=seed), gram(16, 2, directions=1 + seed % 5)
        for pattern in PATTERNS:
            a, b = sparsify(weight, pattern, "obs", moments), sparsify(weight, pattern, "magnitude", moments)
            assert output_error(weight, a, moments) <= output_error(weight, b, moments)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_inputs_that_were_always_zero(criterion: Criterion) -> None:
    weight = random(1, 16, 4)
    assert Blocked(2, 4).holds(sparsify(weight, Blocked(2, 4), criterion, np.zeros((1, 16, 16), np.float32)))


@pytest.mark.parametrize(("text", "wanted"), [("2:4", Blocked(2, 4)), ("unstructured", Unstructured(0.6))])
def test_patterns_are_read(text: str, wanted: Any) -> None:
    assert read_pattern(text, 0.6) == wanted


def test_a_pattern_without_zeros_is_refused() -> None:
    with pytest.raises(ValueError, match="none becomes zero"):
        read_pattern("4:4", 0.5)

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tamis.compiler.analysis.integer_products import PAIR_LIMIT, pair_extremes
from tamis.passes.quantization.rounding.weight_rounding import (
    BLOCK,
    absorb_upstream,
    best_scales,
    output_error,
    round_nearest,
    round_weights,
)
from tests.models import Array, random


def correlated(rows: int, k: int, seed: int = 0) -> Array:
    """Rows whose elements depend on each other, as those of real layers do."""
    found: Array = np.maximum(random(rows, k, seed=seed) @ random(k, k, seed=seed + 1) / np.sqrt(k) + 0.5, 0)
    return found


def scales(weight: Array, limit: int) -> Array:
    found: Array = (np.abs(weight).max(axis=0) / limit).astype(np.float32)
    return found


@pytest.mark.parametrize(("k", "limit"), [(27, 127), (40, 7), (BLOCK + 21, 7)])
def test_output_error_falls(k: int, limit: int) -> None:
    x, weight = correlated(4 * k, k), random(k, 12, seed=5)
    gram, scale = x.T @ x, scales(weight, limit)
    nearest = round_nearest(weight, scale, pair_safe=False, limit=limit)
    found = round_weights(weight, scale, gram, pair_safe=False, limit=limit)
    assert found.dtype == np.int8
    assert np.abs(found).max() <= limit
    before, after = output_error(weight, nearest, scale, gram), output_error(weight, found, scale, gram)
    assert after.sum() < 0.7 * before.sum()
    assert np.allclose(after, np.square(x @ (weight - found * scale)).sum(axis=0), rtol=1e-2)


@pytest.mark.parametrize("k", [1, 2, 7, 27, BLOCK + 3])
def test_rounding_is_pair_safe(k: int) -> None:
    x, weight = correlated(3 * k + 2, k), np.sign(random(k, 9, seed=3)) * (1 + 0.2 * random(k, 9, seed=4))
    scale = scales(weight, 127)
    for found in (
        round_nearest(weight, scale, pair_safe=True),
        round_weights(weight, scale, x.T @ x, pair_safe=True),
    ):
        assert pair_extremes(found.astype(np.int64)).max() <= PAIR_LIMIT
    full = round_nearest(weight, scale, pair_safe=False)
    assert k == 1 or pair_extremes(full.astype(np.int64)).max() > PAIR_LIMIT


def test_safe_pairs_that_round_up_together() -> None:
    weight = np.array([[100.5, -100.5, 63.5, 127], [27.5, -27.5, 64.5, -127]], np.float32)
    found = round_nearest(weight, np.ones(4, np.float32), pair_safe=True)
    assert pair_extremes(found.astype(np.int64)).max() <= PAIR_LIMIT
    assert np.abs(found - weight).max() <= 1
    assert found[:, 3].tolist() == [127, -127]


def test_few_rows_are_solved_exactly() -> None:
    x, weight = correlated(50, 4), random(4, 3, seed=2)
    gram, scale = (x.T @ x).astype(np.float64), scales(weight, 7)
    found = round_weights(weight, scale, gram, pair_safe=False, limit=7)
    damped = gram + np.eye(4) * 0.01 * np.trace(gram) / 4
    floor = np.floor(weight.astype(np.float64) / scale)
    for n in range(3):
        ways = [np.clip(floor[:, n] + up, -7, 7)[:, None] for up in product((0, 1), repeat=4)]
        column = weight[:, n : n + 1]
        best = min(float(output_error(column, way, scale[n], damped)[0]) for way in ways)
        mine = float(output_error(column, found[:, n : n + 1], scale[n], damped)[0])
        assert mine == pytest.approx(best, rel=1e-9)


def test_upstream_error_is_absorbed() -> None:
    x, weight = correlated(400, 12), random(12, 5, seed=2)
    seen = 0.8 * x + 0.02 * random(*x.shape, seed=9)
    found = absorb_upstream(weight, seen.T @ seen, x.T @ seen)
    before, after = (np.square(x @ weight - seen @ w).sum() for w in (weight, found))
    assert after < 0.1 * before
    scale = scales(found, 127)
    rounded = round_weights(weight, scale, seen.T @ seen, x.T @ seen, pair_safe=False)
    assert np.square(x @ weight - seen @ (rounded * scale)).sum() < 0.1 * before


def test_scales_between_full_and_safe() -> None:
    x, weight = correlated(200, 16), np.sign(random(16, 6, seed=3)) * (1 + 0.2 * random(16, 6, seed=4))
    gram, full = x.T @ x, scales(weight, 127)
    found = best_scales(weight, gram, pair_safe=True)
    errors = [output_error(weight, round_nearest(weight, s, pair_safe=True), s, gram).sum() for s in (full, found)]
    assert errors[1] < errors[0]
    assert found.shape == (6,)
    assert best_scales(weight, gram, pair_safe=True, per_channel=False).shape == ()


def test_dead_inputs_and_dead_weights() -> None:
    weight = random(6, 4)
    weight[:, 0] = 0
    gram = np.zeros((6, 6), np.float32)
    scale = best_scales(weight, gram, pair_safe=True)
    assert scale[0] > 0
    found = round_weights(weight, scale, gram, pair_safe=True)
    assert np.all(found[:, 0] == 0)
    assert np.abs(found[:, 1:] * scale[1:] - weight[:, 1:]).max() < 2 * scale.max() * 64


@pytest.mark.parametrize("pair_safe", [True, False])
@pytest.mark.parametrize("k", [4, 25])
def test_a_stack_is_rounded_as_its_matrices_are(k: int, pair_safe: bool) -> None:
    weight = random(5, k, 3, seed=1)
    gram = np.stack([x.T @ x for x in (correlated(3 * k, k, seed=i) for i in range(5))])
    scale = best_scales(weight, gram, pair_safe=pair_safe)
    nearest = round_nearest(weight, scale, pair_safe=pair_safe)
    found = round_weights(weight, scale, gram, pair_safe=pair_safe)
    for i in range(5):
        assert np.array_equal(scale[i], best_scales(weight[i], gram[i], pair_safe=pair_safe))
        assert np.array_equal(nearest[i], round_nearest(weight[i], scale[i], pair_safe=pair_safe))
        alone = round_weights(weight[i], scale[i], gram[i], pair_safe=pair_safe)
        errors = [output_error(weight[i], q, scale[i], gram[i]) for q in (found[i], alone)]
        np.testing.assert_allclose(errors[0], errors[1], rtol=0.05)

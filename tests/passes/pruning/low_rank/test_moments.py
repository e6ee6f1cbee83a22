"""Second moments: shrunk by what few rows cannot tell, and judged by rows that nothing is fitted to."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.passes.layer_inputs.gram import Gram, Layer
from tamis.passes.pruning.low_rank.factors import OutputSplit
from tamis.passes.pruning.low_rank.moments import Moments, grams_in_two, moments_of, without_samples
from tamis.passes.pruning.low_rank.ranks import RankRule
from tests.models import Array, model, random


def gram_of(rows: Array) -> Gram:
    return Gram((rows.T @ rows)[None].astype(np.float32), rows.mean(axis=0, dtype=np.float64)[None], len(rows))


def moments(rows: Array, held: Array | None = None, *, centred: bool = True) -> Moments:
    found = moments_of(gram_of(rows), None if held is None else gram_of(held), centred=centred)
    assert found is not None
    return found


def inputs(count: int, size: int = 24, seed: int = 0) -> Array:
    """Rows with a mean, most of whose variance lies in a few directions."""
    axes = random(size, size, seed=77) * np.geomspace(3, 0.1, size, dtype=np.float32)[:, None]
    return (random(count, size, seed=seed) @ axes + random(size, seed=78)).astype(np.float32)


@pytest.mark.parametrize("centred", [False, True])
def test_many_rows_are_believed(centred: bool) -> None:
    rows = inputs(20000)
    found = moments(rows, centred=centred)
    wide = rows.astype(np.float64) - (rows.mean(axis=0, dtype=np.float64) if centred else 0)
    wanted = wide.T @ wide / len(rows)
    np.testing.assert_allclose(found.judged, wanted, atol=1e-5 * np.abs(wanted).max())
    np.testing.assert_allclose(found.second, wanted, atol=3e-3 * np.abs(wanted).max())
    assert found.mean.any() == centred


def test_held_rows_are_taken_about_the_mean_of_the_others() -> None:
    rows, held = inputs(500), inputs(300, seed=1) + 1
    found = moments(rows, held)
    wide = held.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(found.judged, wide.T @ wide / 300, rtol=1e-3, atol=1e-4)


def test_shrinkage_is_that_of_the_paper() -> None:
    rows = inputs(10)
    found = moments(rows, centred=False)
    s, p, n = rows.astype(np.float64).T @ rows / 10, 24, 10
    square, trace = np.trace(s @ s), np.trace(s)
    part = ((1 - 2 / p) * square + trace**2) / ((n + 1 - 2 / p) * (square - trace**2 / p))
    assert 0.05 < part < 1
    np.testing.assert_allclose(found.second, (1 - part) * s + part * trace / p * np.eye(p), rtol=1e-4, atol=1e-4)
    assert np.linalg.eigvalsh(found.second).min() > 0


def test_what_few_rows_do_not_show_is_not_forgotten() -> None:
    """Ten rows span ten directions; without shrinkage and rows to judge by, rank ten would seem to lose nothing."""
    weight, rule = random(24, 24, seed=5).astype(np.float64), RankRule(0.95, None, 2)
    truth = moments(inputs(20000, seed=9), centred=False).judged
    fooled, honest = moments(inputs(10), centred=False), moments(inputs(10), inputs(100, seed=3), centred=False)
    ranks, errors = [], []
    for each in (fooled, honest):
        factors = OutputSplit(weight, each).at(rule)
        left = weight - factors.core.astype(np.float64) @ factors.last
        errors.append(np.trace(left.T @ truth @ left) / np.trace(weight.T @ truth @ weight))
        ranks.append(factors.ranks[0])
    assert ranks[0] < ranks[1]
    assert errors[0] > 0.07 > errors[1]
    assert factors.error == pytest.approx(errors[1], rel=0.4)


@pytest.mark.parametrize("fill", [np.inf, np.nan, 0.0])
def test_rows_that_say_nothing(fill: float) -> None:
    rows = np.full((5, 4), fill, np.float32)
    assert moments_of(gram_of(rows), None, centred=False) is None
    assert moments_of(gram_of(inputs(5, 4)), gram_of(rows), centred=False) is None


def test_rows_that_are_all_alike_have_no_variance() -> None:
    assert moments_of(gram_of(np.zeros((5, 4), np.float32) + 0.0), None, centred=True) is None


def test_without_samples_all_directions_are_alike() -> None:
    found = without_samples(3)
    np.testing.assert_array_equal(found.second, np.eye(3))
    assert found.energy(np.ones((3, 2))) == 6


@pytest.mark.parametrize(("count", "fitted"), [(1, 1), (3, 3), (4, 3), (9, 7)])
def test_samples_are_fitted_to_or_judged_by(count: int, fitted: int) -> None:
    found: ir.Model = model("g (float[N, 5] x) => (float[N, 3] y) { r = Relu(x) y = MatMul(r, w) }", w=random(5, 3))
    layer = Layer(found.graph[1], (5, 3))
    samples = [{"x": np.full((2, 5), i + 1, np.float32)} for i in range(count)]
    ((_, gram, held),) = grams_in_two(found, [layer], lambda: iter(samples), 0)
    assert gram.rows == 2 * fitted
    assert (held.rows if held else 0) == 2 * (count - fitted if fitted < count else 0)
    numbers = [i + 1 for i in range(count) if count < 4 or i % 4 != 3]
    assert gram.g[0, 0, 0] == pytest.approx(2 * sum(n * n for n in numbers))

"""Streamed moments against numpy on all rows at once."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.compiler.errors import DataError
from tamis.passes.pruning.axes.axis import Axis, Role
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.importance.moments import input_moments, mean_squares
from tamis.passes.pruning.importance.product import Product, product_of
from tests.models import run
from tests.passes.pruning.importance.importance_nets import CONVS, MLP, graph, samples


def mlp(shift: float = 0.0) -> tuple[AxisGraph, Product]:
    """The net with ``shift`` as bias, and its second layer."""
    found = graph(MLP, {"b1": np.full(12, shift, np.float32)})
    product = product_of(found.groups[0].with_role(Role.CONSUME)[0])
    assert isinstance(product, Product)
    return found, product


@pytest.mark.parametrize("shift", [0.0, 3e3])
def test_covariance_of_all_samples(shift: float) -> None:
    """A mean that is large beside the spread does not spoil it."""
    found, product = mlp(shift)
    give = samples(7, 6)
    (moments,) = input_moments(found.model, {0: product}, give, positions=100, seed=0).values()
    weights = found.groups[0].with_role(Role.PRODUCE)[0].elements
    rows = np.concatenate([np.maximum(feeds["x"] @ weights + np.float32(shift), 0) for feeds in give()])
    assert moments.gram.rows == 7 * 16
    covariance = moments.covariance()
    assert covariance is not None and covariance.dtype == np.float64
    np.testing.assert_allclose(covariance, np.cov(rows.T.astype(np.float64), bias=True), rtol=2e-3, atol=2e-3)


def test_positions_limit_the_rows_and_follow_the_seed() -> None:
    found = graph(CONVS)
    products = {
        i: p for i, g in enumerate(found.groups) if isinstance(p := product_of(g.with_role(Role.CONSUME)[0]), Product)
    }
    assert len(products) == 2
    give = samples(1, 3, 8, 8, count=3)
    first, again, other = (
        input_moments(found.model, products, give, positions=10, seed=seed)[0].covariance() for seed in (0, 0, 1)
    )
    assert first is not None and again is not None and other is not None
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert input_moments(found.model, products, give, positions=10, seed=0)[1].gram.rows == 30


@pytest.mark.parametrize("values", [(1, np.inf), (np.inf, 1), (1, np.nan), (1e30, 1)])
def test_rows_that_are_not_finite_give_no_covariance(values: tuple[float, ...]) -> None:
    """1e30 overflows once it is squared."""
    found, product = mlp()
    broken = [{"x": np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32) * np.float32(v)} for v in values]
    (moments,) = input_moments(found.model, {0: product}, lambda: broken, positions=100, seed=0).values()
    assert moments.covariance() is None
    squares = mean_squares(found.model, [product.read], lambda: broken)
    assert not np.isfinite(squares[product.read]).all()


def test_mean_squares_of_all_samples() -> None:
    found = graph(CONVS)
    value = next(n for n in found.model.graph if n.op_type == "Relu").outputs[0]
    give = samples(1, 3, 8, 8, count=3)
    squares = mean_squares(found.model, [Axis(value, 1), Axis(value, 2)], give)
    found.model.graph.outputs.append(value)
    arrays = np.concatenate([run(found.model, feeds)[1] for feeds in give()]).astype(np.float64)
    np.testing.assert_allclose(squares[Axis(value, 1)], (arrays**2).mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(squares[Axis(value, 2)], (arrays**2).mean(axis=(0, 1, 3)), rtol=1e-5)


def test_no_samples() -> None:
    found, product = mlp()
    with pytest.raises(DataError, match="no samples"):
        input_moments(found.model, {0: product}, list, positions=1, seed=0)

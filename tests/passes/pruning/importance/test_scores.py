"""All criteria: what they must see, and what they must survive."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.compiler.errors import DataError, UsageError
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.importance.curve import cheapest_first
from tamis.passes.pruning.importance.scores import CRITERIA, FROM_DATA, NOT_FINITE, score_groups
from tests.passes.pruning.importance.importance_nets import ATTENTION, CONVS, LSTM, MLP, graph, samples

NETS = {
    "mlp": (MLP, (7, 6)),
    "convs": (CONVS, (1, 3, 8, 8)),
    "lstm": (LSTM, (5, 1, 4)),
    "heads": (ATTENTION, (2, 5, 8)),
}


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("net", NETS)
def test_every_unit_has_a_place_and_losses_never_fall(net: str, criterion: str) -> None:
    text, shape = NETS[net]
    found = graph(text, views=(0, 1, 2))
    scores = score_groups(found, found.groups, criterion, samples(*shape), positions=64)
    assert list(scores.curves) == list(found.groups)
    for group, curve in scores.curves.items():
        assert sorted(curve.order.tolist()) == list(range(group.units))
        assert curve.loss.shape == (group.units + 1,) and curve.loss.dtype == np.float64
        assert curve.loss[0] == 0 and (np.diff(curve.loss) >= 0).all() and np.isfinite(curve.loss).all()


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_same_twice(criterion: str) -> None:
    found = graph(CONVS)
    first, again = (
        score_groups(found, found.groups, criterion, samples(1, 3, 8, 8), positions=20, seed=3) for _ in range(2)
    )
    for group in found.groups:
        np.testing.assert_array_equal(first.curves[group].order, again.curves[group].order)
        np.testing.assert_array_equal(first.curves[group].loss, again.curves[group].loss)


def useless(channel: int, gain: float = 50.0) -> AxisGraph:
    """A channel with the largest weights of all, behind a bias that ReLU never lets through."""
    rng = np.random.default_rng(2)
    w1, b1 = rng.normal(size=(6, 12)).astype(np.float32), np.zeros(12, np.float32)
    w2 = rng.normal(size=(12, 5)).astype(np.float32)
    w1[:, channel] *= gain
    w2[channel] *= gain
    b1[channel] = -1e4
    return graph(MLP, {"w1": w1, "b1": b1, "w2": w2})


@pytest.mark.parametrize("channel", [0, 5, 11])
@pytest.mark.parametrize("criterion", FROM_DATA)
def test_a_useless_channel_goes_first(criterion: str, channel: int) -> None:
    found = useless(channel)
    (curve,) = score_groups(found, found.groups, criterion, samples(20, 6)).curves.values()
    assert curve.order[0] == channel and curve.loss[1] < 1e-6 * curve.loss[-1] + 1e-3 * curve.loss[2]


def test_weights_alone_do_not_see_it() -> None:
    """So that the test above is able to fail."""
    found = useless(5)
    for criterion in ("l1", "l2"):
        (curve,) = score_groups(found, found.groups, criterion, None).curves.values()
        assert curve.order[-1] == 5


@pytest.mark.parametrize("criterion", ["l1", "l2", "fpgm", "random"])
def test_no_samples_are_needed(criterion: str) -> None:
    found = graph(CONVS)
    assert len(score_groups(found, found.groups, criterion, None).curves) == 2


@pytest.mark.parametrize("criterion", FROM_DATA)
def test_samples_that_are_missing(criterion: str) -> None:
    found = graph(MLP)
    with pytest.raises(DataError, match="expected samples, found none; give calibration data"):
        score_groups(found, found.groups, criterion, None)
    with pytest.raises(DataError, match="no samples to observe"):
        score_groups(found, found.groups, criterion, list)


def test_a_criterion_that_is_not_there() -> None:
    found = graph(MLP)
    with pytest.raises(UsageError, match="no criterion 'taylor'; expected obs, l2, l1, act, fpgm, random"):
        score_groups(found, found.groups, "taylor", None)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(criterion: str, value: float) -> None:
    weights = np.ones((6, 12), np.float32)
    weights[2, 3] = value
    found = graph(MLP, {"w1": weights})
    scores = score_groups(found, found.groups, criterion, samples(7, 6))
    assert scores.curves == {} and [(s.reason, s.node) for s in scores.skips] == [(NOT_FINITE, "Gemm_0")]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_group_of_one_unit(criterion: str) -> None:
    text = "net (float[N, 6] x, float[6, 1] w1, float[1, 5] w2) => (float[N, 5] y) { h = MatMul(x, w1) r = Relu(h) y = MatMul(r, w2) }"
    found = graph(text)
    (curve,) = score_groups(found, found.groups, criterion, samples(7, 6)).curves.values()
    assert curve.order.tolist() == [0] and curve.loss.shape == (2,) and np.isfinite(curve.loss).all()


@pytest.mark.parametrize("criterion", CRITERIA)
def test_readers_that_are_all_zero(criterion: str) -> None:
    found = graph(MLP, {"w2": np.zeros((12, 5), np.float32)})
    (curve,) = score_groups(found, found.groups, criterion, samples(7, 6)).curves.values()
    assert sorted(curve.order.tolist()) == list(range(12)) and np.isfinite(curve.loss).all()
    if criterion in FROM_DATA:
        assert not curve.loss.any()


def test_random_follows_the_seed_and_the_group() -> None:
    """Two groups of equal size, each with an order of its own."""
    text = "net (float[N, 6] x, float[6, 9] a, float[9, 9] b, float[9, 5] c) => (float[N, 5] y) { \
h = MatMul(x, a) r = Relu(h) i = MatMul(r, b) s = Relu(i) y = MatMul(s, c) }"
    found = graph(text)
    orders = [
        curve.order.tolist()
        for seed in (0, 1)
        for curve in score_groups(found, found.groups, "random", None, seed=seed).curves.values()
    ]
    assert len(orders) == 4 == len({tuple(order) for order in orders})


def test_no_groups() -> None:
    found = graph(MLP)
    assert score_groups(found, (), "obs", samples(7, 6)).curves == {}


def test_cheapest_first_keeps_equal_ones_in_order() -> None:
    curve = cheapest_first(np.array([2.0, 1.0, 2.0, 0.0]))
    assert curve.order.tolist() == [3, 1, 0, 2] and curve.loss.tolist() == [0, 0, 1, 3, 5]
    assert curve.first(3).tolist() == [0, 1, 3]

"""Shares of weights, on tensors small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.passes.pruning.importance.weight_norms import weight_norms
from tests.passes.pruning.importance.importance_nets import LSTM, MLP, graph

SMALL = "net (float[N, 1] x, float[1, 3] w1, float[3, 2] w2) => (float[N, 2] y) { h = MatMul(x, w1) r = Relu(h) y = MatMul(r, w2) }"
W1 = np.array([[1, -2, 1]], np.float32)
W2 = np.array([[1, 1], [0, 2], [-2, 2]], np.float32)


@pytest.mark.parametrize(
    ("power", "wanted"),
    [(1, [1 / 4 + 2 / 8, 2 / 4 + 2 / 8, 1 / 4 + 4 / 8]), (2, [1 / 6 + 2 / 14, 4 / 6 + 4 / 14, 1 / 6 + 8 / 14])],
)
def test_shares_of_both_sides_are_added(power: int, wanted: list[float]) -> None:
    (group,) = graph(SMALL, {"w1": W1, "w2": W2}).groups
    np.testing.assert_allclose(weight_norms(group, power), wanted, rtol=1e-12)


def test_the_scale_of_a_tensor_does_not_matter() -> None:
    found = [weight_norms(graph(SMALL, {"w1": W1 * s, "w2": W2}).groups[0], 2) for s in (1, 1000)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_a_tensor_of_zeros_says_nothing() -> None:
    (group,) = graph(SMALL, {"w1": W1, "w2": 0 * W2}).groups
    np.testing.assert_allclose(weight_norms(group, 1), [1 / 4, 2 / 4, 1 / 4], rtol=1e-12)


@pytest.mark.parametrize("text", [MLP, LSTM])
def test_shares_of_all_units_are_one_a_tensor(text: str) -> None:
    """An LSTM unit is a row of each gate, and a column of the recurrent weights."""
    group = graph(text).groups[0]
    tensors = {"Gemm_0": 2, "LSTM_0": 4}[group.name]
    assert weight_norms(group, 2).sum() == pytest.approx(tensors)

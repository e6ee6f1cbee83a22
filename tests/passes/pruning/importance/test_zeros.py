"""Shares of zeros against counting."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.compiler.errors import DataError
from tamis.passes.pruning.importance.zeros import activation_zeros
from tests.models import run
from tests.passes.pruning.importance.importance_nets import graph, samples

CONV = """
net (float[1, 3, 6, 6] x, float[19, 3, 3, 3] w, float[19] b, float[4, 19, 1, 1] v) => (float[1, 4, 6, 6] y) {
  a = Conv<pads = [1, 1, 1, 1]>(x, w, b)
  r = Relu(a)
  y = Conv(r, v)
}
"""


def test_shares_are_counts() -> None:
    bias = np.zeros(19, np.float32)
    bias[[4, 18]] = -1e3
    bias[8:16] = -3
    found = graph(CONV, {"b": bias})
    (stats,) = activation_zeros(found.model, samples(1, 3, 6, 6))
    value = next(n for n in found.model.graph if n.op_type == "Relu").outputs[0]
    found.model.graph.outputs.append(value)
    zero = np.concatenate([run(found.model, f)[1] for f in samples(1, 3, 6, 6)()]) == 0
    assert stats.name == "r" and stats.share == pytest.approx(zero.mean())
    np.testing.assert_allclose(stats.per_channel, zero.mean(axis=(0, 2, 3)))
    assert stats.per_channel[4] == stats.per_channel[18] == 1
    blocks = zero[:, :16].reshape(16, 2, 8, 6, 6).all(axis=2)
    assert 0 < stats.blocks_of_eight == pytest.approx(blocks.mean())


@pytest.mark.parametrize(
    ("text", "shape", "wanted"),
    [
        ("net (float[2, 3, 5] x, float[4, 3, 1] w) => (float[2, 4, 5] y) { a = Conv(x, w) y = Relu(a) }", (2, 3, 5), 4),
        ("net (float[2, 5, 3] x, float[3, 4] w) => (float[2, 5, 4] y) { a = MatMul(x, w) y = Relu(a) }", (2, 5, 3), 4),
        ("net (float[2, 3] x, float[3, 4] w) => (float[2, 4] y) { a = Gemm(x, w) b = Neg(a) y = Relu(b) }", (2, 3), 4),
        (
            "net (float[2, 3, 5] x, float[4, 3, 1] w) => (float[5, 2, 4] y) {"
            + "a = Conv(x, w) t = Transpose<perm = [2, 0, 1]>(a) b = Abs(t) y = Relu(b) }",
            (2, 3, 5),
            4,
        ),
        ("net (float[2, 3, 5, 7] x) => (float[2, 3, 5, 7] y) { y = Relu(x) }", (2, 3, 5, 7), 3),
        ("net (float[2, 3, 5] x) => (float[2, 3, 5] y) { y = Relu(x) }", (2, 3, 5), 5),
        ("net (float[2, 3] x, float[] w) => (float[2, 3] y) { y = Max(x, w) }", (2, 3), None),
        ("net (float[3] x) => (float[3] y) { y = Relu(x) }", (3,), None),
        ("net (float[2, 3] x) => (float[2, 3] y) { y = Sigmoid(x) }", (2, 3), None),
        ("net (float[2, 3] x) => (float[2, 3] y) { z = Constant<value = float {0.0}>() y = Clip(x, z) }", (2, 3), 3),
        (
            "net (float[2, 3] x) => (float[2, 3] y) { z = Constant<value = float {-1.0}>() y = Clip(x, z) }",
            (2, 3),
            None,
        ),
        ("net (float[2, 3] x) => (float[2, 3] y) { z = Constant<value = float {0.0}>() y = Max(x, z) }", (2, 3), 3),
        ("net (float[2, 3] x) => (float[2, 3] y) { y = HardSwish(x) }", (2, 3), 3),
    ],
)
def test_which_axis_holds_channels(text: str, shape: tuple[int, ...], wanted: int | None) -> None:
    found = activation_zeros(graph(text).model, samples(*shape))
    assert [len(s.per_channel) for s in found] == ([] if wanted is None else [wanted])


def test_few_channels_have_no_blocks() -> None:
    text = "net (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }"
    (stats,) = activation_zeros(graph(text).model, lambda: [{"x": -np.ones((2, 3), np.float32)}])
    assert stats.share == 1 and stats.blocks_of_eight == 0


def test_no_number_is_not_zero() -> None:
    text = "net (float[1, 2] x) => (float[1, 2] y) { y = Relu(x) }"
    (stats,) = activation_zeros(graph(text).model, lambda: [{"x": np.array([[np.nan, -1]], np.float32)}])
    assert stats.per_channel.tolist() == [0, 1]


def test_no_samples_and_nothing_to_look_at() -> None:
    with pytest.raises(DataError, match="no samples"):
        activation_zeros(graph(CONV).model, list)
    text = "net (float[1, 2] x) => (float[1, 2] y) { y = Sigmoid(x) }"
    assert activation_zeros(graph(text).model, list) == ()

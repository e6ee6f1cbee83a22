"""A consumer as rows times a matrix computes what its node does."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.passes.pruning.axes.axis import Role
from tamis.passes.pruning.importance.product import Product, product_of
from tests.models import random, run
from tests.passes.pruning.importance.importance_nets import graph

HEAD = "net (float[2, 4, 6, 6] x, float[8, 4, 1, 1] w0, {weight} w) => (float[{result}] y) {{ a = Conv(x, w0) "
ROWS = "net (float[2, 6, 4] x, float[4, 8] w0, {weight} w) => (float[{result}] y) {{ a = MatMul(x, w0) "
FLAT = "net (float[6, 4] x, float[4, 8] w0, {weight} w) => (float[{result}] y) {{ a = MatMul(x, w0) "
CASES = {
    "conv": HEAD.format(weight="float[5, 8, 3, 2]", result="2, 5, 3, 6")
    + "y = Conv<pads = [1, 0, 1, 1], strides = [2, 1]>(a, w) }",
    "pointwise": HEAD.format(weight="float[5, 8, 1, 1]", result="2, 5, 6, 6") + "y = Conv(a, w) }",
    "transposed": HEAD.format(weight="float[8, 5, 2, 2]", result="2, 5, 12, 12")
    + "y = ConvTranspose<strides = [2, 2]>(a, w) }",
    "matmul": ROWS.format(weight="float[8, 5]", result="2, 6, 5") + "y = MatMul(a, w) }",
    "vector": ROWS.format(weight="float[8]", result="2, 6") + "y = MatMul(a, w) }",
    "left": ROWS.format(weight="float[5, 8]", result="2, 5, 6")
    + "t = Transpose<perm = [0, 2, 1]>(a) y = MatMul(w, t) }",
    "gemm": FLAT.format(weight="float[8, 5]", result="6, 5") + "y = Gemm(a, w) }",
    "gemm transB": FLAT.format(weight="float[5, 8]", result="6, 5") + "y = Gemm<transB = 1>(a, w) }",
    "gemm transA": FLAT.format(weight="float[8, 5]", result="6, 5")
    + "t = Transpose<perm = [1, 0]>(a) y = Gemm<transA = 1>(t, w) }",
    "gemm left": FLAT.format(weight="float[5, 8]", result="5, 6") + "t = Transpose<perm = [1, 0]>(a) y = Gemm(w, t) }",
    "gemm left transposed": FLAT.format(weight="float[8, 5]", result="5, 6")
    + "y = Gemm<transA = 1, transB = 1>(w, a) }",
}


def product(text: str) -> tuple[Product, list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
    """The one consumer, and what it reads and computes on a random input."""
    found = graph(text)
    (group,) = found.groups
    (member,) = group.with_role(Role.CONSUME)
    result = product_of(member)
    assert isinstance(result, Product)
    model = found.model
    model.graph.outputs.append(result.value)
    shape = model.graph.inputs[0].shape
    assert shape is not None
    y, a = run(model, {"x": random(*shape.numpy(), seed=5)})
    return result, [a, y]


@pytest.mark.parametrize("case", CASES)
def test_rows_times_matrix_is_the_output(case: str) -> None:
    found, (a, y) = product(CASES[case])
    rows, matrix = found.rows(a, 10**6, np.random.default_rng(0)), found.matrix()
    assert matrix.shape[0] == found.length == rows.shape[1]
    got = rows @ matrix
    if case == "transposed":  # (B, h, w, M, tap, tap) -> (B, M, h tap, w tap)
        wanted = y.reshape(2, 5, 6, 2, 6, 2).transpose(0, 2, 4, 1, 3, 5).reshape(len(rows), -1)
    else:
        channels = {"conv": 1, "pointwise": 1, "left": 1, "gemm left": 0, "gemm left transposed": 0}.get(
            case, y.ndim - 1
        )
        wanted = (y[..., None] if case == "vector" else np.moveaxis(y, channels, -1)).reshape(len(rows), -1)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_rows_of_a_unit_are_those_that_read_it(case: str) -> None:
    found, (a, _) = product(CASES[case])
    changed = np.moveaxis(a.copy(), found.read.index, 0)
    changed[3] += 1
    before, after = (
        found.rows(x, 10**6, np.random.default_rng(0)) for x in (a, np.moveaxis(changed, 0, found.read.index))
    )
    assert np.flatnonzero((before != after).any(axis=0)).tolist() == sorted(found.rows_of_units()[3].tolist())


@pytest.mark.parametrize("case", ["conv", "matmul", "left"])
def test_few_rows_are_some_of_all(case: str) -> None:
    found, (a, _) = product(CASES[case])
    every, few = (found.rows(a, limit, np.random.default_rng(0)) for limit in (10**6, 5))
    assert few.shape == (5, found.length)
    assert {row.tobytes() for row in few} <= {row.tobytes() for row in every}


def test_what_is_no_plain_product_says_why() -> None:
    text = """
net (float[2, 4, 6, 6] x, float[8, 4, 1, 1] w0, float[6, 4, 1, 1] w, float[1, 24, 36] l, float[1, 24, 6] r) =>
    (float[6, 1, 2, 6] y) {
  a = Conv(x, w0)
  b = Relu(a)
  c = Conv<group = 2>(b, w)
  shape = Constant<value = int64[3] {2, 6, 36}>()
  d = Reshape(c, shape)
  t = Transpose<perm = [1, 0, 2]>(d)
  y, last, cell = LSTM<hidden_size = 6>(t, l, r)
}
"""
    found = graph(text, views=(0, 1))
    reasons = {product_of(m) for g in found.groups for m in g.with_role(Role.CONSUME)}
    assert reasons == {"a Conv of several groups"}

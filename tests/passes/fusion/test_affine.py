"""The arithmetic of folding, checked against plain sums, without a graph."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.passes.fusion import affine as maths
from tamis.passes.fusion.affine import Affine, per_channel
from tests.models import Array, random


def wide(*shape: int, seed: int = 0) -> Array:
    return random(*shape, seed=seed, dtype=np.float64)


def conv1x1(x: Array, weight: Array, bias: Array, groups: int) -> Array:
    """Grouped pointwise convolution of ``x: (C_in,)``."""
    parts = np.split(x, groups)
    filters = np.split(weight, groups)
    return np.concatenate([w @ p for w, p in zip(filters, parts, strict=True)]) + bias


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolution_after_and_before(groups: int) -> None:
    weight, bias, x = wide(8, 4 // groups, seed=1), wide(8, seed=2), wide(4, seed=3)
    outer, inner = Affine(wide(8, seed=4), wide(8, seed=5)), Affine(wide(4, seed=6), wide(4, seed=7))
    y = outer.scale * conv1x1(inner.scale * x + inner.shift, weight, bias, groups) + outer.shift
    new_weight, new_bias = maths.after_conv(weight, bias, outer)
    new_weight, new_bias = maths.before_conv(new_weight, new_bias, inner, groups)
    np.testing.assert_allclose(conv1x1(x, new_weight, new_bias, groups), y, rtol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_after_and_before(groups: int) -> None:
    weight, bias, x = wide(4, 6 // groups, seed=1), wide(6, seed=2), wide(4, seed=3)
    outer, inner = Affine(wide(6, seed=4), wide(6, seed=5)), Affine(wide(4, seed=6), np.zeros(()))

    def apply(x: Array, weight: Array, bias: Array) -> Array:
        pairs = zip(np.split(weight, groups), np.split(x, groups), strict=True)
        return np.concatenate([w.T @ p for w, p in pairs]) + bias

    y = outer.scale * apply(inner.scale * x, weight, bias) + outer.shift
    new_weight, new_bias = maths.after_conv_transpose(weight, bias, outer, groups)
    new_weight, new_bias = maths.before_conv_transpose(new_weight, new_bias, inner)
    np.testing.assert_allclose(apply(x, new_weight, new_bias), y, rtol=1e-12)


def test_matrix_product_after_and_before() -> None:
    weight, bias, x = wide(3, 5, seed=1), wide(5, seed=2), wide(2, 3, seed=3)
    outer, inner = Affine(wide(5, seed=4), np.float64(2.0) * np.ones(())), Affine(wide(3, seed=6), wide(3, seed=7))
    y = outer.scale * ((inner.scale * x + inner.shift) @ weight + bias) + outer.shift
    new_weight, new_bias = maths.after_matmul(weight, bias, outer)
    new_weight, new_bias = maths.before_matmul(new_weight, new_bias, inner)
    np.testing.assert_allclose(x @ new_weight + new_bias, y, rtol=1e-12)


def test_batch_normalization() -> None:
    gamma, beta, mean, variance, x = (wide(3, seed=s) for s in range(5))
    variance = np.abs(variance)
    found = maths.batch_normalization(gamma, beta, mean, variance, 1e-3)
    wanted = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(found.scale * x + found.shift, wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((), None),
        ((1,), None),
        ((1, 1, 1, 1), None),
        ((4, 1, 1), None),
        ((1, 4, 1, 1), None),
        ((4,), "constant is not scalar or per channel"),
        ((4, 1), "constant is not scalar or per channel"),
        ((2, 4, 1, 1), "constant is not scalar or per channel"),
        ((4, 2, 2), "constant is not scalar or per channel"),
        ((3, 1, 1), "broadcasting enlarges the shape"),
        ((1, 1, 4, 1, 1), "broadcasting enlarges the shape"),
    ],
)
def test_per_channel(shape: tuple[int, ...], reason: str | None) -> None:
    assert per_channel(shape, rank=4, axis=1, channels=4) == reason

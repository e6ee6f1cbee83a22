from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.compiler.analysis.integer_products import PAIR_LIMIT, conv_matrices, conv_weight, pair_extremes
from tamis.passes.quantization.rounding.int8_weights import quantize_conv, quantize_int8, quantize_uint8
from tests.models import Array, random


def restored(found: object) -> Array:
    from tamis.passes.quantization.rounding.int8_weights import Int8Weight

    assert isinstance(found, Int8Weight)
    zero = 0.0 if found.zero_point is None else found.zero_point.astype(np.float64)
    result: Array = found.scale.astype(np.float64) * (found.quantized.astype(np.float64) - zero)
    return result


@pytest.mark.parametrize("per_channel", [True, False])
def test_int8_error_is_at_most_half_a_step(per_channel: bool) -> None:
    weight = random(30, 7) * np.geomspace(0.01, 10, 7, dtype=np.float32)
    found = quantize_int8(weight, per_channel=per_channel, pair_safe=False)
    assert found.scale.shape == ((7,) if per_channel else ())
    assert found.quantized.dtype == np.int8
    assert np.all(np.abs(restored(found) - weight) <= 0.5001 * found.scale)


@pytest.mark.parametrize("per_channel", [True, False])
def test_uint8_covers_the_range_and_zero_exactly(per_channel: bool) -> None:
    weight = np.abs(random(30, 7)) + 1
    weight[3] = 0
    found = quantize_uint8(weight, per_channel=per_channel)
    assert found.quantized.dtype == np.uint8
    assert np.all(np.abs(restored(found) - weight) <= 1.01 * found.scale)
    assert np.all(restored(found)[3] == 0)


def saturates(quantized: Array) -> bool:
    """Whether some 8-bit activations make a pair of products leave int16: the extremes are 0 or 255 for each."""
    rows = quantized.astype(np.int64)
    rows = rows if len(rows) % 2 == 0 else np.vstack([rows, np.zeros_like(rows[:1])])
    sums = [255 * (p * rows[0::2] + q * rows[1::2]) for p in (0, 1) for q in (0, 1)]
    return bool(np.any(np.abs(np.array(sums) + 0.5) > 2**15))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_pair_safe_weights_never_saturate(rows: int, columns: int, per_channel: bool, seed: int) -> None:
    found = quantize_int8(random(rows, columns, seed=seed), per_channel=per_channel, pair_safe=True)
    assert not saturates(found.quantized)
    assert pair_extremes(found.quantized.astype(np.int64)).max() <= PAIR_LIMIT


def test_full_range_weights_may_saturate() -> None:
    found = quantize_int8(np.ones((2, 1), np.float32), per_channel=True, pair_safe=False)
    assert saturates(found.quantized)


def test_pair_safety_costs_nothing_where_pairs_are_small() -> None:
    weight = np.array([[1.0], [-1.0], [0.5], [0.0]], np.float32)
    safe, full = (quantize_int8(weight, per_channel=True, pair_safe=p) for p in (True, False))
    assert np.array_equal(safe.quantized, full.quantized)


def test_empty_columns_have_a_positive_scale() -> None:
    weight = np.zeros((4, 2), np.float32)
    assert np.all(quantize_int8(weight, per_channel=True, pair_safe=True).scale == 1)
    assert np.all(quantize_uint8(weight, per_channel=True).scale == 1)


@pytest.mark.parametrize(
    ("shape", "group"), [((6, 4, 3, 3), 1), ((6, 3, 3), 2), ((4, 1, 5, 5), 2), ((4, 3, 1, 2, 3), 1)]
)
@pytest.mark.parametrize("per_channel", [True, False])
def test_convolutions_are_safe_in_the_order_of_the_kernel(
    shape: tuple[int, ...], group: int, per_channel: bool
) -> None:
    weight = np.sign(random(*shape)) * (1 + 0.1 * random(*shape, seed=1))
    found = quantize_conv(weight, group=group, per_channel=per_channel, pair_safe=True)
    assert found.scale.shape == ((shape[0],) if per_channel else ())
    matrices = conv_matrices(found.quantized.astype(np.int64), group)
    assert 120 <= pair_extremes(matrices).max() <= PAIR_LIMIT
    full = quantize_conv(weight, group=group, per_channel=per_channel, pair_safe=False)
    assert pair_extremes(conv_matrices(full.quantized.astype(np.int64), group)).max() > PAIR_LIMIT


def test_depthwise_weights_keep_their_range() -> None:
    weight = np.ones((5, 1, 3, 3), np.float32)
    assert np.all(quantize_conv(weight, group=5, per_channel=True, pair_safe=True).quantized == 127)


@pytest.mark.parametrize(
    ("shape", "group"), [((6, 4, 3, 2), 1), ((6, 3, 5), 2), ((4, 1, 5, 5), 4), ((4, 3, 1, 2, 3), 2)]
)
def test_matrices_of_a_convolution_and_back(shape: tuple[int, ...], group: int) -> None:
    weight = random(*shape)
    matrices = conv_matrices(weight, group)
    assert matrices.shape == (group, weight[0].size, shape[0] // group)
    first = np.moveaxis(weight[shape[0] // group - 1], 0, -1).reshape(-1)
    assert np.array_equal(matrices[0, :, -1], first)
    assert np.array_equal(conv_weight(matrices, shape), weight)

from __future__ import annotations

import numpy as np
import pytest

from tamis.passes.quantization.rounding.block_rounding import BlockFormat, round_blocks
from tests.models import random


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_error_of_a_block_is_about_half_a_step(bits: int, symmetric: bool) -> None:
    weight = random(40, 5) * np.geomspace(0.01, 10, 5, dtype=np.float32)
    found = round_blocks(weight, BlockFormat(bits, 16, symmetric))
    assert found.scale.shape == found.zero_point.shape == (3, 5)
    assert found.quantized.max() < 2**bits
    assert np.all(found.zero_point == 2 ** (bits - 1)) or not symmetric
    rows = np.arange(40) // 16
    noise = np.mean((found.dequantize() - weight) ** 2, axis=0)
    assert np.all(noise < 1.3 * np.mean(found.scale[rows] ** 2, axis=0) / 12)


def test_clipping_lowers_the_error_of_a_block_with_an_outlier() -> None:
    weight = random(64, 8, seed=3)
    found = round_blocks(weight, BlockFormat(4, 64, True))
    plain = np.abs(weight).max(axis=0) / 7
    unclipped = plain * np.clip(np.rint(weight / plain), -8, 7)
    assert np.sum((found.dequantize() - weight) ** 2) < 0.95 * np.sum((unclipped - weight) ** 2)


def test_zeros_stay_zero_and_have_a_positive_scale() -> None:
    found = round_blocks(np.zeros((20, 3), np.float32), BlockFormat(4, 16, False))
    assert np.all(found.dequantize() == 0)
    assert np.all(found.scale == 1)


def test_gram_matrix_brings_the_product_nearer() -> None:
    x = random(400, 8, seed=1) @ random(8, 48, seed=2) + 0.1 * random(400, 48, seed=3)
    weight, form = random(48, 20, seed=4), BlockFormat(4, 16, False)
    nearest, swept = (round_blocks(weight, form, gram) for gram in (None, x.T @ x))
    losses = [np.sum((x @ (found.dequantize() - weight)) ** 2, axis=0) for found in (nearest, swept)]
    assert np.all(losses[1] <= losses[0] * (1 + 1e-4))
    assert losses[1].sum() < losses[0].sum() / 4


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    x = random(50, 32)
    x[:, ::2] = 0
    weight = random(32, 4, seed=1)
    for gram in (x.T @ x, np.zeros((32, 32), np.float32)):
        found = round_blocks(weight, BlockFormat(4, 16, True), gram)
        assert np.abs(found.dequantize() - weight).max() < 1

"""Tests of passes/quantization/calibration/affine.py."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.passes.quantization.calibration.affine import SMALLEST_SCALE, Affine, affine_of_range
from tests.models import Array, model, random, run

DTYPES = ("int8", "uint8", "int16", "uint16")
RANGES = ((-1.0, 3.0), (0.0, 6.0), (-2.5, 0.0), (0.5, 2.0), (-1e-3, 1e-4), (-3e38, 3e38))


def _onnx(affine: Affine, x: Array) -> tuple[Array, Array]:
    kind = affine.dtype.name
    axis = "" if affine.axis is None else f"<axis = {affine.axis}>"
    graph = f"""g (float[N,3] x) => ({kind}[N,3] q, float[N,3] y) {{
        q = QuantizeLinear {axis} (x, s, z)
        y = DequantizeLinear {axis} (q, s, z)
    }}"""
    q, y = run(model(graph, 21, s=affine.scale, z=affine.zero_point), {"x": x})
    return q, y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_gives_the_bits_of_onnx(dtype: str, symmetric: bool, low: float, high: float) -> None:
    affine = affine_of_range(low, high, dtype, symmetric=symmetric)
    ties = (np.arange(-99, 99, dtype=np.float32) + np.float32(0.5)) * affine.scale
    x = (
        np.concatenate(
            [np.clip(random(600), -1, 1) * np.float32(max(-low, high)), ties, [0, -0.0, np.inf, -np.inf, low, high]]
        )
        .astype(np.float32)
        .reshape(-1, 3)
    )
    q, y = _onnx(affine, x)
    np.testing.assert_array_equal(affine.quantize(x), q)
    assert affine.dequantize(q).tobytes() == y.tobytes()
    assert affine.round_trip(x).tobytes() == y.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_holds_zero_exactly_and_the_range_within_a_step(dtype: str, symmetric: bool, low: float, high: float) -> None:
    affine = affine_of_range(low, high, dtype, symmetric=symmetric)
    ends = np.array([low, 0, high], np.float32)
    back = affine.round_trip(ends)
    assert back[1] == 0
    assert np.all(np.abs(back.astype(np.float64) - ends) <= float(affine.scale) * 1.001)


def test_one_range_a_channel() -> None:
    x = random(40, 3) * np.array([1, 10, 0.1], np.float32)
    affine = affine_of_range(x.min(axis=0), x.max(axis=0), "int8", symmetric=False, axis=1)
    assert affine.scale.shape == affine.zero_point.shape == (3,)
    q, y = _onnx(affine, x)
    np.testing.assert_array_equal(affine.quantize(x), q)
    assert affine.dequantize(q).tobytes() == y.tobytes()


def test_zero_points() -> None:
    assert affine_of_range(0, 6, "uint8", symmetric=False).zero_point == 0
    assert affine_of_range(0, 6, "int8", symmetric=False).zero_point == -128
    assert affine_of_range(-1, 6, "int8", symmetric=True).zero_point == 0
    assert affine_of_range(-1, 6, "uint8", symmetric=True).zero_point == 128
    assert affine_of_range(-1, 6, "int8", symmetric=True).scale == np.float32(6 / 127)


def test_scales_are_never_zero_or_denormal() -> None:
    for low, high in ((0.0, 0.0), (0.0, 1e-40), (-1e-44, 1e-44)):
        scale = float(affine_of_range(low, high, "uint8", symmetric=False).scale)
        assert scale >= SMALLEST_SCALE
    assert affine_of_range(0, 0, "uint8", symmetric=False).scale == 1


def test_bias() -> None:
    affine = Affine(np.array([1e-3, 1e-4], np.float32), np.zeros(2, np.int32), 0)
    bias = np.array([1.23456, 1e9], np.float32)
    q = affine.quantize(bias)
    assert q.tolist() == [1235, 2**31 - 1]
    np.testing.assert_allclose(affine.dequantize(q)[0], 1.235, rtol=1e-6)


def test_nan_becomes_the_smallest_integer() -> None:
    assert affine_of_range(-1, 1, "int8", symmetric=True).quantize(np.array([np.nan], np.float32)) == -128

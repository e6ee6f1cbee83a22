from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.errors import PreconditionError
from tamis.compiler.graph_pass import Feeds, PassContext, PassResult
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.quantization.equalization.smoothing import Rows, best_factors
from tamis.passes.quantization.smooth_activations import SmoothActivations
from tests.models import Array, assert_close, check, elements, model, op_types, random, run

OUTLIERS = np.ones(16, np.float32)
OUTLIERS[[2, 9]] = 60
WEIGHTS: dict[str, Array] = {
    "g": OUTLIERS,
    "b": 0.1 * random(16, seed=1),
    "u": random(16, 8, seed=2),
    "v": random(16, 4, seed=3),
    "ut": random(8, 16, seed=4),
    "c": random(8, seed=5),
    "k": random(16, 16, seed=6) * OUTLIERS,
    "w": random(16, 16, seed=7),
}
X = random(5, 16, seed=8)


def net(lines: str, outputs: str = "float[N, P] y", opset: int = 17, **weights: Array) -> ir.Model:
    arrays = {**WEIGHTS, **weights}
    used = {n: a for n, a in arrays.items() if any(f"{s}{n}{e}" in lines for s in (", ", "(") for e in (",", ")"))}
    return model(f"g (float[N, 16] x) => ({outputs}) {{ {lines} }}", opset, **used)


def context(scale: float = 1.0) -> PassContext:
    def samples() -> Iterator[Feeds]:
        for seed in range(6):
            yield {"x": scale * random(20, 16, seed=20 + seed)}

    return PassContext(samples=samples)


def smooth(found: ir.Model) -> PassResult:
    result = SmoothActivations()(found, context())
    assert result.modified == bool(result.counts)
    check(found)
    assert not SmoothActivations()(found, context()).modified
    return result


def reasons(result: PassResult) -> set[str]:
    return {skip.reason for skip in result.skips}


SITES = {
    "norm": "n = LayerNormalization(x, g, b) y = MatMul(n, u)",
    "norm without bias": "n = LayerNormalization(x, g) y = Gemm(n, u, c)",
    "transposed": "n = LayerNormalization(x, g, b) y = Gemm<transB = 1, alpha = 0.5>(n, ut, c)",
    "product of a constant": "n = Mul(g, x) y = MatMul(n, u)",
    "spelled out": "m = Mul(x, g) n = Add(m, b) y = MatMul(n, u)",
    "ReLU": "m = Mul(x, g) n = Add(m, b) r = Relu(n) y = MatMul(r, u)",
    "product in front": "m = MatMul(x, k) n = Relu(m) y = MatMul(n, u)",
    "Gemm in front": "m = Gemm<beta = 2.0>(x, k, b) n = Relu(m) y = MatMul(n, u)",
}


@pytest.mark.parametrize("lines", SITES.values(), ids=SITES.keys())
def test_smooths(lines: str) -> None:
    found = net(lines)
    kinds, wanted = op_types(found), run(found, {"x": X})
    assert smooth(found).counts == {"smoothed": 1}
    assert op_types(found) == kinds
    assert_close(wanted, run(found, {"x": X}))


def test_the_outliers_move_into_the_weights() -> None:
    found = net("n = LayerNormalization(x, g, b) y = MatMul(n, u)")
    smooth(found)
    scale = np.abs(elements(found, "g"))
    assert (scale <= OUTLIERS).all()
    assert scale.max() / np.median(scale) < 20


def test_several_readers_share_the_factors() -> None:
    found = net("n = LayerNormalization(x, g, b) y = MatMul(n, u) z = MatMul(n, v)", "float[N, P] y, float[N, Q] z")
    wanted = run(found, {"x": X})
    assert smooth(found).counts == {"smoothed": 1}
    assert_close(wanted, run(found, {"x": X}))


def test_shared_constants_are_copied() -> None:
    lines = "n = LayerNormalization(x, g, b) y = MatMul(n, w) m = Mul(x, g) z = MatMul(m, w) t = Add(z, g)"
    found = net(lines, "float[N, P] y, float[N, Q] t")
    wanted = run(found, {"x": X})
    assert smooth(found).counts == {"smoothed": 2}
    assert np.array_equal(elements(found, "g"), OUTLIERS)
    assert_close(wanted, run(found, {"x": X}))


def test_two_in_a_row() -> None:
    lines = "n = Mul(x, g) m = MatMul(n, k) r = Relu(m) y = MatMul(r, u)"
    found = net(lines)
    wanted = run(found, {"x": X})
    assert smooth(found).counts == {"smoothed": 2}
    assert_close(wanted, run(found, {"x": X}))


NEAR_MISSES = {
    "other reader": (
        "n = LayerNormalization(x, g, b) y = MatMul(n, u) z = Relu(n)",
        "something else than matrix products reads the activation",
    ),
    "graph output": ("z = LayerNormalization(x, g, b) y = MatMul(z, u)", "the activation is a graph output"),
    "inner reader": (
        "m = Mul(x, g) n = Relu(m) y = MatMul(n, u) z = Neg(m)",
        "something else reads the value in between",
    ),
    "no constant factor": ("n = Mul(x, x) y = MatMul(n, u) z = Relu(x)", "the factor is not constant"),
    "scalar": ("n = Mul(x, a) y = MatMul(n, u) z = Relu(x)", "the scale is not per channel"),
    "even channels": (
        "n = LayerNormalization(x, ones) y = MatMul(n, signs) z = Relu(x)",
        "no exponent lowers the error of the quantized products enough",
    ),
    "zeros": (
        "n = LayerNormalization(x, zeros) y = MatMul(n, u) z = Relu(x)",
        "the activation or its weights are all zero",
    ),
}


@pytest.mark.parametrize(("lines", "reason"), NEAR_MISSES.values(), ids=NEAR_MISSES.keys())
def test_near_misses_have_reasons(lines: str, reason: str) -> None:
    extra: dict[str, Any] = {
        "a": np.array([2], np.float32),
        "ones": np.ones(16, np.float32),
        "zeros": np.zeros(16, np.float32),
    }
    extra["signs"] = np.sign(random(16, 8, seed=9))
    result = smooth(net(lines, "float[N, P] y, float[N, Q] z", **extra))
    assert not result.modified
    assert reasons(result) == {reason}


def test_a_normalization_over_two_axes_stays() -> None:
    text = "g (float[N, 3, 16] x) => (float[N, 3, 8] y) { n = LayerNormalization<axis = 1>(x, g2) y = MatMul(n, u) }"
    found = model(text, g2=np.ones((3, 16), np.float32) * OUTLIERS, u=WEIGHTS["u"])
    infer_shapes(found)

    def samples() -> Iterator[Feeds]:
        yield {"x": random(4, 3, 16)}

    result = SmoothActivations()(found, PassContext(samples=samples))
    assert reasons(result) == {"the normalization is not over the last axis alone"}


@pytest.mark.parametrize("dtype", ["double", "float16"])
def test_other_types_stay(dtype: str) -> None:
    numpy: Any = {"double": np.float64, "float16": np.float16}[dtype]
    text = f"g ({dtype}[N, 16] x) => ({dtype}[N, 8] y) {{ n = Mul(x, g) y = MatMul(n, u) }}"
    found = model(text, g=OUTLIERS.astype(numpy), u=WEIGHTS["u"].astype(numpy))
    assert reasons(smooth(found)) == {"weights are not float32 or not finite"}


def test_without_samples_it_refuses() -> None:
    with pytest.raises(PreconditionError, match="no calibration samples"):
        SmoothActivations()(net("n = Mul(x, g) y = MatMul(n, u)"))


def test_samples_that_are_not_finite() -> None:
    found = net("n = Mul(x, g) y = MatMul(n, u)")
    result = SmoothActivations()(found, context(np.inf))
    assert reasons(result) == {"samples are not finite"}


def test_factors_lower_the_error_of_quantized_products() -> None:
    rows = Rows(64, seed=0)
    rows.add(random(500, 16, seed=1) * OUTLIERS)
    assert rows.array().shape == (64, 16)
    found = best_factors(rows, [random(16, 8, seed=2).astype(np.float64)])
    assert not isinstance(found, str)
    assert found.min() == 1
    assert found[2] > 3 * np.median(found)


def test_rows_have_the_same_chance_wherever_they_are() -> None:
    means = []
    for seed in range(40):
        rows = Rows(16, seed)
        for start in range(0, 100, 10):
            rows.add(np.arange(start, start + 10, dtype=np.float32).reshape(10, 1))
        means.append(rows.array().mean())
    assert abs(float(np.mean(means)) - 49.5) < 4

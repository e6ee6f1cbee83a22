from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings

from tamis.compiler.graph_pass import PassResult
from tamis.passes.quantization.equalize_layers import EqualizeLayers
from tests.models import Array, assert_close, check, elements, model, op_types, random, run
from tests.properties.contracts import hold_alone
from tests.properties.graphs import Graph, graphs
from tests.properties.test_random_graphs import FIXED

SPREAD = 2.0 ** np.arange(-4, 4)
X = random(2, 3, 9, 8, seed=1)
WEIGHTS = {
    "w": random(8, 3, 3, 3, seed=2) * SPREAD.reshape(8, 1, 1, 1).astype(np.float32),
    "b": random(8, seed=3) * SPREAD.astype(np.float32),
    "d": random(8, 1, 3, 3, seed=4) * SPREAD[::-1].reshape(8, 1, 1, 1).astype(np.float32),
    "v": random(4, 8, 1, 1, seed=5),
    "g": random(4, 4, 1, 1, seed=6),
    "t": random(8, 2, 2, 2, seed=7),
    "u": random(4, 8, seed=8) * SPREAD.astype(np.float32),
    "s": random(8, seed=9),
    "m": random(8, 5, seed=10),
    "c": random(5, seed=11),
    "a": np.array([0.25], np.float32),
    "slope": np.abs(random(8, 1, 1, seed=12)),
}


def net(
    lines: str, *, opset: int = 17, x: str = "float[N, 3, 9, 8] x", outputs: str = "float[A, C, H, V] y"
) -> ir.Model:
    used = {n: a for n, a in WEIGHTS.items() if any(f", {n}{end}" in lines for end in (",", ")"))}
    return model(f"g ({x}) => ({outputs}) {{ {lines} }}", opset, **used)


def equalize(found: ir.Model) -> PassResult:
    result = EqualizeLayers()(found)
    assert result.modified == bool(result.counts)
    check(found)
    assert not EqualizeLayers()(found).modified
    return result


def reasons(result: PassResult) -> set[str]:
    return {skip.reason for skip in result.skips}


PAIRS = {
    "nothing between": "h = Conv(x, w, b) y = Conv(h, v)",
    "no bias": "h = Conv(x, w) r = Relu(h) y = Conv(r, v)",
    "leaky": "h = Conv(x, w, b) r = LeakyRelu<alpha = 0.1>(h) y = Conv(r, v)",
    "prelu": "h = Conv(x, w, b) r = PRelu(h, slope) y = Conv(r, v)",
    "pools": "h = Conv(x, w, b) r = Relu(h) p = MaxPool<kernel_shape = [2, 2]>(r) q = GlobalAveragePool(p) y = Conv(q, v)",
    "padding": "h = Conv(x, w, b) r = Relu(h) y = Conv<pads = [1, 1, 1, 1]>(r, v)",
    "grouped": "h = Conv(x, w, b) r = Relu(h) y = Conv<group = 2>(r, g)",
    "transposed": "h = Conv(x, w, b) r = Relu(h) y = ConvTranspose<group = 4>(r, t)",
    "transposed first": "h = Conv(x, w) z = ConvTranspose<group = 4>(h, t) r = Relu(z) y = Conv(r, v)",
}


@pytest.mark.parametrize("lines", PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize("opset", [11, 17])
def test_equalizes_convolutions(lines: str, opset: int) -> None:
    found = net(lines, opset=opset)
    kinds, wanted = op_types(found), run(found, {"x": X})
    assert equalize(found).modified
    assert op_types(found) == kinds
    assert_close(wanted, run(found, {"x": X}))


def test_the_ranges_of_both_layers_agree_up_to_one_factor() -> None:
    found = net("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v)")
    equalize(found)
    rows = np.abs(elements(found, "w")).max(axis=(1, 2, 3))
    columns = np.abs(elements(found, "v")).max(axis=(0, 2, 3))
    ratio = np.sqrt(rows / columns)
    assert ratio.max() < 1.05 * ratio.min()


def test_a_depthwise_convolution_in_between_is_evened_out_with_both_neighbours() -> None:
    found = net("h = Conv(x, w, b) r = Relu(h) z = Conv<group = 8>(r, d) q = Relu(z) y = Conv(q, v)")
    wanted = run(found, {"x": X})
    before = np.abs(elements(found, "d")).max(axis=(1, 2, 3))
    assert equalize(found).counts == {"pairs equalized": 2}
    assert_close(wanted, run(found, {"x": X}))
    after = np.abs(elements(found, "d")).max(axis=(1, 2, 3))
    assert after.max() / after.min() < 0.2 * before.max() / before.min()


def test_activations_never_grow() -> None:
    found = net("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v)", outputs="float[A, C, H, V] y")
    before = np.abs(elements(found, "w")).copy()
    equalize(found)
    assert (np.abs(elements(found, "w")) <= before).all()
    assert (np.abs(elements(found, "w")) < 0.5 * before).any()


PRODUCTS = {
    "Gemm": "h = Gemm(x, u, s) r = Relu(h) y = Gemm(r, m, c)",
    "scaled": "h = Gemm<alpha = 0.5, beta = 2.0>(x, u, s) r = Relu(h) y = Gemm<alpha = 3.0, beta = 0.5>(r, m, c)",
    "MatMul": "h = MatMul(x, u) y = MatMul(h, m)",
    "MatMul and Add": "h = MatMul(x, u) i = Add(s, h) r = Relu(i) y = MatMul(r, m)",
    "scalar Add": "h = MatMul(x, u) i = Add(h, a) r = Relu(i) y = MatMul(r, m)",
}


@pytest.mark.parametrize("lines", PRODUCTS.values(), ids=PRODUCTS.keys())
@pytest.mark.parametrize("dtype", ["float", "double"])
def test_equalizes_matrix_products(lines: str, dtype: str) -> None:
    numpy: Any = {"float": np.float32, "double": np.float64}[dtype]
    used = {
        n: a.astype(numpy) for n, a in WEIGHTS.items() if f", {n})" in lines or f", {n}," in lines or f"({n}," in lines
    }
    found = model(f"g ({dtype}[N, 4] x) => ({dtype}[N, 5] y) {{ {lines} }}", **used)
    x = random(3, 4, dtype=numpy)
    wanted = run(found, {"x": x})
    assert equalize(found).modified
    assert_close(wanted, run(found, {"x": x}))


NEAR_MISSES = {
    "several readers": ("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v) z = Relu(r)", "something else reads the value in between"),
    "inner readers": ("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v) z = Neg(h)", "something else reads the value in between"),
    "graph output": ("h = Conv(x, w, b) z = Relu(h) y = Conv(z, v)", "something else reads the value in between"),
    "weights from outside": ("h = Conv(x, w, b) r = Relu(h) k = Neg(v0) y = Conv(r, k) z = Relu(y)", "weight is not constant"),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "reason"), NEAR_MISSES.values(), ids=NEAR_MISSES.keys())
def test_near_misses_have_reasons(lines: str, reason: str) -> None:
    x = "float[N, 3, 9, 8] x" + (", float[4, 8, 1, 1] v0" if "v0" in lines else "")
    result = equalize(net(lines, x=x, outputs="float[A, C, H, V] y, float[D, E, F, G] z"))
    assert not result.modified
    assert reasons(result) == {reason}


@pytest.mark.parametrize("activation", ["Sigmoid(h)", "HardSwish(h)", "Tanh(h)", "Clip(h, lo, hi)"])
def test_activations_that_are_not_homogeneous_stay(activation: str) -> None:
    text = f"g (float[N, 3, 9, 8] x) => (float[A, C, H, V] y) {{ h = Conv(x, w, b) r = {activation} y = Conv(r, v) }}"
    extra = {"lo": np.array(0, np.float32), "hi": np.array(6, np.float32)} if "Clip" in activation else {}
    assert not equalize(model(text, **{n: WEIGHTS[n] for n in "wbv"}, **extra)).modified


def test_a_channel_without_weights_is_not_blown_up() -> None:
    found = net("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v)")
    array = elements(found, "w").copy()
    array[3] = 0
    found.graph.initializers["w"].const_value = ir.tensor(array, name="w")
    wanted = run(found, {"x": X})
    bias = np.abs(elements(found, "b")).copy()
    equalize(found)
    assert_close(wanted, run(found, {"x": X}))
    assert (np.abs(elements(found, "b")) <= bias).all()


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan, 1e-38, 1e38])
def test_extreme_weights_are_left_alone(value: float) -> None:
    found = net("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v)")
    array = np.full_like(elements(found, "w"), value)
    found.graph.initializers["w"].const_value = ir.tensor(array, name="w")
    assert reasons(equalize(found)) == {"weights are all zero, extreme or not finite"}


def test_float16_is_left_alone() -> None:
    weights = {n: WEIGHTS[n].astype(np.float16) for n in "um"}
    found = model("g (float16[N, 4] x) => (float16[N, 5] y) { h = MatMul(x, u) y = MatMul(h, m) }", **weights)
    assert reasons(equalize(found)) == {"float16 has too small a range"}


def test_shared_weights_are_copied() -> None:
    square = random(4, 4, seed=1) * np.array([1, 8, 64, 2], np.float32)
    text = "g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) { h = MatMul(x, k) r = Relu(h) y = MatMul(r, k) z = MatMul(x, k) }"
    found = model(text, k=square)
    x = random(3, 4)
    wanted = run(found, {"x": x})
    assert equalize(found).modified
    assert np.array_equal(elements(found, "k"), square)
    assert_close(wanted, run(found, {"x": x}))


def test_a_chain_of_products_converges() -> None:
    weights: dict[str, Array] = {
        f"k{i}": random(16, 16, seed=i) * np.exp2(3 * random(16, seed=50 + i)).astype(np.float32) for i in range(8)
    }
    lines = "h0 = MatMul(x, k0) " + " ".join(f"r{i} = Relu(h{i - 1}) h{i} = MatMul(r{i}, k{i})" for i in range(1, 8))
    found = model(f"g (float[N, 16] x) => (float[N, 16] h7) {{ {lines} }}", **weights)
    x = random(3, 16)
    wanted = run(found, {"x": x})
    assert equalize(found).counts == {"pairs equalized": 7}
    assert_close(wanted, run(found, {"x": x}))


def test_in_a_subgraph_and_not_across_its_border() -> None:
    text = """g (bool c, float[N, 4] x) => (float[N, 5] y) {
        o = MatMul(x, u)
        y = If (c) <
            then_branch = t () => (float[N, 5] p) { h = MatMul(x, u) r = Relu(h) p = MatMul(r, m) },
            else_branch = f () => (float[N, 5] q) { q = MatMul(o, m) }
        >
    }"""
    found = model(text, u=WEIGHTS["u"], m=WEIGHTS["m"])
    x = random(3, 4)
    wanted = [run(found, {"c": np.array(c), "x": x}) for c in (True, False)]
    assert equalize(found).counts == {"pairs equalized": 1}
    for c, want in zip((True, False), wanted, strict=True):
        assert_close(want, run(found, {"c": np.array(c), "x": x}))


@settings(FIXED, max_examples=40)
@given(graphs())
def test_random_graphs(graph: Graph) -> None:
    hold_alone(graph, [EqualizeLayers()])

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.quantization.dequantize import Dequantize
from tamis.passes.quantization.quantize_dynamic import QuantizeDynamic
from tests.models import Array, check, elements, model, nodes, op_types, random, run, same_bits
from tests.passes.quantization.quantized import FORMS, X, float_model, quantized

Q = np.arange(-60, 60, dtype=np.int8).reshape(12, 10)
SCALE = np.array(0.05, np.float32)
INTEGERS = {"DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"}


def dequantize(found: ir.Model) -> PassResult:
    result = Dequantize()(found)
    assert result.modified == bool(result.counts)
    check(found)
    assert not Dequantize()(found).modified
    return result


def reasons(result: PassResult) -> set[str]:
    return {skip.reason for skip in result.skips}


def sqnr(want: Array, got: Array) -> float:
    return float(10 * np.log10(np.square(want).sum() / np.square(want - got).sum()))


@pytest.mark.parametrize("form", FORMS)
def test_what_onnx_runtimes_quantizers_write_becomes_float(form: str) -> None:
    found, original = quantized(form), float_model()
    names = [v.name for v in (*found.graph.inputs, *found.graph.outputs)]
    before = run(found, X)
    assert not dequantize(found).skips
    assert not {op for op in op_types(found) if op.startswith("Q") or op in INTEGERS}
    assert {node.domain for node in nodes(found)} == {""}
    assert [v.name for v in (*found.graph.inputs, *found.graph.outputs)] == names
    wanted, after = run(original, X), run(found, X)
    assert sqnr(before[0], after[0]) > 20
    assert sqnr(wanted[0], after[0]) > sqnr(wanted[0], before[0]) - 0.5


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_dropped_activations_are_put_back(form: str) -> None:
    found = quantized(form)
    assert "Relu" not in op_types(found)
    dequantize(found)
    kinds = op_types(found)
    first = kinds.index("Conv")
    assert kinds[first + 1] == "Relu"
    assert {"Clip", "Relu"} >= set(kinds) & {"Clip", "Relu"} and kinds.count("Relu") + kinds.count("Clip") <= 4


def test_quantize_dynamic_and_back() -> None:
    text = "g (float[N, 12] x) => (float[N, 10] y) { m = MatMul(x, w) t = Gemm(m, v, b) y = Relu(t) }"
    weights = {"w": random(12, 10, seed=1), "v": random(10, 10, seed=2), "b": random(10, seed=3)}
    original, found = model(text, **weights), model(text, **weights)
    QuantizeDynamic(QuantizeDynamic.options_type(min_elements=0))(found)
    assert not dequantize(found).skips
    assert op_types(found) == ["MatMul", "MatMul", "Add", "Relu"]
    assert sqnr(run(original, {"x": random(3, 12)})[0], run(found, {"x": random(3, 12)})[0]) > 30


WEIGHTS = {
    "DequantizeLinear": "w = DequantizeLinear(q, s)",
    "per channel": "w = DequantizeLinear<axis = 1>(q, cs, cz)",
    "Cast and Mul": "f = Cast<to = 1>(q) w = Mul(f, s)",
    "Cast and Mul per channel": "f = Cast<to = 1>(q) w = Mul(cs, f)",
    "Cast, Sub, Mul": "f = Cast<to = 1>(q) t = Sub(f, s) w = Mul(t, s)",
}
CHANNELS: dict[str, Array] = {"cs": np.linspace(0.01, 1, 10).astype(np.float32), "cz": np.arange(10, dtype=np.int8)}


@pytest.mark.parametrize("line", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_stored_weights(line: str) -> None:
    arrays: dict[str, Array] = {"q": Q, "s": SCALE, **CHANNELS}
    used = {n: a for n, a in arrays.items() if any(f"{b}{n}{e}" in line for b in (", ", "(") for e in (",", ")"))}
    found = model(f"g (float[N, 12] x) => (float[N, 10] y) {{ {line} y = MatMul(x, w) }}", **used)
    wanted = run(found, {"x": random(3, 12)})
    assert dequantize(found).modified
    assert op_types(found) == ["MatMul"]
    assert len(found.graph.initializers) == 1
    np.testing.assert_allclose(run(found, {"x": random(3, 12)})[0], wanted[0], rtol=1e-5, atol=1e-5)


def test_blocks() -> None:
    scales = np.abs(random(4, 10, seed=2))
    text = "g (float[N, 12] x) => (float[N, 10] y) { w = DequantizeLinear<axis = 0, block_size = 3>(q, s) y = MatMul(x, w) }"
    found = model(text, 21, q=Q, s=scales)
    wanted = run(found, {"x": random(3, 12)})
    assert dequantize(found).modified
    np.testing.assert_allclose(run(found, {"x": random(3, 12)})[0], wanted[0], rtol=1e-5, atol=1e-5)


def test_a_quantized_embedding_is_gathered_as_floats() -> None:
    text = "g (int64[N] x) => (float[N, 10] y) { e = Gather(q, x) y = DequantizeLinear(e, s) }"
    found = model(text, q=Q, s=SCALE)
    feeds = {"x": np.array([3, 11, 0])}
    wanted = run(found, feeds)
    assert dequantize(found).modified
    assert op_types(found) == ["Gather"]
    assert same_bits(wanted, run(found, feeds))


def test_data_movement_between_is_done_on_floats_once() -> None:
    text = """g (float[N, 3, 4] x) => (float[A, B, C] y, float[D, E, F] z) {
        q = QuantizeLinear(x, s, o) t = Transpose<perm = [0, 2, 1]>(q)
        y = DequantizeLinear(t, s, o) d = DequantizeLinear(t, s2, o) z = Relu(d)
    }"""
    found = model(text, s=SCALE, s2=SCALE.copy(), o=np.array(3, np.int8))
    x = random(2, 3, 4)
    dequantize(found)
    assert op_types(found) == ["Transpose", "Relu"]
    assert np.array_equal(run(found, {"x": x})[0], x.transpose(0, 2, 1))


CLIPS = {
    "zero point": (np.array(0, np.uint8), 0.05, "h = Neg(x)", ["Neg", "Relu"]),
    "of int8": (np.array(-128, np.int8), 0.05, "h = Neg(x)", ["Neg", "Relu"]),
    "six": (np.array(0, np.uint8), 6 / 255, "h = Neg(x)", ["Neg", "Clip"]),
    "signed": (np.array(128, np.uint8), 0.05, "h = Neg(x)", ["Neg"]),
    "there already": (np.array(0, np.uint8), 0.05, "h = Relu(x)", ["Relu"]),
    "sum of such": (
        np.array(0, np.uint8),
        0.05,
        "a = Relu(x) b = Sigmoid(x) h = Add(a, b)",
        ["Relu", "Sigmoid", "Add"],
    ),
}


@pytest.mark.parametrize(("zero", "step", "line", "kinds"), CLIPS.values(), ids=CLIPS.keys())
def test_what_the_zero_point_clips(zero: Array, step: float, line: str, kinds: list[str]) -> None:
    text = f"g (float[N] x) => (float[N] y) {{ {line} q = QuantizeLinear(h, s, z) y = DequantizeLinear(q, s, z) }}"
    found = model(text, s=np.array(step, np.float32), z=zero)
    x = np.linspace(-5, 4, 19).astype(np.float32)
    wanted = run(found, {"x": x})[0]
    dequantize(found)
    assert op_types(found) == kinds
    np.testing.assert_allclose(run(found, {"x": x})[0], wanted, atol=step)


LEFT = {
    "from outside": (
        "g (uint8[N] x) => (float[N] y) { y = DequantizeLinear(x, s, o) }",
        "its integers come from outside",
    ),
    "from an operator": (
        "g (float[N] x) => (float[N] y) { c = Cast<to = 2>(x) y = DequantizeLinear(c, s, o) }",
        "its integers come from Cast",
    ),
    "other scale": (
        "g (float[N] x) => (float[N] y) { i = QuantizeLinear(x, s, o) y = DequantizeLinear(i, s2, o) }",
        "its integers are read with another scale than they were written with",
    ),
    "scale from outside": (
        "g (float[N, 12] x, float r) => (float[N, 10] y) { w = DequantizeLinear(q, r) y = MatMul(x, w) }",
        "the scale of a constant is not constant",
    ),
    "weights from outside": (
        """g (float[N, 12] x, uint8[12, 10] w) => (float[N, 10] y) {
            a, b, c = DynamicQuantizeLinear(x) t = MatMulInteger(a, w, c) f = Cast<to = 1>(t) y = Mul(f, b) }""",
        "the weights are not constant",
    ),
    "scale of rows": (
        """g (float[12, 12] x) => (float[12, 10] y) {
            a, b, c = DynamicQuantizeLinear(x) t = MatMulInteger(a, q, c) f = Cast<to = 1>(t) e = Mul(b, rows)
            y = Mul(f, e) }""",
        "a scale for each row",
    ),
    "no scale": (
        "g (uint8[N, 12] x) => (int32[N, 10] y) { y = MatMulInteger(x, q) }",
        "its scale is not known",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), LEFT.values(), ids=LEFT.keys())
def test_what_cannot_be_derived_has_a_reason(text: str, reason: str) -> None:
    arrays: dict[str, Any] = {"s": SCALE, "s2": 2 * SCALE, "o": np.array(3, np.uint8), "q": Q}
    arrays["rows"] = np.ones((12, 1), np.float32)
    used = {n: a for n, a in arrays.items() if any(f"{b}{n}{e}" in text for b in (", ", "(") for e in (",", ")"))}
    found = model(text, **used)
    result = dequantize(found)
    assert not result.modified
    assert reason in reasons(result)


def test_integers_at_the_border_stay_integers() -> None:
    text = """g (uint8[N, 12] x) => (uint8[N, 10] y) {
        d = DequantizeLinear(x, s, o) w = DequantizeLinear(q, s) m = MatMul(d, w) r = Relu(m) y = QuantizeLinear(r, s, o)
    }"""
    found = model(text, q=Q, s=SCALE, o=np.array(3, np.uint8))
    feeds = {"x": np.arange(24, dtype=np.uint8).reshape(2, 12)}
    wanted = run(found, feeds)
    assert reasons(dequantize(found)) == {"its integers come from outside"}
    assert op_types(found) == ["DequantizeLinear", "MatMul", "Relu", "QuantizeLinear"]
    assert same_bits(wanted, run(found, feeds))


def test_shared_integers_stay_for_their_other_reader() -> None:
    text = """g (float[N, 12] x) => (float[N, 10] y, int8[12, 10] z) {
        w = DequantizeLinear(q, s) y = MatMul(x, w) z = Identity(q)
    }"""
    found = model(text, q=Q, s=SCALE)
    assert dequantize(found).modified
    assert np.array_equal(elements(found, "q"), Q)


def test_in_a_subgraph() -> None:
    text = """g (bool c, float[N, 12] x) => (float[N, 10] y) {
        p = QuantizeLinear(x, s, o)
        y = If (c) <
            then_branch = t () => (float[N, 10] a) { d = DequantizeLinear(p, s, o) w = DequantizeLinear(q, s) a = MatMul(d, w) },
            else_branch = f () => (float[N, 10] b) { e = DequantizeLinear(p, s, o) v = DequantizeLinear(q, s) b = MatMul(e, v) }
        >
    }"""
    found = model(text, q=Q, s=SCALE, o=np.array(3, np.int8))
    x = random(3, 12)
    wanted = [run(found, {"c": np.array(c), "x": x})[0] for c in (True, False)]
    assert not dequantize(found).skips
    for c, want in zip((True, False), wanted, strict=True):
        assert sqnr(want, run(found, {"c": np.array(c), "x": x})[0]) > 25


def test_weights_that_are_quantized_at_run_time_are_taken_as_they_were() -> None:
    text = """g (float[N, 12] x) => (float[N, 10] y) {
        a = QuantizeLinear(x, s, o) w = QuantizeLinear(f, s, o) m = QLinearMatMul(a, s, o, w, s, o, s, o)
        y = DequantizeLinear(m, s, o)
    }"""
    weight = random(12, 10)
    found = model(text, f=weight, s=SCALE, o=np.array(0, np.int8))
    assert not dequantize(found).skips
    assert op_types(found) == ["MatMul"]
    x = random(3, 12)
    np.testing.assert_allclose(run(found, {"x": x})[0], x @ weight, rtol=1e-5, atol=1e-5)


def test_old_opsets_are_left_alone() -> None:
    result = dequantize(model("g (float[N] x) => (float[N] y) { y = Relu(x) }", 9))
    assert reasons(result) == {"opset below 10"}

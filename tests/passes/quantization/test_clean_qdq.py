from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.quantization.clean_qdq import CleanQdq
from tests.models import Array, check, elements, model, op_types, random, run, same_bits

SCALE = np.array(0.03, np.float32)
ZERO = np.array(7, np.uint8)
X = 4 * random(2, 3, 6, 6, seed=1)


def net(lines: str, *, opset: int = 17, outputs: str = "uint8[A, B, C, D] y", **weights: Array) -> ir.Model:
    used: dict[str, Array] = {"s": SCALE, "s2": SCALE.copy(), "z": ZERO, "z2": ZERO.copy(), **weights}
    named = {n: a for n, a in used.items() if f", {n}," in lines or f", {n})" in lines or f"({n}," in lines}
    return model(f"g (float[N, 3, 6, 6] x) => ({outputs}) {{ {lines} }}", opset, **named)


def clean(found: ir.Model) -> PassResult:
    result = CleanQdq()(found)
    assert result.modified == bool(result.counts)
    check(found)
    assert not CleanQdq()(found).modified
    return result


def reasons(result: PassResult) -> set[str]:
    return {skip.reason for skip in result.skips}


def cleaned(found: ir.Model, feeds: dict[str, Array]) -> PassResult:
    wanted = run(found, feeds)
    result = clean(found)
    assert same_bits(wanted, run(found, feeds))
    return result


def test_a_pair_of_equal_scales_goes() -> None:
    found = net("q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = QuantizeLinear(d, s2, z2)")
    assert cleaned(found, {"x": X}).counts == {"QuantizeLinear removed": 1}
    assert op_types(found) == ["QuantizeLinear"]
    assert found.graph.outputs[0].name == "y"


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("step", [1e-37, 1e-5, 0.1, 1 / 3, 7.7, 1e30])
def test_every_integer_survives_a_pair(dtype: Any, step: float) -> None:
    limits = np.iinfo(dtype)
    q = np.arange(limits.min, limits.max + 1).astype(dtype)
    name = np.dtype(dtype).name
    text = f"g ({name}[N] q) => ({name}[N] y) {{ d = DequantizeLinear(q, s, z) y = QuantizeLinear(d, s, z) }}"
    for zero in (limits.min, 3, limits.max):
        found = model(text, 21, s=np.array(step, np.float32), z=np.array(zero, dtype))
        assert run(found, {"q": q})[0].tobytes() == q.tobytes()
        assert clean(found).modified
        assert run(found, {"q": q})[0].tobytes() == q.tobytes()


MOVERS = {
    "pool": "m = MaxPool<kernel_shape = [2, 2], pads = [1, 0, 1, 1]>(d)",
    "transpose": "m = Transpose<perm = [0, 2, 3, 1]>(d)",
    "slice and transpose": "t = Slice(d, i0, i1) m = Transpose<perm = [0, 1, 3, 2]>(t)",
    "reshape": "m = Reshape(d, shape)",
    "gather": "m = Gather<axis = 1>(d, ids)",
}
INTS = {"i0": np.array([1]), "i1": np.array([2]), "shape": np.array([0, 0, 4, 9]), "ids": np.array([[2, 0]])}


@pytest.mark.parametrize("mover", MOVERS.values(), ids=MOVERS.keys())
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_data_movement_is_done_on_integers(mover: str, dtype: Any) -> None:
    outputs = f"{np.dtype(dtype).name}[{'A, B, C, D, E' if 'Gather' in mover else 'A, B, C, D'}] y"
    lines = f"q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) {mover} y = QuantizeLinear(m, s2, z2)"
    ints: dict[str, Any] = {n: a for n, a in INTS.items() if f", {n}" in lines}
    zero = np.array(7, dtype)
    found = net(lines, outputs=outputs, z=zero, z2=zero, **ints)
    assert cleaned(found, {"x": X}).modified
    assert "DequantizeLinear" not in op_types(found)


NEAR_MISSES = {
    "other scale": ("y = QuantizeLinear(d, other, z2)", "the scale behind it is another"),
    "other zero point": ("y = QuantizeLinear(d, s2, nil)", "the scale behind it is another"),
    "second reader": (
        "m = MaxPool<kernel_shape = [2, 2]>(d) y = QuantizeLinear(m, s2, z2) w = Relu(m)",
        "something else reads the value in between",
    ),
    "ceil": (
        "m = MaxPool<kernel_shape = [2, 2], ceil_mode = 1>(d) y = QuantizeLinear(m, s2, z2)",
        "a pool with indices, or whose windows may lie outside",
    ),
}


@pytest.mark.parametrize(("tail", "reason"), NEAR_MISSES.values(), ids=NEAR_MISSES.keys())
def test_near_misses_have_reasons(tail: str, reason: str) -> None:
    lines = f"q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) {tail}"
    outputs = "uint8[A, B, C, D] y" + (", float[E, F, G, H] w" if "w =" in tail else "")
    found = net(lines, outputs=outputs, other=np.array(0.031, np.float32), nil=np.array(0, np.uint8))
    result = clean(found)
    assert not result.modified
    assert reasons(result) == {reason}


@pytest.mark.parametrize("step", [0.0, -0.1, 1e-40, 1e37, np.inf, np.nan])
def test_scales_that_are_no_good_stay(step: float) -> None:
    found = net(
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = QuantizeLinear(d, s, z)",
        s=np.array(step, np.float32),
    )
    assert not clean(found).modified


def test_a_scale_from_outside_stays() -> None:
    text = """g (uint8[N] q, float s) => (uint8[N] y) { d = DequantizeLinear(q, s, z) y = QuantizeLinear(d, s, z) }"""
    assert reasons(clean(model(text, z=ZERO))) == {"the scale or zero point is not constant"}


def test_a_constant_is_folded_per_channel() -> None:
    weight = random(3, 4, seed=2)
    scales, zeros = np.array([0.01, 0.02, 0.5, 1], np.float32), np.zeros(4, np.int8)
    text = "g (float[N, 3] x) => (float[N, 4] y) { q = QuantizeLinear(w, s, z) d = DequantizeLinear(q, s, z) y = MatMul(x, d) }"
    found = model(text, w=weight, s=scales, z=zeros)
    assert cleaned(found, {"x": random(2, 3)}).counts == {"QuantizeLinear folded": 1}
    assert op_types(found) == ["DequantizeLinear", "MatMul"]
    (name,) = set(found.graph.initializers) - {"s", "z"}
    assert elements(found, name).dtype == np.int8


def test_a_constant_that_is_not_finite_stays() -> None:
    text = "g (float[N] x) => (int8[2] y) { y = QuantizeLinear(w, s, z) n = Relu(x) }"
    found = model(text, w=np.array([1, np.nan], np.float32), s=SCALE, z=np.array(0, np.int8))
    assert reasons(clean(found)) == {"the constant is not finite, or there is no zero point"}


def test_equal_nodes_become_one() -> None:
    found = net(
        "q = QuantizeLinear(x, s, z) p = QuantizeLinear(x, s2, z2) a = DequantizeLinear(q, s, z) "
        "b = DequantizeLinear(p, s2, z2) y = Add(a, b)",
        outputs="float[N, 3, 6, 6] y",
    )
    assert cleaned(found, {"x": X}).counts == {"QuantizeLinear removed": 1, "DequantizeLinear removed": 1}
    assert op_types(found) == ["QuantizeLinear", "DequantizeLinear", "Add"]
    assert set(found.graph.initializers) == {"s", "z"}


def test_equal_nodes_whose_outputs_are_both_given_out() -> None:
    found = net(
        "y = QuantizeLinear(x, s, z) w = QuantizeLinear(x, s2, z2)",
        outputs="uint8[N, 3, 6, 6] y, uint8[N, 3, 6, 6] w",
    )
    cleaned(found, {"x": X})
    assert [v.name for v in found.graph.outputs] == ["y", "w"]


def test_rounding_stays() -> None:
    found = net("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", outputs="float[N, 3, 6, 6] y")
    assert not clean(found).modified


def test_in_a_subgraph() -> None:
    text = """g (bool c, uint8[4] q) => (uint8[4] y) {
        y = If (c) <
            then_branch = t () => (uint8[4] a) { d = DequantizeLinear(q, s, z) e = Identity(d) a = QuantizeLinear(e, s, z) },
            else_branch = f () => (uint8[4] b) { d2 = DequantizeLinear(q, s, z) b = QuantizeLinear(d2, s, z) }
        >
    }"""
    found = model(text, s=SCALE, z=ZERO)
    feeds = {"c": np.array(True), "q": np.array([0, 7, 100, 255], np.uint8)}
    assert cleaned(found, feeds).counts == {"QuantizeLinear removed": 2}


def test_old_opsets_are_left_alone() -> None:
    found = net("q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = QuantizeLinear(d, s, z)", opset=12)
    assert reasons(clean(found)) == {"opset below 13"}

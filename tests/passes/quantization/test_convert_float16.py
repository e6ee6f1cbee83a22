from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassContext, PassResult
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.quantization.convert_float16 import ConvertFloat16, Options
from tamis.passes.quantization.float16.ports import KEPT_FLOAT32
from tests.models import Array, check, elements, model, nodes, op_types, random, run

HALF = ir.DataType.FLOAT16
W = random(16, 8, seed=1)
X = random(5, 16, seed=2)


def convert(found: ir.Model, **options: Any) -> PassResult:
    """Run the pass twice: valid, runs with optimizations off and on, and the second run finds nothing to do."""
    infer_shapes(found)
    result = ConvertFloat16(Options(**options))(found)
    assert result.modified == bool(result.counts)
    check(found)
    second = ConvertFloat16(Options(**options))(found)
    assert not second.modified, second.counts
    return result


def assert_half_precise(wanted: list[Array], found: ir.Model, feeds: dict[str, Array]) -> None:
    """Same types, and equal to about 10 bits, with optimizations off and on."""
    for optimize in (False, True):
        outputs = run(found, feeds, optimize=optimize)
        for w, f in zip(wanted, outputs, strict=True):
            assert w.dtype == f.dtype
            np.testing.assert_allclose(f, w, rtol=4e-3, atol=4e-3 * max(1, np.abs(w).max()))


def reasons(result: PassResult) -> list[str]:
    return [skip.reason for skip in result.skips]


def test_text(golden: Callable[[ir.Model, str], None]) -> None:
    graph = """g (float[N, 2] x) => (float[N, 2] y) {
        [product] t = MatMul(x, w)
        [power] p = Pow(t, two)
        [sum] y = Add(p, w2)
    }"""
    arrays = {"w": np.eye(2, dtype=np.float32), "two": np.array(2, np.float32), "w2": np.ones(2, np.float32)}
    found = model(graph, **arrays)
    convert(found)
    golden(found, "convert-float16/kept-operator")


def test_casts_stand_only_at_the_edges() -> None:
    graph = "g (float[N, 16] x) => (float[N, 8] y) { t = MatMul(x, w)\n r = Relu(t)\n s = Softmax(r)\n y = Sigmoid(s) }"
    found = model(graph, w=W)
    wanted = run(found, {"x": X})
    assert convert(found).counts == {"nodes converted": 4}
    assert op_types(found) == ["Cast", "MatMul", "Relu", "Softmax", "Sigmoid", "Cast"]
    assert elements(found, "w").dtype == np.float16
    assert [v.name for v in found.graph.outputs] == ["y"]
    assert_half_precise(wanted, found, {"x": X})


def test_value_in_float16_that_is_a_graph_output_and_read_again() -> None:
    graph = "g (float[N, 16] x) => (float[N, 16] t, float[N, 16] y) { t = Relu(x)\n y = Neg(t) }"
    found = model(graph)
    wanted = run(found, {"x": X})
    convert(found)
    assert [v.name for v in found.graph.outputs] == ["t", "y"]
    assert op_types(found).count("Cast") == 3
    assert_half_precise(wanted, found, {"x": X})


@pytest.mark.parametrize("op", sorted(KEPT_FLOAT32.keys() & {"Exp", "ReduceSum", "ReduceMean", "ReduceL2"}))
def test_risky_operators_stay(op: str) -> None:
    found = model(f"g (float[5, 16] x) => (float[A, B] y) {{ t = Relu(x)\n u = {op}(t)\n y = Neg(u) }}")
    wanted = run(found, {"x": X})
    result = convert(found)
    assert reasons(result) == [KEPT_FLOAT32[op]]
    assert op_types(found) == ["Cast", "Relu", "Cast", op, "Cast", "Neg", "Cast"]
    assert_half_precise(wanted, found, {"x": X})


def test_scales_of_resize_stay_float32() -> None:
    graph = "g (float[1, 1, 4, 4] x) => (float[1, 1, 8, 8] y) { y = Resize(x, , s) }"
    found = model(graph, s=np.array([1, 1, 2, 2], np.float32))
    wanted = run(found, {"x": random(1, 1, 4, 4)})
    assert convert(found).modified
    assert elements(found, "s").dtype == np.float32
    assert_half_precise(wanted, found, {"x": random(1, 1, 4, 4)})


def test_attributes_that_name_a_type_follow() -> None:
    graph = """g (bool[2, 3] x, int64[2] n) => (float[2, 3] y) {
        m = Cast<to = 1>(x)
        f = ConstantOfShape<value = float[1] {1.5}>(n)
        y = Mul(m, f)
    }"""
    found = model(graph)
    feeds = {"x": np.array([[1, 0, 1], [0, 1, 1]], bool), "n": np.array([2, 3])}
    wanted = run(found, feeds)
    assert convert(found).counts == {"nodes converted": 3}
    assert op_types(found) == ["Cast", "ConstantOfShape", "Mul", "Cast"]
    assert_half_precise(wanted, found, feeds)


STAYS = {
    "range": ("y = Mul(x, big)", "constant is outside the range of float16"),
    "vanishing guard": ("y = Add(x, tiny)", "constant vanishes in float16"),
    "integers": ("t = Cast<to = 1>(n)\n y = Mul(x, t)", "integers lose precision in float16"),
    "random": ("t = RandomNormal<shape = [5, 16]>()\n y = Mul(x, t)", "type of the output does not follow an input"),
    "no float16 form": ("q, s, z = DynamicQuantizeLinear(x)\n y = Mul(x, s)", "quantization scales stay float32"),
}


@pytest.mark.parametrize(("lines", "reason"), STAYS.values(), ids=STAYS.keys())
def test_what_float16_cannot_hold_stays(lines: str, reason: str) -> None:
    weights = {"big": np.array(70000, np.float32), "tiny": np.array(1e-12, np.float32)}
    found = model(f"g (float[5, 16] x, int64[5, 16] n) => (float[5, 16] y) {{ {lines} }}", **weights)
    assert reason in reasons(convert(found))
    run(found, {"x": X, "n": np.ones((5, 16), np.int64)})


def test_elements_of_weights_that_vanish_are_counted() -> None:
    weight = W.copy()
    weight[0, :3] = 1e-9
    found = model("g (float[N, 16] x) => (float[N, 8] y) { y = MatMul(x, w) }", w=weight)
    assert convert(found).counts == {"nodes converted": 1, "elements vanished": 3}


def test_shared_weight_is_kept_for_float32_readers() -> None:
    graph = "g (float[16] x) => (float[16] y) { t = Mul(x, w)\n y = Pow(t, w) }"
    found, feeds = model(graph, w=np.full(16, 2, np.float32)), {"x": X[0]}
    wanted = run(found, feeds)
    convert(found)
    assert {v.dtype for v in found.graph.initializers.values()} == {HALF, ir.DataType.FLOAT}
    assert_half_precise(wanted, found, feeds)


def test_default_of_an_input_keeps_its_type() -> None:
    found = model("g (float[16] x, float[16] w) => (float[16] y) { y = Mul(x, w) }", w=np.ones(16, np.float32))
    convert(found)
    assert [v.dtype for v in found.graph.inputs] == [ir.DataType.FLOAT] * 2
    assert op_types(found) == ["Cast", "Cast", "Mul", "Cast"]


SUBGRAPH = """g (float[N, 16] x, bool c) => (float[N, 8] y) {
    t = Relu(x)
    y = If(c) <then_branch = a () => (float[N, 8] p) { p = MatMul(t, w) },
              else_branch = b () => (float[N, 8] q) { u = MatMul(t, w)\n q = Neg(u) }>
}"""


@pytest.mark.parametrize("weights_only", [True, False])
def test_nodes_inside_subgraphs(weights_only: bool) -> None:
    found = model(SUBGRAPH, w=W)
    feeds = [{"x": X, "c": np.array(flag)} for flag in (True, False)]
    wanted = [run(found, f) for f in feeds]
    assert convert(found, weights_only=weights_only, min_elements=0).modified
    assert {v.dtype for v in found.graph.initializers.values()} == {HALF}
    inner = [n for n in nodes(found) if n.op_type == "MatMul"]
    assert {n.outputs[0].dtype for n in inner} == {ir.DataType.FLOAT if weights_only else HALF}
    for f, w in zip(feeds, wanted, strict=True):
        assert_half_precise(w, found, f)


def test_float16_that_is_in_the_model_is_read_without_a_detour() -> None:
    found = model("g (float16[5, 16] x) => (float[5, 8] y) { t = Cast<to = 1>(x)\n y = MatMul(t, w) }", w=W)
    feeds = {"x": X.astype(np.float16)}
    wanted = run(found, feeds)
    assert reasons(convert(found)) == ["Cast from float16"]
    product = next(n for n in found.graph if n.op_type == "MatMul")
    assert product.inputs[0] is found.graph.inputs[0]
    assert_half_precise(wanted, found, feeds)


def test_operators_of_other_domains_read_float32() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "acme" : 1]>
    g (float[2] x) => (float[2] y) <float[2] u> { t = Relu(x)\n u = acme.Twist(t)\n y = Neg(u) }"""
    found = ir.from_onnx_text(text)
    result = convert(found)
    assert op_types(found) == ["Cast", "Relu", "Cast", "Twist", "Cast", "Neg", "Cast"]
    assert reasons(result) == ["operator has subgraphs or is not a standard one"]


def test_unknown_types_stay() -> None:
    found = model("g (float[16] x) => (float[16] y) { t = Relu(x)\n y = Neg(t) }")
    result = ConvertFloat16()(found)
    assert not result.modified
    assert set(reasons(result)) == {"element type is not known"}


def test_options_keep_operators_and_nodes() -> None:
    graph = "g (float[16] x) => (float[16] y) { [a] t = Relu(x)\n [b] y = Neg(t) }"
    assert reasons(convert(model(graph), keep_float32=("Neg",))) == ["operator is in keep_float32"]
    assert reasons(convert(model(graph), exclude=("a*",))) == ["matched by exclude"]


def convert_measured(found: ir.Model, samples: list[dict[str, Array]], **options: Any) -> PassResult:
    infer_shapes(found)
    result = ConvertFloat16(Options(**options))(found, PassContext(samples=lambda: iter(samples)))
    check(found)
    second = ConvertFloat16(Options(**options))(found, PassContext(samples=lambda: iter(samples)))
    assert not second.modified
    return result


WILD = "g (float[5, 16] x) => (float[5, 16] y) { [a] s = Mul(x, k)\n [b] t = Mul(s, s)\n [c] u = Sqrt(t)\n [d] y = Relu(u) }"
OVER, UNDER = "values leave the range of float16 on the samples", "values are subnormal in float16 on the samples"


@pytest.mark.parametrize(("factor", "reason"), [(300, OVER), (1e-3, UNDER)])
def test_values_out_of_range_on_the_samples_stay_float32_with_their_readers(factor: float, reason: str) -> None:
    found = model(WILD, k=np.array(factor, np.float32))
    wanted = run(found, {"x": X})
    result = convert_measured(found, [{"x": 0 * X}, {"x": X}])
    assert [(s.reason, s.node) for s in result.skips] == [(reason, "b"), (reason, "c")]
    assert result.counts == {"nodes converted": 2}
    assert_half_precise(wanted, found, {"x": X})


def test_ranges_are_not_measured_without_samples_or_if_switched_off() -> None:
    for samples, options in ((None, {}), ([{"x": X}], {"ranges": "off"})):
        found = model(WILD, k=np.array(300, np.float32))
        result = convert(found) if samples is None else convert_measured(found, samples, **options)
        assert result.counts == {"nodes converted": 4}


def test_inputs_out_of_range_and_values_that_are_not_finite() -> None:
    found = model("g (float[5, 16] x) => (float[5, 16] y, float[5, 16] z) { [a] y = Neg(x)\n [b] z = Relu(x) }")
    assert [s.reason for s in convert_measured(found, [{"x": X * 1e5}]).skips] == [OVER, OVER]
    found = model("g (float[5, 16] x) => (float[5, 16] y) { y = Neg(x) }")
    assert convert_measured(found, [{"x": np.full((5, 16), np.inf, np.float32)}]).modified


def test_weights_only_halves_what_is_stored() -> None:
    graph = "g (float[N, 16] x) => (float[N, 8] y) { t = MatMul(x, w)\n y = Add(t, b) }"
    found = model(graph, w=W, b=random(8))
    wanted = run(found, {"x": X})
    assert convert(found, weights_only=True, min_elements=100).counts == {"weights stored": 1}
    assert op_types(found) == ["Cast", "MatMul", "Add"]
    assert elements(found, "w_float16").dtype == np.float16
    assert_half_precise(wanted, found, {"x": X})


def test_weights_only_refuses_what_float16_cannot_hold() -> None:
    found = model("g (float[N, 16] x) => (float[N, 8] y) { y = MatMul(x, w) }", w=W * 1e6)
    result = convert(found, weights_only=True, min_elements=0)
    assert not result.modified
    assert reasons(result) == ["constant is outside the range of float16"]

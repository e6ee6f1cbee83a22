from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.fuse_layer_norm import FuseLayerNorm
from tests.models import Array, assert_close, check, model, op_types, random, run

CENTER = "m = ReduceMean<axes = [-1]>(x) d = Sub(x, m)"
VARIANCE = "p = Pow(d, two) v = ReduceMean<axes = [-1]>(p) a = Add(v, epsilon)"
SQRT = f"{CENTER} {VARIANCE} q = Sqrt(a)"
CORES = {
    "quotient": f"{SQRT} n = Div(d, q)",
    "epsilon first": f"{CENTER} p = Pow(d, two) v = ReduceMean<axes = [2]>(p) a = Add(epsilon, v) q = Sqrt(a) n = Div(d, q)",
    "product square": f"{CENTER} p = Mul(d, d) v = ReduceMean<axes = [-1]>(p) a = Add(v, epsilon) q = Sqrt(a) n = Div(d, q)",
    "two differences": f"{CENTER} c = Sub(x, m) {VARIANCE} q = Sqrt(a) n = Div(c, q)",
    "two means": f"{CENTER} w = ReduceMean<axes = [-1]>(x) c = Sub(x, w) {VARIANCE} q = Sqrt(a) n = Div(c, q)",
    "reciprocal": f"{SQRT} r = Reciprocal(q) n = Mul(d, r)",
    "one over": f"{SQRT} r = Div(one, q) n = Mul(r, d)",
    "power": f"{CENTER} {VARIANCE} q = Pow(a, half) n = Div(d, q)",
    "negative power": f"{CENTER} {VARIANCE} r = Pow(a, minus) n = Mul(d, r)",
    "batch normalization": f"{SQRT} r = Reciprocal(q) s = Mul(x, r) t = Mul(m, r) n = Sub(s, t)",
}
AFFINE = {
    "scale and bias": "k = Mul(n, scale) y = Add(k, bias)",
    "swapped": "k = Mul(scale, n) y = Add(bias, k)",
    "scale": "y = Mul(n, scale)",
    "bias": "y = Add(n, bias)",
    "many dimensions": "k = Mul(n, scale3) y = Add(k, bias3)",
    "scalars": "k = Mul(n, two) y = Add(k, bias)",
}
FUSED = {
    "scale on the way": f"{SQRT} r = Reciprocal(q) s = Mul(r, scale) n = Mul(d, s) y = Add(n, bias)",
    "scale over": f"{SQRT} r = Div(scale, q) n = Mul(d, r) y = Add(n, bias)",
    "keras": f"{SQRT} r = Reciprocal(q) i = Mul(r, scale) s = Mul(x, i) t = Mul(m, i) u = Sub(bias, t) y = Add(s, u)",
}
FORMS = {
    **{f"{c}; scale and bias": f"{CORES[c]} {AFFINE['scale and bias']}" for c in CORES},
    **{f"quotient; {a}": f"{CORES['quotient']} {AFFINE[a]}" for a in AFFINE},
    "quotient; neither": CORES["quotient"].replace("n =", "y ="),
    **FUSED,
}
MOMENTS = """p = Mul(x, x) v = ReduceMean<axes = [-1]>(p) m = ReduceMean<axes = [-1]>(x) t = Mul(m, m) w = Sub(v, t)
    a = Add(w, epsilon) q = Sqrt(a) d = Sub(x, m) y = Div(d, q)"""
PLAIN = FORMS["quotient; scale and bias"]
MISSED = FORMS["reciprocal; scale and bias"]
NUMBERS = {"two": 2, "one": 1, "half": 0.5, "minus": -0.5, "epsilon": 1e-5}
X = {"x": 2 * random(3, 4, 8) + 1}


def net(
    lines: str, opset: int = 17, *, shape: str = "N, 4, 8", dtype: str = "float", size: int = 8, **more: Array
) -> ir.Model:
    numpy = {"float": np.float32, "double": np.float64, "float16": np.float16}[dtype]
    weights: dict[str, Array] = {k: np.array(v, numpy) for k, v in NUMBERS.items()}
    weights |= {n: random(size, seed=i).astype(numpy) for i, n in enumerate(("scale", "bias"))}
    weights |= {f"{n}3": weights[n].reshape(1, 1, -1) for n in ("scale", "bias")}
    used = set(lines.replace("(", " ").replace(")", " ").replace(",", " ").split())
    given = {k: v for k, v in (weights | more).items() if k in used}
    return model(f"g ({dtype}[{shape}] x) => ({dtype}[{shape}] y) {{ {lines} }}", opset, **given)


def fuse(found: ir.Model) -> PassResult:
    result = FuseLayerNorm()(found)
    check(found)
    assert not FuseLayerNorm()(found).modified
    return result


def optimized(found: ir.Model, path: str) -> list[str]:
    """Operators after ONNX Runtime's own optimizations."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath = path
    settings.log_severity_level = 3
    onnxruntime.InferenceSession(ir.to_proto(found).SerializeToString(), settings)
    return op_types(ir.load(path))


@pytest.mark.parametrize("lines", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_every_spelling_becomes_one_node(lines: str, dtype: str) -> None:
    found = net(lines, dtype=dtype)
    feeds = {"x": X["x"].astype(np.float16 if dtype == "float16" else np.float32)}
    wanted = run(found, feeds)
    assert fuse(found).counts == {"fused": 1}
    assert op_types(found) == ["LayerNormalization"]
    assert set(found.graph.initializers) == {v.name for v in found.graph.node(0).inputs[1:] if v is not None}
    if dtype == "float":
        assert_close(wanted, run(found, feeds))
    else:
        np.testing.assert_allclose(run(found, feeds)[0], wanted[0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("lines", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("opset", [11, 16])
def test_below_opset_17_onnx_runtime_fuses_what_is_left(
    lines: str, opset: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = net(lines, opset)
    wanted = run(found, X)
    fuse(found)
    assert_close(wanted, run(found, X))
    whole = ["LayerNormalization"] if "bias" in lines else ["ReduceMean", "Sub", "SimplifiedLayerNormalization"]
    assert optimized(found, str(tmp_path_factory.mktemp("o") / "model.onnx")) == whole


@pytest.mark.parametrize(
    "lines",
    [PLAIN, FORMS["two differences; scale and bias"], FORMS["epsilon first; scale and bias"], FORMS["quotient; scale"]],
)
def test_what_onnx_runtime_knows_is_left_alone(lines: str) -> None:
    result = fuse(net(lines, 12))
    assert not result.modified
    assert not result.skips


@pytest.mark.parametrize("opset", [18, 23])
def test_axes_as_an_input(opset: int) -> None:
    lines = PLAIN.replace("ReduceMean<axes = [-1]>(x)", "ReduceMean(x, axes)")
    found = net(lines.replace("ReduceMean<axes = [-1]>(p)", "ReduceMean(p, axes)"), opset, axes=np.array([2]))
    wanted = run(found, X)
    assert fuse(found).modified
    assert op_types(found) == ["LayerNormalization"]
    assert set(found.graph.initializers) == {"scale", "bias"}
    assert_close(wanted, run(found, X))


@pytest.mark.parametrize("scale", [random(4, 8), random(8), random(4, 1), random(1, 4, 8)])
def test_several_axes(scale: Array) -> None:
    lines = PLAIN.replace("[-1]", "[1, 2]")
    found = net(lines, scale=scale)
    wanted = run(found, X)
    assert fuse(found).modified
    assert op_types(found) == ["LayerNormalization"]
    assert found.graph.node(0).attributes["axis"].as_int() == -2
    assert_close(wanted, run(found, X))


def test_several_axes_below_opset_17() -> None:
    assert [s.reason for s in fuse(net(MISSED.replace("[-1]", "[1, 2]"), 13)).skips] == [
        "several axes, which need opset 17"
    ]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (PLAIN.replace("[-1]", "[1]").replace("scale)", "one)").replace("bias)", "one)"), "not over the last axes"),
        (PLAIN.replace("<axes = [-1]>(x)", "<axes = [1]>(x)"), "the mean is over other axes than the variance"),
        (PLAIN.replace("<axes = [-1]>", ""), "the axes are not constant, or not kept"),
        (
            MOMENTS,
            "the variance is a difference of moments, which cancels",
        ),
    ],
)
def test_near_misses(lines: str, reason: str) -> None:
    result = fuse(net(lines))
    assert not result.modified
    assert [skip.reason for skip in result.skips] == [reason]


@pytest.mark.parametrize("lines", [PLAIN.replace("Pow(d, two)", "Pow(d, one)"), PLAIN.replace("Sqrt(a)", "Exp(a)")])
def test_other_functions(lines: str) -> None:
    result = fuse(net(lines))
    assert not result.modified
    assert not result.skips


@pytest.mark.parametrize("shape", ["N, M, C", "N, 4, C"])
def test_an_unknown_size(shape: str) -> None:
    result = fuse(net(PLAIN, shape=shape))
    assert [skip.reason for skip in result.skips] == ["the normalized dimensions are not known"]


@pytest.mark.parametrize("opset", [13, 17])
def test_unknown_sizes_of_other_axes(opset: int) -> None:
    found = net(MISSED, opset, shape="N, M, 8")
    wanted = run(found, X)
    assert fuse(found).modified
    assert_close(wanted, run(found, X))
    assert run(found, {"x": random(0, 4, 8)})[0].shape == (0, 4, 8)


@pytest.mark.parametrize("shape", [(8, 1), (1, 8, 1), (1, 1, 1, 8)])
def test_a_scale_of_other_axes_stays_outside(shape: tuple[int, ...]) -> None:
    lines = f"{CORES['quotient']} k = Mul(n, other) y = ReduceSum<keepdims = 0>(k)"
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    found = model(f"g (float[3, 8, 8] x) => (float y) {{ {lines} }}", 17, **weights, other=random(*shape))
    feeds = {"x": random(3, 8, 8)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    assert op_types(found) == ["LayerNormalization", "Mul", "ReduceSum"]
    np.testing.assert_allclose(run(found, feeds)[0], wanted[0], rtol=1e-4, atol=1e-4)


def test_an_enlarging_scale_stays_outside() -> None:
    lines = f"{CORES['quotient']} k = Mul(n, scale) y = Relu(k)"
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    found = model(f"g (float[3, 1] x) => (float[3, 8] y) {{ {lines} }}", 17, **weights, scale=random(8))
    assert fuse(found).modified
    assert op_types(found) == ["LayerNormalization", "Mul", "Relu"]
    assert run(found, {"x": random(3, 1)})[0].shape == (3, 8)


@pytest.mark.parametrize(("opset", "left"), [(17, ["Sigmoid", "LayerNormalization"]), (13, None)])
def test_a_computed_scale(opset: int, left: list[str] | None) -> None:
    text = f"""g (float[N, 4, 8] x, float[8] z) => (float[N, 4, 8] y) <float[8] w> {{
        w = Sigmoid(z) {CORES["reciprocal"]} k = Mul(n, w) y = Add(k, bias)
    }}"""
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    found = model(text, opset, **weights, bias=random(8))
    feeds = {**X, "z": random(8, seed=3)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    assert op_types(found)[-2:] == (left or ["Mul", "Add"])
    assert_close(wanted, run(found, feeds))


def test_double_is_left_alone() -> None:
    assert {s.reason for s in fuse(net(PLAIN, dtype="double")).skips} == {"not float32 or float16"}


@pytest.mark.parametrize("dtype", ["double", "float16"])
def test_below_opset_17_only_float32(dtype: str) -> None:
    assert {s.reason for s in fuse(net(MISSED, 13, dtype=dtype)).skips} == {"not float32"}


@pytest.mark.parametrize("outputs", ["float16[N, 4, 8] y", "float16[N, 4, 8] y, float[N, 4, 8] z"])
def test_casts_around(outputs: str) -> None:
    """A cast that something else reads stays, and then the normalization computes in float32 as before."""
    shared = "z" in outputs
    text = f"""g (float16[N, 4, 8] h) => ({outputs}) <float[N, 4, 8] x> {{
        x = Cast<to = 1>(h) {CORES["quotient"]} c = Cast<to = 10>(n) k = Mul(c, scale) y = Add(k, bias)
        {"z = Neg(x)" if shared else ""}
    }}"""
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    scale, bias = random(8).astype(np.float16), random(8, seed=1).astype(np.float16)
    found = model(text, 17, **weights, scale=scale, bias=bias)
    feeds = {"h": X["x"].astype(np.float16)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    left = ["Cast", "LayerNormalization", "Cast", "Mul", "Add", "Neg"] if shared else ["LayerNormalization"]
    assert sorted(op_types(found)) == sorted(left)
    np.testing.assert_allclose(run(found, feeds)[0], wanted[0], rtol=4e-3, atol=4e-3)


@pytest.mark.parametrize(
    ("output", "line", "reason"),
    [
        ("d", "", "an intermediate value is a graph output"),
        ("m", "", "an intermediate value is a graph output"),
        ("z", "z = Relu(d)", "something else reads an intermediate value"),
        ("z", "z = Relu(m)", "something else reads an intermediate value"),
    ],
)
def test_values_inside_that_are_needed_elsewhere(output: str, line: str, reason: str) -> None:
    text = f"g (float[3, 8] x) => (float[3, 8] y, float[3, S] {output}) {{ {PLAIN} {line} }}"
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    result = fuse(model(text, 17, **weights, scale=random(8), bias=random(8)))
    assert not result.modified
    assert [s.reason for s in result.skips] == [reason]


@pytest.mark.parametrize(("output", "kept"), [("n", ["Mul", "Add"]), ("k", ["Add"])])
def test_a_result_that_is_needed_before_scale_or_bias(output: str, kept: list[str]) -> None:
    text = f"g (float[3, 8] x) => (float[3, 8] y, float[3, 8] {output}) {{ {PLAIN} }}"
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    found = model(text, 17, **weights, scale=random(8), bias=random(8))
    feeds = {"x": random(3, 8)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    assert op_types(found) == ["LayerNormalization", *kept]
    assert_close(wanted, run(found, feeds))


def test_shared_parameters_and_several_consumers() -> None:
    lines = PLAIN.replace("y =", "w =") + " j = Mul(w, scale) y = Add(j, w)"
    found = net(lines)
    wanted = run(found, X)
    assert fuse(found).modified
    assert op_types(found) == ["LayerNormalization", "Mul", "Add"]
    assert_close(wanted, run(found, X))


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("outside", ["", CENTER])
def test_inside_a_subgraph(opset: int, outside: str) -> None:
    """Of a captured value, whose mean may be computed outside as well."""
    inside = MISSED if not outside else MISSED.replace(CENTER, "d = Sub(x, m)")
    text = f"""g (bool b0, float[3, 8] x) => (float[3, 8] z) {{
        {outside.replace("d = Sub(x, m)", "")}
        z = If (b0) <
            then_branch = t () => (float[3, 8] y) {{ {inside} }},
            else_branch = f () => (float[3, 8] e) {{ e = Relu(x) }}
        >
    }}"""
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    found = model(text, opset, **weights, scale=random(8), bias=random(8))
    feeds = {"b0": np.array(True), "x": random(3, 8)}
    wanted = run(found, feeds)
    assert fuse(found).modified == (not outside)
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("value", [0.0, 1e-40, 1000.0, np.inf, -np.inf, np.nan])
def test_constant_rows(opset: int, value: float) -> None:
    found = net(MISSED, opset)
    feeds = {"x": np.full((1, 4, 8), value, np.float32)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    np.testing.assert_allclose(run(found, feeds)[0], wanted[0], rtol=1e-5)

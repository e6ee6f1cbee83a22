from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.fuse_rms_norm import FuseRmsNorm
from tests.models import Array, assert_close, check, model, op_types, random, run
from tests.passes.fusion.test_fuse_layer_norm import PLAIN as LAYER_NORM
from tests.passes.fusion.test_fuse_layer_norm import optimized

MEAN = "v = ReduceMean(p, axes) a = Add(v, epsilon)"
SQRT = f"p = Pow(x, two) {MEAN} q = Sqrt(a)"
CORES = {
    "quotient": f"{SQRT} n = Div(x, q)",
    "product square": f"p = Mul(x, x) {MEAN} q = Sqrt(a) n = Div(x, q)",
    "reciprocal": f"{SQRT} r = Reciprocal(q) n = Mul(x, r)",
    "one over": f"{SQRT} r = Div(one, q) n = Mul(r, x)",
    "power": f"p = Pow(x, two) {MEAN} q = Pow(a, half) n = Div(x, q)",
    "negative power": f"p = Mul(x, x) {MEAN} r = Pow(a, minus) n = Mul(x, r)",
}
FORMS = {
    **{c: f"{lines} y = Mul(scale, n)" for c, lines in CORES.items()},
    "many dimensions": f"{CORES['quotient']} y = Mul(n, scale3)",
    "a scalar": f"{CORES['quotient']} y = Mul(n, two)",
    "no scale": CORES["reciprocal"].replace("n =", "y ="),
    "scale on the way": f"{SQRT} r = Reciprocal(q) s = Mul(scale, r) y = Mul(s, x)",
    "scale over": f"{SQRT} r = Div(scale, q) y = Mul(x, r)",
}
PLAIN, MISSED = FORMS["quotient"], FORMS["reciprocal"]
NUMBERS = {"two": 2, "one": 1, "half": 0.5, "minus": -0.5, "epsilon": 1e-6}
X = {"x": 2 * random(3, 4, 8) + 1}


def net(lines: str, opset: int = 23, *, shape: str = "N, 4, 8", dtype: str = "float", **more: Array) -> ir.Model:
    """Axes are written as an input; they become an attribute where the opset wants that."""
    numpy = {"float": np.float32, "double": np.float64, "float16": np.float16}[dtype]
    if opset < 18:
        axes = [int(axis) for axis in more.pop("axes", np.array([-1]))]
        lines = lines.replace("ReduceMean(p, axes)", f"ReduceMean<axes = {axes}>(p)")
    weights: dict[str, Array] = {k: np.array(v, numpy) for k, v in NUMBERS.items()}
    weights |= {"scale": random(8).astype(numpy), "axes": np.array([-1])}
    weights["scale3"] = weights["scale"].reshape(1, 1, 8)
    used = set(lines.replace("(", " ").replace(")", " ").replace(",", " ").split())
    given = {k: v for k, v in (weights | more).items() if k in used}
    return model(f"g ({dtype}[{shape}] x) => ({dtype}[{shape}] y) {{ {lines} }}", opset, **given)


def fuse(found: ir.Model) -> PassResult:
    result = FuseRmsNorm()(found)
    check(found)
    assert not FuseRmsNorm()(found).modified
    return result


@pytest.mark.parametrize("lines", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_every_spelling_becomes_one_node(lines: str, dtype: str) -> None:
    found = net(lines, dtype=dtype)
    feeds = {"x": X["x"].astype(np.float16 if dtype == "float16" else np.float32)}
    wanted = run(found, feeds)
    assert fuse(found).counts == {"fused": 1}
    assert op_types(found) == ["RMSNormalization"]
    assert set(found.graph.initializers) == {v.name for v in found.graph.node(0).inputs[1:] if v is not None}
    if dtype == "float":
        assert_close(wanted, run(found, feeds))
    else:
        np.testing.assert_allclose(run(found, feeds)[0], wanted[0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("lines", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("opset", [11, 17, 18, 22])
def test_below_opset_23_onnx_runtime_fuses_what_is_left(
    lines: str, opset: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = net(lines, opset)
    wanted = run(found, X)
    fuse(found)
    assert_close(wanted, run(found, X))
    path = tmp_path_factory.mktemp("optimized") / "model.onnx"
    assert optimized(found, str(path)) == ["SimplifiedLayerNormalization"]


@pytest.mark.parametrize("opset", [13, 18])
def test_what_onnx_runtime_knows_is_left_alone(opset: int) -> None:
    result = fuse(net(PLAIN, opset))
    assert not result.modified
    assert not result.skips


@pytest.mark.parametrize("scale", [random(4, 8), random(8), random(4, 1)])
def test_several_axes(scale: Array) -> None:
    found = net(MISSED, axes=np.array([1, 2]), scale=scale)
    wanted = run(found, X)
    assert fuse(found).modified
    assert op_types(found) == ["RMSNormalization"]
    assert_close(wanted, run(found, X))


@pytest.mark.parametrize(
    ("opset", "dtype", "axes", "shape", "reason"),
    [
        (23, "float", [1], "N, 8, 8", "not over the last axes"),
        (13, "float", [1, 2], "N, 8, 8", "several axes, which need opset 23"),
        (23, "double", [2], "N, 8, 8", "not float32 or float16"),
        (18, "float16", [2], "N, 8, 8", "not float32"),
        (23, "float", [2], "N, 8, C", "the normalized dimensions are not known"),
    ],
)
def test_near_misses(opset: int, dtype: str, axes: list[int], shape: str, reason: str) -> None:
    result = fuse(net(MISSED, opset, shape=shape, dtype=dtype, axes=np.array(axes)))
    assert not result.modified
    assert [s.reason for s in result.skips] == [reason]


@pytest.mark.parametrize("scale", [random(8, 1), random(1, 8, 1)])
def test_a_scale_of_other_axes(scale: Array) -> None:
    on_the_way = fuse(net(FORMS["scale over"], shape="N, 8, 8", scale=scale))
    assert [s.reason for s in on_the_way.skips] == ["the scale is not of the normalized axes"]
    behind = net(MISSED, shape="N, 8, 8", scale=scale)
    wanted = run(behind, {"x": random(3, 8, 8)})
    assert fuse(behind).modified
    assert op_types(behind) == ["RMSNormalization", "Mul"]
    assert_close(wanted, run(behind, {"x": random(3, 8, 8)}))


@pytest.mark.parametrize(
    "lines",
    [
        MISSED.replace("Pow(x, two)", "Pow(x, half)"),
        MISSED.replace("Sqrt", "Exp"),
        f"{SQRT} r = Reciprocal(q) s = Mul(scale, r) t = Mul(s, two) y = Mul(t, x)",
        f"{SQRT} r = Div(q, one) y = Mul(r, x)",
        f"{SQRT} r = Div(q, x) y = Mul(scale, r)",
    ],
)
def test_other_functions(lines: str) -> None:
    result = fuse(net(lines))
    assert not result.modified
    assert not result.skips


def test_a_layer_normalization_is_not_taken_apart() -> None:
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    text = f"g (float[3, 8] x) => (float[3, 8] y) {{ {LAYER_NORM} }}"
    result = fuse(model(text, 13, **weights, scale=random(8), bias=random(8)))
    assert not result.modified
    assert not result.skips


@pytest.mark.parametrize(("opset", "last"), [(17, "Mul"), (23, "RMSNormalization")])
def test_a_computed_scale(opset: int, last: str) -> None:
    lines = MISSED.replace("ReduceMean(p, axes)", "ReduceMean<axes = [-1]>(p)") if opset < 18 else MISSED
    text = f"g (float[N, 4, 8] x, float[8] z) => (float[N, 4, 8] y) <float[8] scale> {{ scale = Sigmoid(z) {lines} }}"
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    weights |= {} if opset < 18 else {"axes": np.array([-1])}
    found = model(text, opset, **weights)
    feeds = {**X, "z": random(8, seed=3)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    assert op_types(found)[-1] == last
    assert_close(wanted, run(found, feeds))


def test_casts_around() -> None:
    text = f"""g (float16[N, 4, 8] h) => (float16[N, 4, 8] y) <float[N, 4, 8] x> {{
        x = Cast<to = 1>(h) {CORES["reciprocal"]} c = Cast<to = 10>(n) y = Mul(scale, c)
    }}"""
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    found = model(text, 23, **weights, scale=random(8).astype(np.float16), axes=np.array([-1]))
    feeds = {"h": X["x"].astype(np.float16)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    assert op_types(found) == ["RMSNormalization"]
    np.testing.assert_allclose(run(found, feeds)[0], wanted[0], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("output", "line", "reason"),
    [
        ("p", "", "an intermediate value is a graph output"),
        ("z", "z = Relu(p)", "something else reads an intermediate value"),
    ],
)
def test_values_inside_that_are_needed_elsewhere(output: str, line: str, reason: str) -> None:
    text = f"g (float[3, 8] x) => (float[3, 8] y, float[3, 8] {output}) {{ {MISSED} {line} }}"
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    result = fuse(model(text, 23, **weights, scale=random(8), axes=np.array([-1])))
    assert not result.modified
    assert [s.reason for s in result.skips] == [reason]


@pytest.mark.parametrize("opset", [18, 23])
def test_shared_parameters_and_several_consumers(opset: int) -> None:
    found = net(MISSED.replace("y =", "w =") + " j = Mul(w, scale) y = Add(j, w)", opset)
    wanted = run(found, X)
    assert fuse(found).modified
    assert op_types(found)[-2:] == ["Mul", "Add"]
    assert_close(wanted, run(found, X))


@pytest.mark.parametrize("opset", [18, 23])
def test_inside_a_subgraph(opset: int) -> None:
    text = f"""g (bool b0, float[3, 8] x) => (float[3, 8] z) {{
        z = If (b0) <
            then_branch = t () => (float[3, 8] y) {{ {MISSED} }},
            else_branch = f () => (float[3, 8] e) {{ e = Relu(x) }}
        >
    }}"""
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "epsilon")}
    found = model(text, opset, **weights, scale=random(8), axes=np.array([-1]))
    feeds = {"b0": np.array(True), "x": random(3, 8)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("value", [0.0, 1e-30, 1000.0, 1e25, np.inf, -np.inf, np.nan])
def test_extreme_values(opset: int, value: float) -> None:
    found = net(MISSED, opset)
    rows = np.concatenate([np.full((1, 4, 8), value), [[[value] + [1.0] * 7] * 4]]).astype(np.float32)
    wanted = run(found, {"x": rows})
    assert fuse(found).modified
    np.testing.assert_allclose(run(found, {"x": rows})[0], wanted[0], rtol=1e-5)

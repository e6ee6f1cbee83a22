from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.fuse_gelu import FuseGelu
from tests.models import Array, assert_close, check, model, op_types, random, run

NUMBERS = {
    "root": math.sqrt(2),
    "factor": 1 / math.sqrt(2),
    "rounded": 0.7071,
    "one": 1.0,
    "half": 0.5,
    "two": 2.0,
    "three": 3.0,
    "k": math.sqrt(2 / math.pi),
    "c": 0.044715,
    "kc": math.sqrt(2 / math.pi) * 0.044715,
}
ERF_INSIDE = {
    "divided": "d = Div(x, root) e = Erf(d)",
    "times": "d = Mul(factor, x) e = Erf(d)",
    "times 0.7071": "d = Mul(x, rounded) e = Erf(d)",
}
TANH_INSIDE = {
    "power": "p = Pow(x, three) q = Mul(p, c) r = Add(x, q) s = Mul(r, k) e = Tanh(s)",
    "power, swapped": "p = Pow(x, three) q = Mul(c, p) r = Add(q, x) s = Mul(k, r) e = Tanh(s)",
    "cube": "p = Mul(x, x) t = Mul(x, p) q = Mul(c, t) r = Add(x, q) s = Mul(k, r) e = Tanh(s)",
    "square times": "p = Pow(x, two) t = Mul(p, x) q = Mul(t, c) r = Add(x, q) s = Mul(r, k) e = Tanh(s)",
    "nested": "q = Mul(c, x) p = Mul(x, q) t = Mul(x, p) r = Add(x, t) s = Mul(k, r) e = Tanh(s)",
    "factored": "q = Mul(x, c) p = Mul(x, q) r = Add(one, p) z = Mul(x, k) s = Mul(z, r) e = Tanh(s)",
    "distributed": "z = Mul(x, k) p = Mul(x, x) t = Mul(p, x) q = Mul(t, kc) s = Add(z, q) e = Tanh(s)",
}
OUTSIDE = {
    "0.5 last": "a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",
    "halved last": "a = Add(one, e) m = Mul(a, x) y = Div(m, two)",
    "0.5 on x": "a = Add(e, one) m = Mul(x, half) y = Mul(m, a)",
    "half x last": "a = Add(e, one) m = Div(x, two) y = Mul(a, m)",
    "0.5 on the sum": "a = Add(e, one) m = Mul(half, a) y = Mul(x, m)",
    "0.5 distributed": "a = Mul(e, half) m = Add(a, half) y = Mul(m, x)",
    "x distributed": "h = Mul(x, half) m = Mul(h, e) y = Add(h, m)",
    "negated": "g = Neg(e) a = Sub(one, g) m = Mul(x, a) y = Mul(m, half)",
}
FORMS = {
    **{f"erf: {i}; {o}": f"{ERF_INSIDE[i]} {OUTSIDE[o]}" for i in ERF_INSIDE for o in OUTSIDE},
    **{f"tanh: {i}; {o}": f"{TANH_INSIDE[i]} {OUTSIDE[o]}" for i in TANH_INSIDE for o in OUTSIDE},
}
MISSED = f"{ERF_INSIDE['times']} {OUTSIDE['0.5 on the sum']}"
MISSED_TANH = f"{TANH_INSIDE['cube']} {OUTSIDE['0.5 on the sum']}"
X = {"x": 3 * random(3, 50)}


def gelu(
    lines: str,
    opset: int = 20,
    changes: Mapping[str, float | Array] | None = None,
    *,
    shape: str = "N, 50",
    dtype: str = "float",
) -> ir.Model:
    numpy = {"float": np.float32, "double": np.float64, "float16": np.float16}[dtype]
    used = set(lines.replace("(", " ").replace(")", " ").replace(",", " ").split())
    weights = {name: np.asarray(v, numpy) for name, v in {**NUMBERS, **(changes or {})}.items() if name in used}
    return model(f"g ({dtype}[{shape}] x) => ({dtype}[{shape}] y) {{ {lines} }}", opset, **weights)


def fuse(found: ir.Model) -> PassResult:
    result = FuseGelu()(found)
    check(found)
    assert not FuseGelu()(found).modified
    return result


def optimized(found: ir.Model, path: str) -> set[str]:
    """Operators after ONNX Runtime's own optimizations, with another node behind the output, as in a network."""
    import onnxruntime

    output = found.graph.outputs[0]
    node = ir.node("Neg", [output])
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "behind", output.type, output.shape
    found.graph.append(node)
    found.graph.outputs[0] = node.outputs[0]
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath = path
    settings.log_severity_level = 3
    onnxruntime.InferenceSession(ir.to_proto(found).SerializeToString(), settings)
    return {node.op_type for node in ir.load(path).graph}


@pytest.mark.parametrize("lines", FORMS.values(), ids=FORMS.keys())
def test_every_spelling_becomes_one_node(lines: str) -> None:
    found = gelu(lines)
    wanted = run(found, X)
    assert fuse(found).counts == {"fused": 1}
    assert op_types(found) == ["Gelu"]
    assert found.graph.node(0).attributes["approximate"].as_string() == ("tanh" if "Tanh" in lines else "none")
    assert not found.graph.initializers
    if "rounded" not in lines:
        assert_close(wanted, run(found, X))
    assert np.abs(wanted[0] - run(found, X)[0]).max() < 1e-5


@pytest.mark.parametrize("lines", FORMS.values(), ids=FORMS.keys())
def test_below_opset_20_onnx_runtime_fuses_what_is_left(lines: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = gelu(lines, 13)
    wanted = run(found, X)
    fuse(found)
    assert np.abs(wanted[0] - run(found, X)[0]).max() < 1e-5
    path = tmp_path_factory.mktemp("optimized") / "model.onnx"
    assert optimized(found, str(path)) == {"FastGelu" if "Tanh" in lines else "Gelu", "Neg"}


@pytest.mark.parametrize(
    "lines",
    [
        f"{ERF_INSIDE['divided']} {OUTSIDE['0.5 last']}",
        f"{ERF_INSIDE['divided']} {OUTSIDE['0.5 on x']}",
        f"{TANH_INSIDE['power, swapped']} {OUTSIDE['0.5 on x']}",
        f"{TANH_INSIDE['factored']} {OUTSIDE['0.5 on x']}",
    ],
)
def test_what_onnx_runtime_knows_is_left_alone(lines: str) -> None:
    result = fuse(gelu(lines, 13))
    assert not result.modified
    assert not result.skips


def test_constants_of_many_dimensions_hide_a_known_form() -> None:
    found = gelu(f"{ERF_INSIDE['divided']} {OUTSIDE['0.5 on x']}", 13, {"half": np.full((1, 1), 0.5)})
    assert fuse(found).modified
    assert all(not v.shape for v in found.graph.initializers.values())


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-40, 1e20, -1e20, 3e38, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("lines", [MISSED, MISSED_TANH])
def test_extreme_values(lines: str, opset: int, value: float) -> None:
    found = gelu(lines, opset)
    feeds = {"x": np.full((1, 50), value, np.float32)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    np.testing.assert_allclose(run(found, feeds)[0], wanted[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("lines", "changes", "reason"),
    [
        (MISSED, {"factor": 0.7}, "the factors inside Erf are not those of GELU"),
        (MISSED, {"half": 0.25}, "the factors outside are not those of GELU"),
        (MISSED, {"one": 2.0}, "the factors outside are not those of GELU"),
        (MISSED, {"half": np.full(50, 0.5)}, "what follows Erf is not the product of GELU"),
        (MISSED_TANH, {"c": 0.0457}, "the factors inside Tanh are not those of GELU"),
        (MISSED_TANH, {"k": 0.8}, "the factors inside Tanh are not those of GELU"),
        (MISSED_TANH, {"half": 1.0}, "the factors outside are not those of GELU"),
    ],
)
def test_near_misses(lines: str, changes: dict[str, float | Array], reason: str) -> None:
    result = fuse(gelu(lines, 20, changes))
    assert not result.modified
    assert [skip.reason for skip in result.skips] == [reason]


def test_a_constant_that_raises_the_rank() -> None:
    lines = MISSED.replace("y =", "w =") + " y = ReduceMax<keepdims = 0>(w, first)"
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("factor", "one")}
    text = f"g (float[3, 50] x) => (float[3, 50] y) {{ {lines} }}"
    result = fuse(model(text, 20, **weights, half=np.full((1, 1, 1), 0.5, np.float32), first=np.array([0])))
    assert [skip.reason for skip in result.skips] == ["what follows Erf is not the product of GELU"]


@pytest.mark.parametrize(
    "lines",
    [
        "d = Mul(x, factor) s = Sigmoid(d) y = Mul(x, s)",
        "e = Erf(x) a = Add(e, one) m = Mul(a, half) y = Mul(x, m)",
        "e = Tanh(x) y = Mul(x, e)",
        "s = Softplus(x) e = Tanh(s) y = Mul(x, e)",
    ],
)
def test_other_functions(lines: str) -> None:
    result = fuse(gelu(lines, 20, {"factor": 1.702}))
    assert not result.modified
    assert not result.skips


@pytest.mark.parametrize("dtype", ["double", "float16"])
def test_other_element_types_are_left_alone(dtype: str) -> None:
    assert [s.reason for s in fuse(gelu(MISSED_TANH, dtype=dtype)).skips] == ["not float32"]


@pytest.mark.parametrize(("outputs", "reason"), [
    (("y", "z"), "something else reads an intermediate value"),
    (("y", "a"), "an intermediate value is a graph output"),
    (("y", "d"), "an intermediate value is a graph output"),
])  # fmt: skip
def test_values_inside_that_are_needed_elsewhere(outputs: tuple[str, str], reason: str) -> None:
    lines = MISSED + (" z = Relu(d)" if "z" in outputs else "")
    text = f"g (float[3, 50] x) => (float[3, 50] y, float[3, 50] {outputs[1]}) {{ {lines} }}"
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("factor", "one", "half")}
    result = fuse(model(text, 20, **weights))
    assert not result.modified
    assert [s.reason for s in result.skips] == [reason]


def test_several_consumers_and_a_shared_constant() -> None:
    lines = MISSED.replace("y =", "g =") + " p = Add(g, one) y = Mul(p, g)"
    found = gelu(lines, 20)
    wanted = run(found, X)
    assert fuse(found).modified
    assert op_types(found) == ["Gelu", "Add", "Mul"]
    assert list(found.graph.initializers) == ["one"]
    assert_close(wanted, run(found, X))


def test_behind_arithmetic_of_its_own() -> None:
    lines = "w = Mul(z, two) x = Add(w, half) " + MISSED_TANH
    weights = {k: np.array(NUMBERS[k], np.float32) for k in ("two", "one", "half", "c", "k")}
    found = model(f"g (float[3, 50] z) => (float[3, 50] y) <float[3, 50] x> {{ {lines} }}", 20, **weights)
    wanted = run(found, {"z": X["x"]})
    assert fuse(found).modified
    assert op_types(found) == ["Mul", "Add", "Gelu"]
    assert_close(wanted, run(found, {"z": X["x"]}))


@pytest.mark.parametrize("opset", [13, 20])
def test_inside_a_subgraph_of_captured_values(opset: int) -> None:
    text = f"""g (bool c0, float[3, 50] x) => (float[3, 50] z) {{
        z = If (c0) <
            then_branch = t () => (float[3, 50] y) {{ {MISSED} }},
            else_branch = f () => (float[3, 50] b) {{ b = Relu(x) }}
        >
    }}"""
    found = model(text, opset, **{k: np.array(NUMBERS[k], np.float32) for k in ("factor", "one", "half")})
    feeds = {"c0": np.array(True), **X}
    wanted = run(found, feeds)
    assert fuse(found).counts == {"fused": 1}
    assert_close(wanted, run(found, feeds))


def test_a_result_read_only_in_a_subgraph() -> None:
    text = """g (bool c0, float[3, 50] x) => (float[3, 50] z) {
        d = Mul(x, factor) e = Erf(d) a = Add(e, one) m = Mul(a, half)
        z = If (c0) <
            then_branch = t () => (float[3, 50] y) { y = Mul(x, m) },
            else_branch = f () => (float[3, 50] b) { b = Relu(x) }
        >
    }"""
    found = model(text, 20, **{k: np.array(NUMBERS[k], np.float32) for k in ("factor", "one", "half")})
    assert not fuse(found).modified

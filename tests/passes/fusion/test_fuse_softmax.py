from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.fuse_softmax import FuseSoftmax, Options
from tests.models import Array, assert_close, check, model, op_types, random, run

EXP = "m = ReduceMax<axes = [-1]>(x) d = Sub(x, m) e = Exp(d) s = ReduceSum(e, axes)"
BARE = "e = Exp(x) s = ReduceSum(e, axes)"
STABLE = {
    "quotient": f"{EXP} y = Div(e, s)",
    "reciprocal": f"{EXP} r = Reciprocal(s) y = Mul(r, e)",
    "two exponentials": f"{EXP} f = Exp(d) y = Div(f, s)",
    "two maxima": f"{EXP} n = ReduceMax<axes = [2]>(x) c = Sub(x, n) f = Exp(c) y = Div(f, s)",
}
STABLE_LOG = {
    "maximum taken out": f"{EXP} l = Log(s) y = Sub(d, l)",
    "maximum put back": f"{EXP} l = Log(s) h = Add(l, m) y = Sub(x, h)",
}
UNSTABLE = {
    "quotient": f"{BARE} y = Div(e, s)",
    "reciprocal": f"{BARE} r = Reciprocal(s) y = Mul(e, r)",
}
UNSTABLE_LOG = {
    "log of the sum": f"{BARE} l = Log(s) y = Sub(x, l)",
    "log of a softmax": "p = Softmax<axis = -1>(x) y = Log(p)",
    "log of a quotient": f"{EXP} p = Div(e, s) y = Log(p)",
    "log of a quotient without maximum": f"{BARE} p = Div(e, s) y = Log(p)",
}
PLAIN = STABLE["quotient"]
UNDEFINED = "where exp overflows or underflows, the result is not that of softmax"
X = {"x": 3 * random(3, 4, 8)}
BOUNDED = {
    "tanh": "x = Tanh(z)",
    "clip": "x = Clip(z, low, high)",
    "soft cap": "t = Tanh(z) x = Mul(t, high)",
    "divided": "t = Sigmoid(z) x = Div(t, half)",
}
NUMBERS = {"low": -20.0, "high": 30.0, "half": 0.5, "small": 0.032}


def net(lines: str, opset: int = 13, *, shape: str = "N, 4, 8", dtype: str = "float", **more: Array) -> ir.Model:
    """The axes of ReduceSum are written as an input, those of ReduceMax as an attribute; both as the opset wants it."""
    axes = more.pop("axes", np.array([-1]))
    if opset < 13:
        lines = lines.replace("ReduceSum(e, axes)", f"ReduceSum<axes = [{', '.join(map(str, axes))}]>(e)")
    if opset >= 18:
        lines = lines.replace("ReduceMax<axes = [-1]>(x)", "ReduceMax(x, axes)")
    lines = lines.replace("ReduceMax<axes = [2]>(x)", "ReduceMax(x, axes)") if opset >= 18 else lines
    numpy = {"float": np.float32, "double": np.float64, "float16": np.float16}[dtype]
    used = set(lines.replace("(", " ").replace(")", " ").replace(",", " ").split())
    weights: dict[str, Array] = {k: np.array(v, numpy) for k, v in NUMBERS.items()} | {"axes": axes} | more
    given = {k: v for k, v in weights.items() if k in used}
    source, inner = ("z", f" <{dtype}[{shape}] x>") if "z" in used else ("x", "")
    return model(f"g ({dtype}[{shape}] {source}) => ({dtype}[{shape}] y){inner} {{ {lines} }}", opset, **given)


def fuse(found: ir.Model, *, unbounded: bool = False) -> PassResult:
    result = FuseSoftmax(Options(unbounded=unbounded))(found)
    check(found)
    assert not FuseSoftmax(Options(unbounded=unbounded))(found).modified
    return result


@pytest.mark.parametrize("lines", [*STABLE.values(), *STABLE_LOG.values()], ids=[*STABLE, *STABLE_LOG])
@pytest.mark.parametrize(("opset", "dtype"), [(11, "float"), (13, "float"), (13, "double"), (18, "float")])
def test_every_stable_spelling(lines: str, opset: int, dtype: str) -> None:
    found = net(lines, opset, dtype=dtype)
    feeds = {"x": X["x"].astype(np.float64 if dtype == "double" else np.float32)}
    wanted = run(found, feeds)
    assert fuse(found).counts == {"fused": 1}
    assert op_types(found) == ["LogSoftmax" if lines in STABLE_LOG.values() else "Softmax"]
    assert not found.graph.initializers
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize("before", BOUNDED.values(), ids=BOUNDED.keys())
@pytest.mark.parametrize("lines", [*UNSTABLE.values(), *UNSTABLE_LOG.values()], ids=[*UNSTABLE, *UNSTABLE_LOG])
def test_every_spelling_of_a_bounded_value(lines: str, before: str) -> None:
    found = net(f"{before} {lines}")
    feeds = {"z": np.concatenate([X["x"], np.full((1, 4, 8), 1e3) * ([1, -1] * 4)]).astype(np.float32)}
    wanted = run(found, feeds)
    assert fuse(found).counts == {"fused": 1}
    assert op_types(found)[-1] == ("LogSoftmax" if lines in UNSTABLE_LOG.values() else "Softmax")
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize("lines", [*UNSTABLE.values(), *UNSTABLE_LOG.values()], ids=[*UNSTABLE, *UNSTABLE_LOG])
@pytest.mark.parametrize(
    "before", ["", "x = Relu(z)", "t = Tanh(z) x = Mul(t, high)", "t = Tanh(z) x = Div(t, small)", "x = Clip(z, low)"]
)
def test_a_value_that_may_overflow(lines: str, before: str) -> None:
    result = fuse(net(f"{before} {lines}", high=np.array(31, np.float32)))
    assert UNDEFINED in {skip.reason for skip in result.skips}
    assert result.modified == (lines == UNSTABLE_LOG["log of a quotient"])
    forced = net(f"{before} {lines}")
    name = "z" if before else "x"
    wanted = run(forced, {name: X["x"]})
    assert fuse(forced, unbounded=True).counts == {"fused": 1}
    assert_close(wanted, run(forced, {name: X["x"]}))


@pytest.mark.parametrize("lines", [*STABLE.values(), *STABLE_LOG.values()], ids=[*STABLE, *STABLE_LOG])
@pytest.mark.parametrize("value", [1e3, -1e3, 1e-40, np.inf, -np.inf, np.nan])
def test_extreme_values(lines: str, value: float) -> None:
    found = net(lines)
    feeds = {"x": np.full((2, 4, 8), value, np.float32)}
    feeds["x"][1, :, 0] = 0
    wanted = run(found, feeds)
    assert fuse(found).modified
    rounding = 1e-6 if "Add" not in lines else 1e-4  # the logarithm loses digits when the maximum is added to it
    np.testing.assert_allclose(run(found, feeds)[0], wanted[0], rtol=rounding)


@pytest.mark.parametrize(("opset", "modified"), [(11, False), (13, True), (18, True)])
def test_an_axis_in_the_middle(opset: int, modified: bool) -> None:
    lines = PLAIN.replace("ReduceMax<axes = [-1]>", "ReduceMax<axes = [1]>") if opset < 18 else PLAIN
    found = net(lines, opset, axes=np.array([1]))
    wanted = run(found, X)
    result = fuse(found)
    assert result.modified == modified
    if not modified:
        assert [s.reason for s in result.skips] == ["not over the last axis, which Softmax needs below opset 13"]
    assert_close(wanted, run(found, X))


@pytest.mark.parametrize("opset", [9, 11])
def test_an_axis_before_dimensions_of_size_1(opset: int) -> None:
    found = net(PLAIN.replace("[-1]", "[1]"), opset, shape="N, 4, 1, 1", axes=np.array([1]))
    feeds = {"x": random(3, 4, 1, 1)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize(("opset", "axis"), [(11, 1), (11, None), (13, 1), (13, None)])
def test_the_log_of_a_softmax_keeps_its_axis(opset: int, axis: int | None) -> None:
    """Below opset 13 both take all axes from theirs on; the default is another, too."""
    attribute = "" if axis is None else f"<axis = {axis}>"
    found = net(f"p = Softmax{attribute}(x) y = Log(p)", opset)
    wanted = run(found, X)
    assert fuse(found, unbounded=True).modified
    assert op_types(found) == ["LogSoftmax"]
    assert_close(wanted, run(found, X))


@pytest.mark.parametrize(
    ("lines", "axes", "reason"),
    [
        (PLAIN, [1], "the maximum is over other axes than the sum"),
        (PLAIN.replace("[-1]", "[1, 2]"), [1, 2], "over several axes"),
        (PLAIN.replace("[-1]", "[1]").replace("ReduceSum(e", "ReduceSum<keepdims = 0>(e"), [1], "the axes are not"),
        (PLAIN.replace("ReduceMax<axes = [-1]>", "ReduceMax"), [-1], "the axes are not constant, or not kept"),
    ],
)
def test_near_misses(lines: str, axes: list[int], reason: str) -> None:
    result = fuse(net(lines, axes=np.array(axes), shape="4, 4, 4"))
    assert not result.modified
    assert len(result.skips) == 1
    assert result.skips[0].reason.startswith(reason)


def test_float16_is_left_alone() -> None:
    assert [s.reason for s in fuse(net(PLAIN, dtype="float16")).skips] == ["not float32 or float64"]


@pytest.mark.parametrize(
    ("output", "line", "reason"),
    [
        ("e", "", "an intermediate value is a graph output"),
        ("z", "z = Relu(e)", "something else reads an intermediate value"),
    ],
)
def test_values_inside_that_are_needed_elsewhere(output: str, line: str, reason: str) -> None:
    text = f"g (float[3, 8] x) => (float[3, 8] y, float[3, 8] {output}) {{ {PLAIN} {line} }}"
    result = fuse(model(text, 13, axes=np.array([-1])))
    assert not result.modified
    assert [s.reason for s in result.skips] == [reason]


def test_several_consumers_and_shared_axes() -> None:
    found = net(PLAIN.replace("y =", "w =") + " t = ReduceSum(w, axes) y = Mul(w, t)")
    wanted = run(found, X)
    assert fuse(found).modified
    assert op_types(found) == ["Softmax", "ReduceSum", "Mul"]
    assert_close(wanted, run(found, X))


def test_inside_a_subgraph() -> None:
    text = f"""g (bool b, float[3, 8] x) => (float[3, 8] z) {{
        z = If (b) <
            then_branch = t () => (float[3, 8] y) {{ {PLAIN} }},
            else_branch = f () => (float[3, 8] g) {{ g = Relu(x) }}
        >
    }}"""
    found = model(text, 13, axes=np.array([-1]))
    feeds = {"b": np.array(True), "x": random(3, 8)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    assert_close(wanted, run(found, feeds))


def test_unknown_sizes_and_no_elements() -> None:
    found = net(PLAIN, shape="N, M, C")
    wanted = run(found, X)
    assert fuse(found).modified
    assert_close(wanted, run(found, X))
    assert run(found, {"x": random(0, 4, 8)})[0].shape == (0, 4, 8)


@pytest.mark.parametrize(("opset", "axis", "reason"), [(11, 1, "the shape is not known"), (11, -1, ""), (13, 1, "")])
def test_an_unknown_rank(opset: int, axis: int, reason: str) -> None:
    lines = PLAIN.replace("-1", str(axis)).replace("(x", "(t")
    total = "ReduceSum(e, axes)" if opset >= 13 else f"ReduceSum<axes = [{axis}]>(e)"
    lines = lines.replace("ReduceSum(e, axes)", total)
    text = f"g (float[N, 4] x, int64[R] shape) => (float[A, B] y) {{ t = Reshape(x, shape) {lines} }}"
    found = model(text, opset, **({"axes": np.array([axis])} if opset >= 13 else {}))
    found.graph.node(0).outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    feeds = {"x": random(3, 4), "shape": np.array([2, 6])}
    wanted = run(found, feeds)
    result = fuse(found)
    assert [s.reason for s in result.skips] == ([reason] if reason else [])
    assert_close(wanted, run(found, feeds))

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.fusion.convert_reduce_mean import ConvertReduceMean
from tests.models import Array, assert_close, check, model, nodes, op_types, random, run

AXES: Array = np.array([2, 3], np.int64)


def convert(found: ir.Model) -> PassResult:
    infer_shapes(found)
    result = ConvertReduceMean()(found)
    check(found)
    assert not ConvertReduceMean()(found).modified
    return result


def net(line: str, shape: str = "N, 3, 8, 9", opset: int = 13, rank: int = 4, dtype: str = "float") -> ir.Model:
    output = ", ".join("ABCD"[:rank])
    weights = {"k": AXES} if "k)" in line else {}
    return model(
        f"g ({dtype}[{shape}] x) => ({dtype}[{output}] y) {{ a = Neg(x) b = {line} y = Neg(b) }}", opset, **weights
    )


FORMS = {
    "attribute": (13, "ReduceMean<axes = [2, 3]>(a)", 4),
    "first opset": (7, "ReduceMean<axes = [2, 3], keepdims = 1>(a)", 4),
    "from the end": (13, "ReduceMean<axes = [-1, -2]>(a)", 4),
    "other order": (13, "ReduceMean<axes = [3, 2]>(a)", 4),
    "axes not kept": (13, "ReduceMean<axes = [2, 3], keepdims = 0>(a)", 2),
    "axes not kept, first opset": (7, "ReduceMean<axes = [-2, 3], keepdims = 0>(a)", 2),
    "input": (18, "ReduceMean(a, k)", 4),
    "input, axes not kept": (18, "ReduceMean<keepdims = 0>(a, k)", 2),
}


@pytest.mark.parametrize(("opset", "line", "rank"), FORMS.values(), ids=FORMS.keys())
def test_every_form(opset: int, line: str, rank: int) -> None:
    found = net(line, opset=opset, rank=rank)
    feeds = [{"x": random(*shape)} for shape in ((2, 3, 8, 9), (0, 3, 8, 9))]
    wanted = [run(found, f) for f in feeds]
    assert convert(found).counts == {"fused": 1}
    assert op_types(found) == ["Neg", "GlobalAveragePool", *(["Flatten"] if rank == 2 else []), "Neg"]
    assert not found.graph.initializers
    for want, f in zip(wanted, feeds, strict=True):
        assert [w.shape for w in want] == [y.shape for y in run(found, f)]
        assert_close(want, run(found, f))


@pytest.mark.parametrize(
    ("line", "shape", "dtype", "rank", "reason"),
    [
        ("ReduceMean<axes = [1, 2]>(a)", "N, 3, 8, 9", "float", 4, "not over height and width"),
        ("ReduceMean<axes = [3]>(a)", "N, 3, 8, 9", "float", 4, "not over height and width"),
        ("ReduceMean(a)", "N, 3, 8, 9", "float", 4, "not over height and width"),
        ("ReduceMean<axes = [2]>(a)", "N, 3, 8", "float", 3, "not four dimensions"),
        ("ReduceMean<axes = [2, 3]>(a)", "N, 3, H, 9", "float", 4, "channels, height or width are not known, or 0"),
        ("ReduceMean<axes = [2, 3]>(a)", "1, 3, 0, 9", "float", 4, "channels, height or width are not known, or 0"),
        ("ReduceMean<axes = [2, 3]>(a)", "N, 3, 8, 9", "double", 4, "not float32"),
        ("ReduceMean<axes = [2, 3]>(a)", "N, 3, 8, 9", "float16", 4, "not float32"),
    ],
)
def test_near_misses(line: str, shape: str, dtype: str, rank: int, reason: str) -> None:
    result = convert(net(line, shape, rank=rank, dtype=dtype))
    assert not result.modified
    assert [skip.reason for skip in result.skips] == [reason]


def test_axes_that_are_computed() -> None:
    found = model("g (float[N, 3, 8, 9] x, int64[2] k) => (float[A, B, C, D] y) { y = ReduceMean(x, k) }", 18)
    assert [skip.reason for skip in convert(found).skips] == ["not over height and width"]


def test_other_reductions_stay() -> None:
    result = convert(net("ReduceMax<axes = [2, 3]>(a)"))
    assert not result.modified and not result.skips


def test_axes_that_others_read_stay() -> None:
    found = model("g (float[1, 3, 8, 9] x) => (float[A, B] y, int64[2] z) { y = ReduceMean<keepdims = 0>(x, k) z = Neg(k) }",
                  18, k=AXES)  # fmt: skip
    feeds = {"x": random(1, 3, 8, 9)}
    wanted = run(found, feeds)
    assert convert(found).modified
    assert list(found.graph.initializers) == ["k"] and found.graph.outputs[0].name == "y"
    assert_close(wanted[:1], run(found, feeds)[:1])


def test_several_readers_and_a_graph_output() -> None:
    found = model(
        "g (float[1, 3, 8, 9] x) => (float[A, B, C, D] m, float[E, F, G, H] y) { m = ReduceMean<axes = [2, 3]>(x) y = Mul(x, m) }",
        13,
    )
    feeds = {"x": random(1, 3, 8, 9)}
    wanted = run(found, feeds)
    assert convert(found).modified
    assert op_types(found) == ["GlobalAveragePool", "Mul"]
    assert_close(wanted, run(found, feeds))


def test_inside_a_subgraph() -> None:
    text = """g (bool c, float[1, 3, 8, 9] x) => (float[A, B] y) {
        y = If (c) <
            then_branch = t () => (float[A, B] a) { a = ReduceMean<axes = [2, 3], keepdims = 0>(x) },
            else_branch = f () => (float[A, B] b) { b = ReduceMax<axes = [2, 3], keepdims = 0>(x) }
        >
    }"""
    found = model(text, 13)
    feeds = {"c": np.array(True), "x": random(1, 3, 8, 9)}
    wanted = run(found, feeds)
    assert convert(found).modified
    assert [n.op_type for n in nodes(found)] == ["If", "GlobalAveragePool", "Flatten", "ReduceMax"]
    assert_close(wanted, run(found, feeds))

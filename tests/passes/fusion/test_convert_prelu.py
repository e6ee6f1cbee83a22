from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.convert_prelu import ConvertPrelu
from tests.models import Array, check, model, nodes, op_types, random, run, same_bits

NUMPY = {"float": np.float32, "double": np.float64, "float16": np.float16}
X = random(2, 3, 4, 5)
X[0, 0, 0] = [0, -0.0, np.inf, -np.inf, np.nan]


def net(slope: Array, dtype: str = "float", opset: int = 17) -> ir.Model:
    graph = f"g ({dtype}[N, 3, 4, 5] x) => ({dtype}[N, 3, 4, 5] y) {{ y = PRelu(x, s) }}"
    return model(graph, opset, s=slope.astype(NUMPY[dtype]))


def convert(found: ir.Model) -> PassResult:
    result = ConvertPrelu()(found)
    check(found)
    assert not ConvertPrelu()(found).modified
    return result


def reasons(result: PassResult) -> set[str]:
    return {skip.reason for skip in result.skips}


@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (1, 3, 1, 1), (5,), (3, 4, 5)], ids=str)
@pytest.mark.parametrize("opset", [7, 9, 16])
@pytest.mark.parametrize("slope", [0.25, 0.0, -0.0, -1.5, 1.0])
def test_equal_slopes(shape: tuple[int, ...], opset: int, slope: float) -> None:
    found = net(np.full(shape, slope), opset=opset)
    wanted = run(found, {"x": X})
    assert convert(found).counts == {"fused": 1}
    assert op_types(found) == ["LeakyRelu"]
    assert not found.graph.initializers
    assert same_bits(wanted, run(found, {"x": X}))


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_dtypes(dtype: str) -> None:
    found = net(np.full((3, 1, 1), 0.375), dtype)
    x = {"x": X.astype(NUMPY[dtype])}
    wanted = run(found, x)
    assert convert(found).modified
    assert same_bits(wanted, run(found, x))


@pytest.mark.parametrize(
    ("slope", "dtype", "reason"),
    [
        (np.array([0.1, 0.2, 0.1]).reshape(3, 1, 1), "float", "the slopes differ"),
        (np.array([0.0, -0.0, 0.0]).reshape(3, 1, 1), "float", "the slopes differ"),
        (np.array(np.nan), "float", "the slopes differ"),
        (np.array(np.inf), "float", "the slope is not finite"),
        (np.array(0.1), "double", "float32 does not hold the slope"),
        (np.array(1e300), "double", "float32 does not hold the slope"),
    ],
)
def test_near_misses(slope: Array, dtype: str, reason: str) -> None:
    result = convert(net(slope, dtype))
    assert not result.modified
    assert reasons(result) == {reason}


def test_integers_are_left_alone() -> None:
    found = model("g (int32[3] x) => (int32[3] y) { y = PRelu(x, s) }", s=np.array(2, np.int32))
    assert reasons(convert(found)) == {"not float16, float32 or float64"}


def test_a_slope_that_is_fed_is_left_alone() -> None:
    assert not convert(model("g (float[3] x, float[3] s) => (float[3] y) { y = PRelu(x, s) }")).modified


def test_a_shared_slope_stays_for_its_other_reader_in_a_subgraph() -> None:
    graph = """g (bool c, float[3] x) => (float[3] y) {
        y = If (c) <
            then_branch = t () => (float[3] a) { p = PRelu(x, s) a = Mul(p, s) },
            else_branch = f () => (float[3] b) { b = Relu(x) }
        >
    }"""
    found = model(graph, s=np.full(3, 0.5, np.float32))
    feeds = {"c": np.array(True), "x": random(3)}
    wanted = run(found, feeds)
    assert convert(found).modified
    assert "LeakyRelu" in {n.op_type for n in nodes(found)}
    assert same_bits(wanted, run(found, feeds))


def test_several_readers_and_a_graph_output() -> None:
    found = model(
        "g (float[3] x) => (float[3] y, float[3] z) { y = PRelu(x, s) z = Exp(y) }", s=np.array(0.3, np.float32)
    )
    wanted = run(found, {"x": X[0, 0, 1, :3]})
    assert convert(found).modified
    assert [v.name for v in found.graph.outputs] == ["y", "z"]
    assert same_bits(wanted, run(found, {"x": X[0, 0, 1, :3]}))

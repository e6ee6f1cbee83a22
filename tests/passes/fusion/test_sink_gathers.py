from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.fusion.sink_gathers import SinkGathers
from tests.models import Array, assert_close, check, model, op_types, random, run

TABLE = random(6, 4)
ROW = np.abs(random(4, seed=1)) + 1
I = np.array([[0, 5, -1], [3, 3, -6]])
GELU = """q = Mul(g, g) p = Mul(q, g) s = Mul(p, a) t = Add(g, s) u = Tanh(t) o = Add(u, one) y = Mul(g, o)"""
NUMBERS = {"a": np.array(0.04, np.float32), "one": np.array([1.0], np.float32), "r": ROW}


def net(lines: str, dtype: Any = np.float32, **weights: Array) -> ir.Model:
    numbers: dict[str, Array] = {k: v.astype(dtype) for k, v in {**NUMBERS, "w": TABLE, **weights}.items()}
    used = {k: v for k, v in numbers.items() if k == "w" or f", {k})" in lines or f"({k}," in lines}
    kind = {np.float32: "float", np.float64: "double", np.float16: "float16"}[dtype]
    text = f"g (int64[M, N] i) => ({kind}[M, N, 4] y) {{ g = Gather(w, i) {lines} }}"
    found = model(text, **used)
    for node in found.graph:
        node.outputs[0].shape = ir.Shape(["M", "N", 4])
    return found


def sink(found: ir.Model) -> PassResult:
    result = SinkGathers()(found)
    check(found)
    assert not SinkGathers()(found).modified
    return result


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "lines", ["y = Relu(g)", "y = Mul(g, r)", "y = Div(r, g)", "c = Add(g, a) y = Sigmoid(c)", GELU]
)
def test_elementwise(lines: str, dtype: Any) -> None:
    found = net(lines, dtype)
    wanted = run(found, {"i": I})
    assert sink(found).counts == {"operators on tables": lines.count("=")}
    assert op_types(found).count("Gather") == 1 and op_types(found)[-1] == "Gather"
    assert_close(wanted, run(found, {"i": I}))
    Canonicalize()(found)
    assert op_types(found) == ["Gather"]
    assert len(found.graph.initializers) == 1
    assert_close(wanted, run(found, {"i": I}))


@pytest.mark.parametrize("shape", [(), (1,), (4,), (1, 4), (1, 1, 4), (1, 1, 1)])
def test_operands_of_every_rank(shape: tuple[int, ...]) -> None:
    found = net("y = Mul(g, k)", k=random(*shape, seed=3))
    wanted = run(found, {"i": I})
    assert sink(found).modified
    assert_close(wanted, run(found, {"i": I}))


@pytest.mark.parametrize("shape", [(3, 1), (1, 3, 1), (2, 1, 1), (1, 1, 1, 4), (3, 4)])
def test_operands_that_are_not_one_a_column(shape: tuple[int, ...]) -> None:
    found = model(
        "g (int64[2, 3] i) => (float y) { g = Gather(w, i) m = Mul(g, k) y = ReduceSum<keepdims = 0>(m) }",
        w=TABLE,
        k=random(*shape),
    )
    next(iter(found.graph)).outputs[0].shape = ir.Shape([2, 3, 4])
    assert not sink(found).modified


def test_a_value_that_is_read_elsewhere_gets_a_gather() -> None:
    found = model(
        "g (int64[2, 3] i) => (float[2, 3, 4] y, float[2, 3, 4] z, float[2, 3, 4] g) "
        "{ g = Gather(w, i) z = Relu(g) y = Neg(z) }",
        w=TABLE,
    )
    wanted = run(found, {"i": I})
    assert sink(found).modified
    assert op_types(found).count("Gather") == 3
    assert [v.name for v in found.graph.outputs] == ["y", "z", "g"]
    assert_close(wanted, run(found, {"i": I}))


def test_two_tables_and_the_same_indices() -> None:
    found = model(
        "g (int64[2, 3] i) => (float[2, 3, 4] y) { g = Gather(w, i) h = Gather(v, i) y = Add(g, h) }",
        w=TABLE,
        v=random(6, 4, seed=2),
    )
    for node in found.graph:
        node.outputs[0].shape = ir.Shape([2, 3, 4])
    wanted = run(found, {"i": I})
    assert sink(found).modified
    assert op_types(found) == ["Add", "Gather"]
    assert_close(wanted, run(found, {"i": I}))


def test_tables_of_different_height_are_not_added() -> None:
    found = model(
        "g (int64[2, 3] i) => (float[2, 3, 4] y) { g = Gather(w, i) h = Gather(v, i) y = Add(g, h) }",
        w=TABLE,
        v=random(7, 4, seed=2),
    )
    for node in found.graph:
        node.outputs[0].shape = ir.Shape([2, 3, 4])
    assert not sink(found).modified


@pytest.mark.parametrize(
    "lines",
    [
        "g = Gather(w, i) h = Gather(w, j) y = Add(g, h)",
        "g = Gather(w, i) h = Cast<to = 1>(j) k = Unsqueeze(h, two) y = Mul(g, k)",
        "g = Gather(w, i) n = Relu(g) s = Transpose<perm = [1, 0]>(w) q = Shape(s) y = Identity(n)",
    ],
)
def test_other_operands_and_other_readers(lines: str) -> None:
    numbers = {"w": TABLE, **({"two": np.array([2])} if "two" in lines else {})}
    found = model(f"g (int64[2, 3] i, int64[2, 3] j) => (float[2, 3, 4] y) {{ {lines} }}", **numbers)
    next(iter(found.graph)).outputs[0].shape = ir.Shape([2, 3, 4])
    assert not sink(found).modified


def test_float16_is_left_alone() -> None:
    assert not sink(net("y = Relu(g)", np.float16)).modified


def test_another_axis() -> None:
    found = model("g (int64[2] i) => (float[6, 2] y) { g = Gather<axis = 1>(w, i) y = Relu(g) }", w=TABLE)
    next(iter(found.graph)).outputs[0].shape = ir.Shape([6, 2])
    assert not sink(found).modified


def test_in_a_subgraph() -> None:
    found = model(
        """g (bool c, int64[2, 3] i) => (float[2, 3, 4] z) {
            z = If (c) <
                then_branch = t () => (float[2, 3, 4] y) { g = Gather(w, i) y = Relu(g) },
                else_branch = f () => (float[2, 3, 4] b) { b = Identity(k) }
            >
        }""",
        w=TABLE,
        k=random(2, 3, 4),
    )
    for graph in found.graphs():
        for node in graph:
            if node.op_type == "Gather":
                node.outputs[0].shape = ir.Shape([2, 3, 4])
    feeds = {"c": np.array(True), "i": I}
    wanted = run(found, feeds)
    assert sink(found).modified
    assert_close(wanted, run(found, feeds))

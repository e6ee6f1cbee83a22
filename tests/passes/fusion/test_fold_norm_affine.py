from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.fold_norm_affine import FoldNormAffine
from tests.models import Array, assert_close, check, model, nodes, op_types, random, run

X = random(2, 4, 3, 5, seed=5)
C = (1.5 + 0.3 * random(4, seed=3)).reshape(4, 1, 1)
NORM = {"g": 1 + 0.1 * random(4), "h": random(4, seed=1), "m": random(4, seed=2), "v": np.abs(random(4, seed=3)) + 0.5}
T = "t = BatchNormalization<epsilon = 0.01>(x, g, h, m, v)"


def net(lines: str, opset: int = 17, /, **weights: Array) -> ir.Model:
    graph = f"g (float[N, 4, H, W] x) => (float[N, 4, H, W] y) {{ {T} {lines} }}"
    return model(graph, opset, **{**NORM, **weights})


def fold(found: ir.Model) -> PassResult:
    result = FoldNormAffine()(found)
    check(found)
    assert not FoldNormAffine()(found).modified
    return result


def reasons(found: ir.Model) -> list[str]:
    result = fold(found)
    assert not result.modified
    return [skip.reason for skip in result.skips]


@pytest.mark.parametrize("opset", [9, 13, 14, 15, 17])
@pytest.mark.parametrize(
    ("lines", "count"),
    [
        ("y = Mul(t, c)", 1),
        ("y = Mul(c, t)", 1),
        ("y = Add(t, c)", 1),
        ("y = Sub(t, c)", 1),
        ("y = Sub(c, t)", 1),
        ("y = Div(t, c)", 1),
        ("y = BatchNormalization(t, m, g, h, v)", 1),
        ("p = Mul(t, c) y = Add(p, c)", 2),
        ("p = Mul(t, c) q = Sub(c, p) r = BatchNormalization(q, m, g, h, v) y = Div(r, c)", 4),
    ],
)
def test_operators_and_chains(lines: str, count: int, opset: int) -> None:
    found = net(lines, opset, c=C)
    wanted = run(found, {"x": X})
    assert fold(found).counts == {"fused": count}
    assert op_types(found) == ["BatchNormalization"]
    assert found.graph.outputs[0].name == "y"
    assert len(set(found.graph.initializers) - {"c"}) == 4
    assert all(v.uses() for v in found.graph.initializers.values()) or "c)" not in lines
    assert_close(wanted, run(found, {"x": X}))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1), (4, 1, 1), (1, 4, 1, 1)], ids=str)
def test_shapes_of_constants(shape: tuple[int, ...]) -> None:
    found = net("y = Mul(t, c)", c=random(int(np.prod(shape)), seed=3).reshape(shape))
    wanted = run(found, {"x": X})
    assert fold(found).modified
    assert_close(wanted, run(found, {"x": X}))


@pytest.mark.parametrize(
    ("lines", "c", "reason"),
    [
        ("y = Mul(t, c)", random(5), "constant is not scalar or per channel"),
        ("y = Mul(t, c)", random(4, 1, 5), "constant is not scalar or per channel"),
        ("y = Div(c, t)", C, "divides by the activation"),
        ("y = Div(t, c)", 0 * C, "divides by zero"),
        ("y = Mul(t, c)", np.float32(np.nan) * C, "folded parameters are not finite"),
        ("y = Mul(t, c)", np.full(1, 3e38, np.float32), "folded parameters are not finite"),
        ("p = Mul(t, c) y = Add(p, t)", C, "something else reads an intermediate value"),
    ],
)
def test_near_misses(lines: str, c: Array, reason: str) -> None:
    shift = np.full(4, 3, np.float32)  # times 3e38, too large
    assert reasons(net(lines, c=c, h=shift if c.size == 1 else NORM["h"])) == [reason]


def test_an_operand_that_enlarges_the_result() -> None:
    graph = f"g (float[1, 4, 3, 5] x) => (float[1, 1, 4, 3, 5] y) {{ {T} y = Mul(t, c) }}"
    assert reasons(model(graph, c=random(1, 1, 4, 1, 1), **NORM)) == ["broadcasting enlarges the shape"]


def test_parameters_that_are_inputs() -> None:
    graph = f"g (float[2, 4, 3, 5] x, float[4] g) => (float[2, 4, 3, 5] y) {{ {T} y = Mul(t, c) }}"
    weights = {k: v for k, v in NORM.items() if k != "g"}
    assert reasons(model(graph, c=C, **weights)) == ["operand is not constant"]


def test_training_mode() -> None:
    graph = """g (float[2, 4, 3, 5] x) => (float[2, 4, 3, 5] y) {
        t, a, b = BatchNormalization<training_mode = 1>(x, g, h, m, v) y = Mul(t, c) }"""
    assert reasons(model(graph, c=C, **NORM)) == ["BatchNormalization in training mode"]


def test_an_unknown_number_of_dimensions() -> None:
    found = net("y = Mul(t, c)", c=C)
    found.graph.inputs[0].shape = None
    assert [s.reason for s in FoldNormAffine()(found).skips] == ["the number of dimensions is not known"]


def test_a_graph_output_between() -> None:
    graph = f"g (float[2, 4, 3, 5] x) => (float[2, 4, 3, 5] y, float[2, 4, 3, 5] t) {{ {T} y = Mul(t, c) }}"
    assert reasons(model(graph, c=C, **NORM)) == ["an intermediate value is a graph output"]


def test_shared_parameters_stay_for_their_other_readers() -> None:
    found = net("p = Mul(t, c) q = Relu(p) y = BatchNormalization(q, g, h, m, v)", c=C)
    wanted = run(found, {"x": X})
    assert fold(found).modified
    assert op_types(found) == ["BatchNormalization", "Relu", "BatchNormalization"]
    assert_close(wanted, run(found, {"x": X}))


@pytest.mark.parametrize(("name", "dtype"), [("float16", np.float16), ("double", np.float64)])
def test_other_element_types(name: str, dtype: type) -> None:
    graph = f"g ({name}[N, 4, H, W] x) => ({name}[N, 4, H, W] y) {{ {T} y = Mul(t, c) }}"
    found = model(graph, **{k: v.astype(dtype) for k, v in {**NORM, "c": C}.items()})
    feeds: dict[str, Array] = {"x": X.astype(dtype)}
    wanted = run(found, feeds)
    assert fold(found).modified
    assert_close(wanted, run(found, feeds))


def test_an_old_opset() -> None:
    assert reasons(net("y = Relu(t)", 8)) == ["opset below 9"]


def test_in_a_subgraph() -> None:
    found = model(
        f"""g (bool k, float[2, 4, 3, 5] x) => (float[2, 4, 3, 5] y) {{ y = If(k) <
            then_branch = t () => (float[2, 4, 3, 5] a) {{ {T} a = Mul(t, c) }},
            else_branch = e () => (float[2, 4, 3, 5] b) {{ b = Neg(x) }}> }}""",
        c=C,
        **NORM,
    )
    feeds = {"k": np.array(True), "x": X}
    wanted = run(found, feeds)
    assert fold(found).modified
    assert "Mul" not in {node.op_type for node in nodes(found)}
    assert_close(wanted, run(found, feeds))

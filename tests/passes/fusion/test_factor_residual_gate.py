from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.factor_residual_gate import FactorResidualGate
from tests.models import assert_close, check, model, op_types, random, run

DTYPES = {"float": np.float32, "double": np.float64, "float16": np.float16}


def net(
    lines: str, *, x: str = "N, 4, 8, 8", gate: str = "N, 4, 1, 1", dtype: str = "float", more: str = ""
) -> ir.Model:
    """``g`` is the sigmoid of a second input."""
    return model(f"g ({dtype}[{x}] x, {dtype}[{gate}] v) => ({dtype}[{x}] y{more}) {{ g = Sigmoid(v) {lines} }}")


def factor(found: ir.Model) -> PassResult:
    for node in found.graph:
        if node.op_type in ("Sigmoid", "Tanh", "HardSigmoid"):
            node.outputs[0].shape, node.outputs[0].type = node.inputs[0].shape, node.inputs[0].type  # type: ignore[union-attr]
    result = FactorResidualGate()(found)
    check(found)
    assert not FactorResidualGate()(found).modified
    return result


@pytest.mark.parametrize("lines", ["m = Mul(x, g) y = Add(x, m)", "m = Mul(g, x) y = Add(m, x)"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_order_and_type(lines: str, dtype: str) -> None:
    found = net(lines, dtype=dtype)
    feeds = {"x": random(2, 4, 8, 8).astype(DTYPES[dtype]), "v": random(2, 4, 1, 1, seed=1).astype(DTYPES[dtype])}
    wanted = run(found, feeds)
    assert factor(found).counts == {"fused": 1}
    assert op_types(found) == ["Sigmoid", "Add", "Mul"]
    assert_close(wanted, run(found, feeds))


def test_a_gate_a_sample_and_of_a_lower_rank() -> None:
    found = net("m = Mul(x, g) y = Add(x, m)", x="3, 4, 5", gate="4, 1")
    feeds = {"x": random(3, 4, 5), "v": random(4, 1, seed=1)}
    wanted = run(found, feeds)
    assert factor(found).modified
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize(
    ("lines", "shapes", "reason"),
    [
        ("m = Mul(x, g) y = Add(x, m)", {"x": "2, 3", "gate": "2, 3"}, "the gate is not known to be smaller"),
        ("m = Mul(x, g) y = Add(x, m)", {"x": "N, M", "gate": "N, K"}, "the gate is not known to be smaller"),
        ("t = Tanh(v) m = Mul(x, t) y = Add(x, m)", {"x": "2, 3", "gate": "2, 1"}, "the gate may be negative"),
        ("m = Mul(x, g) y = Add(x, m)", {"x": "1, 1", "gate": "1, 1"}, "the gate is not known to be smaller"),
    ],
)
def test_near_misses(lines: str, shapes: dict[str, str], reason: str) -> None:
    result = factor(net(lines, **shapes))
    assert not result.modified
    assert any(reason in skip.reason for skip in result.skips)


def test_a_product_that_is_read_elsewhere_or_an_output() -> None:
    elsewhere = net("m = Mul(x, g) y = Add(x, m) z = Relu(m)", x="2, 3", gate="2, 1", more=", float[2, 3] z")
    assert [s.reason for s in factor(elsewhere).skips] == ["something else reads an intermediate value"]
    output = net("m = Mul(x, g) y = Add(x, m)", x="2, 3", gate="2, 1", more=", float[2, 3] m")
    assert [s.reason for s in factor(output).skips] == ["an intermediate value is a graph output"]


def test_inside_a_subgraph() -> None:
    found = model("""g (bool c, float[2, 3] x, float[2, 1] v) => (float[2, 3] y) {
        g = Sigmoid(v)
        y = If (c) <
            then_branch = t () => (float[2, 3] a) { m = Mul(x, g) a = Add(x, m) },
            else_branch = f () => (float[2, 3] b) { b = Relu(x) }
        >
    }""")
    feeds = {"c": np.array(True), "x": random(2, 3), "v": random(2, 1)}
    wanted = run(found, feeds)
    assert factor(found).modified
    assert_close(wanted, run(found, feeds))

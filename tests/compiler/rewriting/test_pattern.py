from __future__ import annotations

import onnx_ir as ir
import pytest

from tamis.compiler.rewriting.pattern import Const, Op, match
from tests.models import Array, model, random


def last(graph: str, **weights: Array) -> ir.Node:
    return list(model(graph, **weights).graph)[-1]


def test_binds_values_nodes_and_constants() -> None:
    root = last("g (float[2] x) => (float[2] y) { a = Relu(x) y = Mul(a, c) }", c=random(2))
    found = match(Op("Mul", Op("Relu", "x", name="relu"), Const("c")), root)
    assert found is not None
    assert (found["x"].name, found["c"].name) == ("x", "c")
    assert found.named["relu"].op_type == "Relu"
    assert [node.op_type for node in found.nodes] == ["Mul", "Relu"]
    assert found.scalar("c") is None


@pytest.mark.parametrize("line", ["y = Mul(x, s)", "y = Mul(s, x)"])
def test_commutative_operators_match_both_ways(line: str) -> None:
    root = last(f"g (float[2] x) => (float[2] y) {{ s = Sigmoid(x) {line} }}")
    assert match(Op("Mul", "x", Op("Sigmoid", "x")), root) is not None


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (Op("Div", Op("Sigmoid", "x"), "x"), "order matters"),
        (Op("Div", "x", Op("Relu", "x")), "another operator"),
        (Op("Div", "x", Op("Sigmoid", Op("Relu", "x"))), "an input is no node"),
        (Op("Div", Const("x"), Op("Sigmoid", "z")), "not a constant"),
        (Op("Div", "x"), "too few inputs"),
        (Op("Div", "x", "z", "w"), "too many inputs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_does_not_match(pattern: Op, why: str) -> None:
    root = last("g (float[2] x) => (float[2] y) { s = Sigmoid(x) y = Div(x, s) }")
    assert match(pattern, root) is None


def test_one_name_binds_one_value() -> None:
    root = last("g (float[2] x, float[2] z) => (float[2] y) { s = Sigmoid(z) y = Mul(x, s) }")
    assert match(Op("Mul", "x", Op("Sigmoid", "x")), root) is None
    assert match(Op("Mul", "x", Op("Sigmoid", "z")), root) is not None


def test_further_inputs_need_more() -> None:
    root = last("g (float[4] x) => (float[4] y) { y = Clip(x, a, b) }", a=random(), b=random())
    assert match(Op("Clip", "x"), root) is None
    assert match(Op("Clip", "x", more=True), root) is not None


def test_a_shared_node_stands_once() -> None:
    root = last("g (float[2] x) => (float[2] y) { s = Exp(x) y = Add(s, s) }")
    found = match(Op("Add", Op("Exp", "x"), Op("Exp", "x")), root)
    assert found is not None
    assert len(found.nodes) == 2

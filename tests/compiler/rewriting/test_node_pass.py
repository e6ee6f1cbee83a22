from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.node_pass import NodePass, producer_of, replace
from tamis.compiler.rewriting.rewrite_pass import Builder
from tests.models import check, model, op_types

NEG: frozenset[str] = frozenset({"Neg"})


class DropDoubleNegation(NodePass[PassOptions]):
    """Neg(Neg(x)) is x, unless ``x`` is the graph's input."""

    name = "drop-double-negation"
    stage = Stage.CANONICALIZE
    contract = Contract.EXACT
    op_types: ClassVar[frozenset[str]] = NEG

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        before = producer_of(node.inputs[0], node, NEG)
        if before is None:
            return False
        source = before.inputs[0]
        assert source is not None
        if source.producer() is None:
            return "it starts at an input"
        replace(node, source, build)
        return True


def test_simplifies_until_nothing_changes() -> None:
    found = model(
        "g (float[N] x) => (float[N] y) { a = Relu(x) b = Neg(a) c = Neg(b) d = Neg(c) e = Neg(d) y = Abs(e) }"
    )
    result = DropDoubleNegation()(found)
    check(found)
    assert result.modified and result.counts == {"simplified": 2}
    assert op_types(found) == ["Relu", "Abs"]
    assert not DropDoubleNegation()(found).modified


def test_reasons() -> None:
    result = DropDoubleNegation()(model("g (float[N] x) => (float[N] y) { a = Neg(x) y = Neg(a) }"))
    assert not result.modified
    assert [(skip.reason, skip.node) for skip in result.skips] == [("it starts at an input", "y")]


def test_a_name_that_is_taken_by_an_output_of_the_graph() -> None:
    found = model("g (float[N] x) => (float[N] y, float[N] a) { a = Relu(x) b = Neg(a) y = Neg(b) }")
    assert DropDoubleNegation()(found).modified
    check(found)
    assert op_types(found) == ["Relu", "Identity"]
    assert [v.name for v in found.graph.outputs] == ["y", "a"]


def test_old_opsets_are_left_alone() -> None:
    result = DropDoubleNegation()(model("g (float[N] x) => (float[N] y) { a = Relu(x) b = Neg(a) y = Neg(b) }", 6))
    assert [skip.reason for skip in result.skips] == ["opset below 7"]


def test_what_the_model_defines_itself_is_left_alone() -> None:
    found = model("g (float[N] x) => (float[N] y) { a = Relu(x) b = Neg(a) y = Neg(b) }")
    value = ir.Value(name="v")
    body = ir.Graph([value], [value], nodes=[], opset_imports={"": 17}, name="body")
    found.functions[("", "Neg", "")] = ir.Function("", "Neg", graph=body, attributes=[])
    assert not DropDoubleNegation()(found).modified

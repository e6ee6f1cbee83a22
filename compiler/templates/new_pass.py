"""A pass that removes pairs of Neg, and its test."""

from __future__ import annotations

PASS = '''"""Remove pairs of Neg that cancel each other. (An example: put your own rewrite in its place.)

::

    Neg(Neg(x))  ->  x

*Refuses*: a pair whose result is a graph output, since its name must stay.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage


class Options(PassOptions):
    """Options of ``${name}``."""


class ${pascal}(GraphPass[Options]):
    """Remove pairs of Neg that cancel each other.

    *Match*: a Neg whose input is computed by another Neg of the same graph.

    *Rewrite*: readers of the second Neg read the input of the first one.

    *Preserves*: bits; negation flips the sign and nothing else.

    *References*: ONNX operator specification, Neg.
    """

    name = "${name}"
    stage = Stage.${stage}
    contract = Contract.EXACT
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        removed, skips = 0, []
        for node in model.graph:
            source = _twice_negated(node)
            if source is None:
                continue
            result = node.outputs[0]
            if result.is_graph_output():
                skips.append(Skip("its result is a graph output", node.name or str(result.name)))
                continue
            result.replace_all_uses_with(source)
            model.graph.remove(node, safe=True)
            removed += 1
        return PassResult(model, modified=removed > 0, counts={"pairs removed": removed}, skips=tuple(skips))


def _twice_negated(node: ir.Node) -> ir.Value | None:
    """``x`` if ``node`` computes Neg(Neg(x))."""
    if not _is_neg(node) or node.inputs[0] is None:
        return None
    inner = node.inputs[0].producer()
    return inner.inputs[0] if inner is not None and inner.graph is node.graph and _is_neg(inner) else None


def _is_neg(node: ir.Node) -> bool:
    return node.op_type == "Neg" and node.domain == ""
'''

PASS_TEST = '''"""``${name}``: what it matches, what it leaves alone, and that a second run finds nothing."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from tamis.passes.${family}.${snake} import ${pascal}


def model(body: str) -> ir.Model:
    return ir.from_onnx_text(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] y) {{ {body} }}
    """)


def operators(found: ir.Model) -> list[str]:
    return [node.op_type for node in found.graph]


def test_a_pair_goes() -> None:
    given = model("a = Neg(x) b = Neg(a) y = Relu(b)")
    result = ${pascal}()(given)
    assert result.modified
    assert result.counts == {"pairs removed": 1}
    relu = given.graph[-1]
    assert relu.op_type == "Relu"
    assert relu.inputs[0] is given.graph.inputs[0]


@pytest.mark.parametrize("body", ["a = Neg(x) y = Relu(a)", "a = Neg(x) b = Abs(a) c = Neg(b) y = Relu(c)"])
def test_a_near_miss_stays(body: str) -> None:
    given = model(body)
    before = operators(given)
    assert not ${pascal}()(given).modified
    assert operators(given) == before


def test_a_first_neg_with_other_readers_stays() -> None:
    given = model("a = Neg(x) b = Neg(a) y = Add(a, b)")
    assert ${pascal}()(given).modified
    assert operators(given) == ["Neg", "Add"]


def test_a_pair_at_a_graph_output_stays_and_is_reported() -> None:
    given = model("a = Neg(x) y = Neg(a)")
    result = ${pascal}()(given)
    assert not result.modified
    assert [skip.reason for skip in result.skips] == ["its result is a graph output"]


def test_a_second_run_changes_nothing() -> None:
    given = model("a = Neg(x) b = Neg(a) y = Relu(b)")
    ${pascal}()(given)
    assert not ${pascal}()(given).modified
'''

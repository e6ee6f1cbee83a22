"""Digests change with every change, and only then."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.digest import model_digest, structure_signature
from tests.models import model, random

IF = """
g (float[2] x, bool go) => (float[2] y) {
  y = If(go) < then_branch = yes () => (float[2] a) { a = Add(x, W) }, else_branch = no () => (float[2] b) { b = Neg(x) } >
}
"""


def made() -> ir.Model:
    return model(IF, W=random(2))


def weight(m: ir.Model) -> None:
    m.graph.initializers["W"].const_value = ir.tensor(random(2, seed=1), name="W")


def attribute(m: ir.Model) -> None:
    branch = m.graph[0].attributes["else_branch"].as_graph()
    branch[0].attributes["alpha"] = ir.AttrFloat32("alpha", 0.5)


def operator(m: ir.Model) -> None:
    m.graph[0].attributes["else_branch"].as_graph()[0].op_type = "Abs"


def metadata(m: ir.Model) -> None:
    m.metadata_props["a"] = "b"


def shape(m: ir.Model) -> None:
    m.graph.inputs[0].shape = ir.Shape(["N"])


def rename(m: ir.Model) -> None:
    m.graph.outputs[0].name = "z"


def remove(m: ir.Model) -> None:
    node = m.graph[0].attributes["then_branch"].as_graph()[0]
    node.replace_input_with(1, node.inputs[0])


@pytest.mark.parametrize("change", [weight, attribute, operator, metadata, shape, rename, remove])
def test_any_change_changes_both(change: Callable[[ir.Model], None]) -> None:
    first = made()
    copy = first.clone()
    assert structure_signature(first) == structure_signature(copy)
    assert model_digest(first) == model_digest(copy)
    change(copy)
    assert structure_signature(first) != structure_signature(copy)
    assert model_digest(first) != model_digest(copy)


def test_content_counts_for_the_digest_not_where_it_lies() -> None:
    text = "g (float[1, 40] x) => (float[1, 30] y) { y = MatMul(x, W) }"
    a, b = model(text, W=random(40, 30)), model(text, W=random(40, 30))
    assert model_digest(a) == model_digest(b)
    assert model_digest(a) != model_digest(model(text, W=np.zeros((40, 30), np.float32)))

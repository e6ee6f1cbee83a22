"""Write activations without integer kernel as operators that have one; the function stays the same.

::

    HardSwish(x)   ->   x * HardSigmoid<1/6, 1/2>(x)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import onnx_ir as ir

from tamis.compiler.rewriting.graph_edit import Names, bypass
from tamis.compiler.rewriting.rewrite_pass import Builder


@dataclass(frozen=True)
class IntegerForm:
    """What stands for one activation.

    Args:
        name: Of the activation's node.
        output: Its name.
        gate: The HardSigmoid.
        product: The Mul.
    """

    name: str | None
    output: str | None
    gate: ir.Node
    product: ir.Node


def to_integer_forms(model: ir.Model) -> list[IntegerForm]:
    """Rewrite the main graph in place; returns what was made."""
    build: Builder | None = None
    made: list[IntegerForm] = []
    for node in model.graph:
        value = node.inputs[0] if node.op_type == "HardSwish" and node.domain == "" else None
        if value is None:
            continue
        build = build or Builder(Names(model), model.graph.opset_imports[""])
        build.before(node)
        name, output = node.name, node.outputs[0].name
        gate = build.op("HardSigmoid", value, like=node.outputs[0], alpha=1 / 6, beta=0.5)
        product = build.op("Mul", value, gate, like=node.outputs[0])
        bypass(node, product)
        made.append(IntegerForm(name, output, _producer(gate), _producer(product)))
    return made


def undo_forms(forms: Iterable[IntegerForm], integer: Collection[ir.Node] = ()) -> None:
    """Write those back of which no node is among ``integer``: as floats they are slower than the activation."""
    for form in forms:
        if form.gate in integer or form.product in integer:
            continue
        graph, old = form.product.graph, form.product.outputs[0]
        assert isinstance(graph, ir.Graph)
        node = ir.node("HardSwish", [form.gate.inputs[0]], name=form.name)
        node.outputs[0].type, node.outputs[0].shape = old.type, old.shape
        graph.insert_before(form.product, node)
        bypass(form.product, node.outputs[0])
        node.outputs[0].name = form.output
        graph.remove(form.gate, safe=True)


def _producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None
    return node

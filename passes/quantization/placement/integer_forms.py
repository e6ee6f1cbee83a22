"""Write activations without integer kernel as operators that have one; the function stays the same.

::

    HardSwish(x)   ->   x * HardSigmoid<1/6, 1/2>(x)
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.rewriting.graph_edit import Names, bypass
from tamis.compiler.rewriting.rewrite_pass import Builder


def to_integer_forms(model: ir.Model) -> int:
    """Rewrite the main graph in place; returns how many nodes were."""
    build: Builder | None = None
    count = 0
    for node in model.graph:
        value = node.inputs[0] if node.op_type == "HardSwish" and node.domain == "" else None
        if value is None:
            continue
        build = build or Builder(Names(model), model.graph.opset_imports[""])
        build.before(node)
        gate = build.op("HardSigmoid", value, like=node.outputs[0], alpha=1 / 6, beta=0.5)
        if bypass(node, build.op("Mul", value, gate, like=node.outputs[0])):
            count += 1
    return count

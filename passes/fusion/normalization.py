"""A normalization that is spelled out, read from the mean square in its midst: what LayerNorm and RMSNorm share.

::

    data / sqrt(mean(data * data) + epsilon)                with Pow or Mul, Sqrt or Pow, Div or Reciprocal and Mul
    data * (scale / sqrt(mean(data * data) + epsilon))      with the scale on the way
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.passes.fusion.polynomial import single


@dataclass(frozen=True)
class Core:
    """``data / sqrt(mean(data * data) + epsilon)``.

    Args:
        data: What is normalized.
        epsilon: Added to the mean square.
        inverse: ``factor / sqrt(..)``; None if there is only the quotient.
        factor: Constant scale on the way to the product; None for 1.
        result: Node of the product; None if ``inverse`` is read in another way.
    """

    data: ir.Value
    epsilon: float
    inverse: ir.Value | None = None
    factor: ir.Value | None = None
    result: ir.Node | None = None


def read_core(mean: ir.Node) -> Core | None:
    """The normalization whose mean square ``mean``, a ReduceMean, may be; None if it is none."""
    data = squared(mean.inputs[0])
    add = step(mean.outputs[0], "Add")
    if data is None or add is None:
        return None
    rank = 1 if data.shape is None else len(data.shape)
    epsilon = single(other(add, mean.outputs[0]), rank)
    root = step(add.outputs[0], "Sqrt", "Pow")
    if epsilon is None or epsilon < 0 or root is None or root.inputs[0] is not add.outputs[0]:
        return None
    exponent = 0.5 if root.op_type == "Sqrt" else single(root.inputs[1], rank)
    core = Core(data, epsilon)
    if exponent == -0.5:
        return _product(replace(core, inverse=root.outputs[0]))
    return _quotient(core, root.outputs[0]) if exponent == 0.5 else None


def _quotient(core: Core, divisor: ir.Value) -> Core | None:
    user = step(divisor, "Div", "Reciprocal")
    if user is None:
        return None
    if user.op_type == "Div":
        numerator = user.inputs[0]
        if numerator is None or user.inputs[1] is not divisor or numerator is divisor:
            return None
        if same(numerator, core.data):
            return replace(core, result=user)
        if constant_tensor(numerator) is None:
            return None
        if single(numerator, 1) != 1:
            core = replace(core, factor=numerator)
    return _product(replace(core, inverse=user.outputs[0]))


def _product(core: Core) -> Core | None:
    assert core.inverse is not None
    user = step(core.inverse, "Mul")
    if user is None:
        return core
    factor = other(user, core.inverse)
    if same(factor, core.data):
        return replace(core, result=user)
    if core.factor is not None or constant_tensor(factor) is None:
        return None
    return _product(replace(core, inverse=user.outputs[0], factor=factor))


def step(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The only reader of ``value``, if it is one of these operators in the same graph."""
    user, producer = sole_user(value), value.producer()
    if user is None or producer is None or user.domain != "" or user.op_type not in op_types:
        return None
    return user if user.graph is producer.graph else None


def other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The input of a node of two inputs that is not ``value``."""
    return node.inputs[1] if node.inputs[0] is value else node.inputs[0]


def same(a: ir.Value | None, b: ir.Value | None, depth: int = 2) -> bool:
    """Whether two values are one, or computed alike: exporters write ``x - mean(x)`` twice."""
    if a is None or b is None:
        return False
    p, q = a.producer(), b.producer()
    if a is b or p is None or q is None or not depth:
        return a is b
    return (
        p.op_type == q.op_type in ("Sub", "ReduceMean")
        and p.domain == q.domain == ""
        and {k: v.value for k, v in p.attributes.items()} == {k: v.value for k, v in q.attributes.items()}
        and len(p.inputs) == len(q.inputs)
        and all(same(v, w, depth - 1) for v, w in zip(p.inputs, q.inputs, strict=True))
    )


def squared(value: ir.Value | None) -> ir.Value | None:
    """What ``value`` is the square of; None if it is none."""
    node = None if value is None else value.producer()
    if node is None or node.domain != "":
        return None
    if node.op_type == "Pow":
        return node.inputs[0] if single(node.inputs[1], 1) == 2 else None
    return node.inputs[0] if node.op_type == "Mul" and same(node.inputs[0], node.inputs[1]) else None

"""Raise a model to opset 13, from which on QuantizeLinear and DequantizeLinear have an axis.

Between 11 and 13, attributes of Squeeze, Unsqueeze, ReduceSum and Split became inputs, and Softmax, LogSoftmax and Hardmax,
which took everything from the axis on as one, look at the axis alone::

    Softmax-11<axis>(x)   ->   Reshape(Softmax-13<-1>(Flatten<axis>(x)), Shape(x))   unless the axis is the last one

Everything else only takes more element types.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_value
from tamis.compiler.rewriting.graph_edit import Names

FROM, TO = 11, 13
ATTRIBUTES = {"Squeeze": "axes", "Unsqueeze": "axes", "ReduceSum": "axes", "Split": "split"}
NORMALIZERS = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
CHANGED = frozenset({"Dropout"})
"""Operators with other changes, which inference does not need."""


def obstacle(model: ir.Model) -> str | None:
    """Why the model cannot be raised; None if it can, or need not be."""
    opset = model.graph.opset_imports.get("", 0)
    if opset >= TO:
        return None
    if opset < FROM:
        return f"opset {opset}"
    if model.functions:
        return f"opset {opset} and functions of the model's own"
    for node in _nodes(model):
        if opset < 12 and node.op_type in CHANGED:
            return f"opset {opset} and a {node.op_type}"
    return None


def raise_opset(model: ir.Model) -> bool:
    """Raise a model without ``obstacle`` in place; returns whether it was below."""
    if model.graph.opset_imports.get("", 0) >= TO:
        return False
    names = Names(model)
    for node in list(_nodes(model)):
        if node.op_type in NORMALIZERS:
            if not _is_last(node):
                _flatten(node, names)
            node.attributes["axis"] = ir.AttrInt64("axis", -1)
        name = ATTRIBUTES.get(node.op_type)
        attribute = None if name is None else node.attributes.pop(name, None)
        if attribute is not None:
            _to_input(node, np.asarray(attribute.as_ints(), np.int64), names)
    model.graph.opset_imports[""] = TO
    return True


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    return (node for node in model.graph.all_nodes() if node.domain == "")


def _is_last(node: ir.Node) -> bool:
    value = node.inputs[0]
    axis = node.attributes.get_int("axis", 1)
    if axis == -1:
        return True
    return value is not None and value.shape is not None and axis == len(value.shape) - 1


def _flatten(node: ir.Node, names: Names) -> None:
    """Let ``node`` see everything from its axis on as one axis."""
    graph, x, y = node.graph, node.inputs[0], node.outputs[0]
    assert x is not None and isinstance(graph, ir.Graph)
    flatten = ir.node(
        "Flatten", [x], {"axis": node.attributes.get_int("axis", 1)}, name=names.fresh(f"{y.name}_flatten")
    )
    shape = ir.node("Shape", [x], name=names.fresh(f"{y.name}_shape"))
    reshape = ir.node("Reshape", [y, shape.outputs[0]], name=names.fresh(f"{y.name}_reshape"))
    for made in (flatten, shape, reshape):
        made.outputs[0].name = made.name
    flatten.outputs[0].type = x.type
    graph.insert_before(node, [flatten, shape])
    graph.insert_after(node, reshape)
    y.replace_all_uses_with(reshape.outputs[0], replace_graph_outputs=True)
    reshape.replace_input_with(0, y)
    node.replace_input_with(0, flatten.outputs[0])
    result = reshape.outputs[0]
    result.type, result.shape, y.shape = y.type, y.shape, None
    if result.is_graph_output():
        y.name, result.name = result.name, y.name


def _to_input(node: ir.Node, array: np.ndarray[tuple[int, ...], np.dtype[np.int64]], names: Names) -> None:
    name = names.fresh(f"{node.name or node.outputs[0].name}_axes")
    value = constant_value(name, ir.tensor(array, name=name))
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    graph.register_initializer(value)
    node.resize_inputs(2)
    node.replace_input_with(1, value)

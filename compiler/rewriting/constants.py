"""Values that are known before the model runs: initializers that no input overrides, and ``Constant`` nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor behind ``value``, not yet read from its file; None if it is not constant.

    An initializer that is a graph input as well is only a default and therefore not constant.
    """
    if value is None:
        return None
    if value.is_initializer():
        return None if value.is_graph_input() else value.const_value
    producer = value.producer()
    if producer is None or producer.op_type != "Constant" or producer.domain != "":
        return None
    attribute = producer.attributes.get("value")
    return None if attribute is None or attribute.is_ref() else attribute.as_tensor()


def constant_array(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    """The elements behind ``value``; None if it is not constant."""
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.numpy()


def constant_value(name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """A value, in no graph yet, that holds ``tensor``."""
    return ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=tensor_shape(tensor), const_value=tensor)


def tensor_shape(tensor: ir.TensorProtocol) -> ir.Shape:
    """The shape of ``tensor``, as a value of the graph has it."""
    return ir.Shape(tensor.shape.numpy())


def set_constant(node: ir.Node, index: int, array: np.ndarray[Any, Any], name: str) -> None:
    """Make ``array`` the constant that ``node`` reads at input ``index``.

    The initializer there is changed if nothing else reads it, and otherwise left to its other readers.

    Args:
        node: The reader; it gets more inputs if it has too few.
        index: Of the input.
        array: The new elements.
        name: A free name, for the case that a new initializer is needed.
    """
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    old = node.inputs[index]
    if old is not None and _is_private(old):
        tensor = ir.tensor(array, name=old.name)
        old.const_value, old.type, old.shape = tensor, ir.TensorType(tensor.dtype), tensor_shape(tensor)
        return
    assert node.graph is not None
    new = constant_value(name, ir.tensor(array, name=name))
    node.graph.register_initializer(new)
    node.replace_input_with(index, new)


def _is_private(value: ir.Value) -> bool:
    fixed = not value.is_initializer() or value.is_graph_input() or value.is_graph_output()
    return not fixed and len(value.uses()) == 1

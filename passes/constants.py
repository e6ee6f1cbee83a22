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


def initializer(graph: ir.Graph, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
    """Add ``array`` to ``graph`` as the initializer ``name``, which must be free."""
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
    graph.register_initializer(value)
    return value

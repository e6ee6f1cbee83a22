"""Turn ``Constant`` nodes, in any of their forms, into initializers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_value


def lift_constants(model: ir.Model) -> int:
    """Lift every ``Constant`` of every graph; those that are a graph output, or sparse, stay nodes.

    ``value_int``, ``value_floats`` and the like become tensors of int64, float32 or string. Function
    bodies are left alone: they cannot hold initializers.

    Returns:
        How many nodes became initializers.
    """
    lifted = 0
    for graph in model.graphs():
        for node in graph:
            if node.op_type == "Constant" and node.domain == "" and not node.outputs[0].is_graph_output():
                tensor = constant_node_tensor(node)
                if tensor is not None:
                    _lift(graph, node, tensor)
                    lifted += 1
    return lifted


def _lift(graph: ir.Graph, node: ir.Node, tensor: ir.TensorProtocol) -> None:
    output = node.outputs[0]
    name = output.name
    assert name is not None
    value = constant_value(name, tensor)
    value.metadata_props.update(output.metadata_props)
    output.replace_all_uses_with(value)
    graph.remove(node, safe=True)
    graph.register_initializer(value)


def constant_node_tensor(node: ir.Node) -> ir.TensorProtocol | None:
    """What a ``Constant`` node holds, as a dense tensor; None for the sparse form."""
    (kind, attribute), *_ = node.attributes.items()
    if attribute.is_ref():
        return None
    match kind:
        case "value":
            return attribute.as_tensor()
        case "value_int":
            return ir.tensor(attribute.as_int(), dtype=ir.DataType.INT64)
        case "value_ints":
            return ir.tensor(np.array(attribute.as_ints(), np.int64))
        case "value_float":
            return ir.tensor(attribute.as_float(), dtype=ir.DataType.FLOAT)
        case "value_floats":
            return ir.tensor(np.array(attribute.as_floats(), np.float32))
        case "value_string":
            return ir.StringTensor([attribute.as_string().encode()], shape=ir.Shape(()))
        case "value_strings":
            strings = [s.encode() for s in attribute.as_strings()]
            return ir.StringTensor(strings, shape=ir.Shape((len(strings),)))
    return None

"""Infer types and shapes with ONNX's own inference, without handing it the weights.

Unlike onnx-ir's ``ShapeInferencePass``: what the file declares about values inside the graph is not
believed where inference knows better (exporters leave stale shapes behind), invented dimension
names are dropped, so that a second run finds nothing to change, and a failure is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from tamis.compiler.errors import PassError
from tamis.compiler.rewriting.constants import constant_tensor, tensor_shape
from tamis.compiler.rewriting.operators import has_subgraph

if TYPE_CHECKING:
    import onnx

SMALL_BYTES = 1024
"""Constants up to this size are handed over: shapes, axes and the like that inference reads."""


def infer_shapes(model: ir.Model) -> int:
    """Set type and shape of what the nodes of all graphs give, function bodies apart.

    Returns:
        How many values got another type or shape.

    Raises:
        PassError: ONNX's shape inference refused the graph.
    """
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(_without_weights(model), data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise PassError(
            "shape inference failed",
            where="pass canonicalize",
            found=str(error),
            fix="check the model with onnx.checker",
        ) from error
    symbols = {str(d) for v in model.graph.inputs for d in v.shape or () if not isinstance(d, int)}
    changed = 0
    for graph, proto in _pairs(model.graph, inferred.graph):
        values = {value.name: value for node in graph for value in node.outputs}
        for part in (proto.value_info, proto.output):
            for info in part:
                value = values.get(info.name)
                changed += value is not None and _update(value, info.type, symbols)
    return changed


def _pairs(graph: ir.Graph, proto: onnx.GraphProto) -> Iterator[tuple[ir.Graph, onnx.GraphProto]]:
    """``graph`` and the graphs inside it, each with the same graph after inference."""
    yield graph, proto
    for index, node in enumerate(graph):
        if has_subgraph(node):
            for attribute in proto.node[index].attribute:
                if attribute.HasField("g"):
                    yield from _pairs(node.attributes[attribute.name].as_graph(), attribute.g)


def _update(value: ir.Value, inferred: Any, symbols: set[str]) -> bool:
    """Take over an inferred ``TypeProto``; True if that changed anything."""
    if not inferred.HasField("tensor_type") or not inferred.tensor_type.elem_type:
        return False
    changed = False
    dtype = ir.DataType(inferred.tensor_type.elem_type)
    if value.dtype != dtype:
        value.type, changed = ir.TensorType(dtype), True
    if not inferred.tensor_type.HasField("shape"):
        return changed
    dims = [_dim(d, symbols) for d in inferred.tensor_type.shape.dim]
    declared = None if value.shape is None else [d if isinstance(d, int) else d.value for d in value.shape]
    if value.is_graph_output() and declared is not None and len(declared) == len(dims):
        dims = [new if isinstance(new, int) else old for new, old in zip(dims, declared, strict=True)]
    if declared != dims:
        value.shape, changed = ir.Shape(dims), True
    return changed


def _dim(dim: Any, symbols: set[str]) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param if dim.dim_param in symbols else None


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    """The model with large initializers as graph inputs, and with declared types only where nothing can be inferred."""
    import onnx

    graph = model.graph
    proto = onnx.ModelProto(ir_version=max(model.ir_version, 8))
    proto.opset_import.extend(onnx.OperatorSetIdProto(domain=d, version=v) for d, v in graph.opset_imports.items())
    proto.functions.extend(ir.serde.serialize_function(f) for f in model.functions.values())
    proto.graph.name = "g"
    proto.graph.node.extend(_undeclared(ir.serde.serialize_node(node)) for node in graph)
    proto.graph.input.extend(ir.serde.serialize_value(value) for value in graph.inputs)
    proto.graph.value_info.extend(ir.serde.serialize_value(value) for value in _declared(model))
    proto.graph.output.extend(_typed(value) for value in graph.outputs)
    for name, value in graph.initializers.items():
        tensor = constant_tensor(value)
        if tensor is not None and tensor.nbytes <= SMALL_BYTES:
            small = ir.Tensor(tensor.numpy(), tensor.dtype) if isinstance(tensor, ir.ExternalTensor) else tensor
            proto.graph.initializer.append(ir.serde.serialize_tensor(small))
            proto.graph.initializer[-1].name = name
        elif tensor is not None:
            proto.graph.input.append(_typed(value, tensor_shape(tensor)))
    return proto


def _undeclared(node: onnx.NodeProto) -> onnx.NodeProto:
    """``node`` without what its subgraphs declare about values inside them."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            attribute.g.ClearField("value_info")
            for inner in attribute.g.node:
                _undeclared(inner)
    return node


def _declared(model: ir.Model) -> Iterator[ir.Value]:
    """Outputs of operators outside the standard, which inference knows nothing about."""
    for node in model.graph:
        if node.domain != "" and node.op_identifier() not in model.functions:
            yield from (v for v in node.outputs if v.name and v.type is not None and not v.is_graph_output())


def _typed(value: ir.Value, shape: ir.Shape | None = None) -> onnx.ValueInfoProto:
    type_ = value.type
    if type_ is None and value.const_value is not None:
        type_ = ir.TensorType(value.const_value.dtype)
    return ir.serde.serialize_value(ir.Value(name=value.name, type=type_, shape=shape))

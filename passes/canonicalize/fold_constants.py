"""Evaluate nodes over constants and static shapes through onnxsim, and keep the results as initializers.

onnxsim gets only the nodes that can be folded and the constants these read, never the whole model:
its time and memory then grow with what there is to fold, and weights stay where they are. Of its
settings only folding is on. Its fusions reassociate floating-point sums; folding runs ONNX Runtime's
kernels with optimizations off, so that the bits are those that the model itself would compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from tamis.compiler.errors import PassError
from tamis.compiler.rewriting.constants import constant_tensor, constant_value, tensor_shape
from tamis.passes.canonicalize.foldable import Foldable

if TYPE_CHECKING:
    import onnx

BATCH = 1000
"""Nodes given to onnxsim at once, unless more of them depend on each other: its time grows faster than linearly."""


def fold_constants(graph: ir.Graph, model: ir.Model, found: Foldable) -> int:
    """Fold the nodes of ``found``.

    Returns:
        How many nodes are gone.

    Raises:
        PassError: onnxsim failed on the nodes.
    """
    known: dict[str, ir.TensorProtocol] = {}
    for batch in _batches(found):
        known.update(_evaluate(batch, found, model))
    return sum(_replace(node, graph, known) for node in reversed(found.nodes))


def _replace(node: ir.Node, graph: ir.Graph, known: dict[str, ir.TensorProtocol]) -> bool:
    """Put the results of ``node``, if all are known, in its place."""
    outputs = [v for v in node.outputs if v.name]
    if not all(v.name in known for v in outputs):
        return False
    for output in outputs:
        tensor = known[output.name or ""]
        if output.is_graph_output():
            constant = ir.node("Constant", [], {"value": ir.AttrTensor("value", tensor)}, name=node.name)
            graph.insert_before(node, constant)
            value = constant.outputs[0]
        elif output.uses():
            value = ir.Value(name=output.name, const_value=tensor)
        else:
            continue
        value.type, value.shape = ir.TensorType(tensor.dtype), tensor_shape(tensor)
        output.replace_all_uses_with(value, replace_graph_outputs=True)
        value.name, output.name = output.name, None
        if value.const_value is not None:
            graph.register_initializer(value)
    graph.remove(node, safe=True)
    return True


def _batches(found: Foldable) -> list[list[ir.Node]]:
    """Cut the nodes into groups that do not depend on each other and, where possible, have ``BATCH`` nodes."""
    component: dict[ir.Node, ir.Node] = {}

    def root(node: ir.Node) -> ir.Node:
        while component[node] is not node:
            component[node] = component[component[node]]
            node = component[node]
        return node

    for node in found.nodes:
        component[node] = node
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer in component:
                component[root(producer)] = node
    groups: dict[ir.Node, list[ir.Node]] = {}
    for node in found.nodes:
        groups.setdefault(root(node), []).append(node)
    batches: list[list[ir.Node]] = [[]]
    for group in groups.values():
        if len(batches[-1]) + len(group) > BATCH:
            batches.append([])
        batches[-1].extend(group)
    return [batch for batch in batches if batch]


def _evaluate(nodes: list[ir.Node], found: Foldable, model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """Results of ``nodes`` that onnxsim could determine, by name of the output."""
    import onnxsim

    part = _part(nodes, found, model)
    try:
        folded, _ = onnxsim.simplify(part, perform_optimization=False, certify=False, include_subgraph=False)
    except Exception as error:  # onnxsim raises bare RuntimeError, ValueError and onnx's own errors
        raise PassError(
            "onnxsim could not fold constants",
            where="pass canonicalize",
            found=str(error),
            fix="check the model with onnx.checker",
        ) from error
    wanted = {info.name for info in part.graph.output}
    return {t.name: ir.from_proto(t) for t in folded.graph.initializer if t.name in wanted}


def _part(nodes: list[ir.Node], found: Foldable, model: ir.Model) -> onnx.ModelProto:
    """A model of ``nodes`` alone: sources become inputs, constants initializers, each result an output."""
    values: dict[ir.Value, ir.Value] = {}
    inputs, initializers, outputs = list[ir.Value](), list[ir.Value](), list[ir.Value]()
    copies: list[ir.Node] = []
    for node in nodes:
        for value in node.inputs:
            if value is None or value in values:
                continue
            values[value] = ir.Value(name=value.name, type=value.type, shape=value.shape)
            if value in found.constants:
                values[value] = _inline(value)
                initializers.append(values[value])
            else:
                inputs.append(values[value])
        results = [ir.Value(name=v.name, type=v.type, shape=v.shape) for v in node.outputs]
        values.update(zip(node.outputs, results, strict=True))
        arguments = [None if v is None else values[v] for v in node.inputs]
        copies.append(ir.Node("", node.op_type, arguments, node.attributes.values(), outputs=results))
        outputs.extend(v for v in results if v.name and v.dtype is not None and v.shape is not None)
    opsets = {"": model.graph.opset_imports[""]}
    graph = ir.Graph(inputs, outputs, nodes=copies, initializers=initializers, opset_imports=opsets, name="foldable")
    return ir.to_proto(ir.Model(graph, ir_version=max(model.ir_version, 8)))


def _inline(value: ir.Value) -> ir.Value:
    tensor = constant_tensor(value)
    assert tensor is not None
    if isinstance(tensor, ir.ExternalTensor):
        tensor = ir.Tensor(tensor.numpy(), tensor.dtype)
    return constant_value(value.name or "", tensor)

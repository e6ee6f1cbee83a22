"""Units: products with constant weights that the target has an integer kernel for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.int8_kernels import Int8Kernels, Int8Operator
from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.passes.quantization.rounding.int8_weights import MAX_ROWS

Limits = tuple[float, float]
FREE: Limits = (-math.inf, math.inf)


@dataclass(frozen=True, eq=False)
class Unit:
    """One product with a constant weight.

    Args:
        node: Conv, MatMul or Gemm.
        operator: Its row in the table of kernels.
        nodes: ``node``, the Add of a MatMul's bias, and activations that the Q behind makes superfluous.
        bias: Values added along the output channels; None if there are none.
        limits: Of the output, as the activations set them.
    """

    node: ir.Node
    operator: Int8Operator
    nodes: tuple[ir.Node, ...]
    bias: ir.Value | None
    limits: Limits

    @property
    def name(self) -> str:
        """Name of the computing node, or of its output."""
        return self.node.name or str(self.node.outputs[0].name)

    @property
    def core(self) -> ir.Node:
        """The last node that computes: the bias Add, or the node itself."""
        return self.nodes[1] if len(self.nodes) > 1 and self.nodes[1].op_type == "Add" else self.node

    @property
    def output(self) -> ir.Value:
        """What is left of the unit."""
        return self.nodes[-1].outputs[0]


def find_units(model: ir.Model, kernels: Int8Kernels) -> list[Unit]:
    """The products of the main graph that can be computed in integers, in its order."""
    return [unit for unit in candidates(model, kernels).values() if isinstance(unit, Unit)]


def candidates(model: ir.Model, kernels: Int8Kernels) -> dict[ir.Node, Unit | str]:
    """Every node with an operator of role ``computes``: as a unit, or why it is none."""
    found: dict[ir.Node, Unit | str] = {}
    misfits = values_of_misfits(model, kernels)
    for node in model.graph:
        operator = kernels.operators.get(node.op_type) if node.domain == "" else None
        if operator is not None and operator.role == "computes":
            misfit = "reads what the target would compute wrongly in integers" if node.inputs[0] in misfits else None
            found[node] = misfit or _obstacle(node, operator) or _unit(node, operator, kernels)
    for graph in model.graph.subgraphs():
        for node in graph:
            operator = kernels.operators.get(node.op_type) if node.domain == "" else None
            if operator is not None and operator.role == "computes":
                found[node] = "inside a subgraph"
    return found


def _obstacle(node: ir.Node, operator: Int8Operator) -> str | None:
    assert operator.weight is not None
    if not attributes_fit(node, operator):
        return "attributes without integer kernel"
    if _is_fixed(node.inputs[0]):
        return "the input is constant or has a default"
    return _constant_obstacle(node, operator) or _weight_obstacle(node, node.inputs[operator.weight])


def _is_fixed(value: ir.Value | None) -> bool:
    return value is None or value.is_initializer() or constant_tensor(value) is not None


def _constant_obstacle(node: ir.Node, operator: Int8Operator) -> str | None:
    for position, name in ((operator.weight, "weight"), (operator.bias, "bias")):
        value = node.inputs[position] if position is not None and position < len(node.inputs) else None
        if value is None:
            continue
        tensor = constant_tensor(value)
        if tensor is None:
            return "already quantized" if _is_dequantized(value) else f"the {name} is not constant"
        if tensor.dtype != ir.DataType.FLOAT:
            return f"the {name} is {tensor.dtype.name.lower()}, not float"
        if not np.isfinite(tensor.numpy()).all():
            return f"the {name} holds NaN or infinity"
        if name == "bias" and tensor.size != 1 and not tensor.shape.numpy()[-1] == tensor.size == channels(node):
            return "the bias is not one number an output channel"
    return None


def _is_dequantized(value: ir.Value) -> bool:
    producer = value.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def _weight_obstacle(node: ir.Node, value: ir.Value | None) -> str | None:
    weight = constant_tensor(value)
    assert weight is not None
    if weight.size == 0 or (node.op_type == "MatMul" and len(weight.shape) != 2):
        return "the weight is empty or not a matrix"
    return "sums could overflow 32 bits" if weight.size // channels(node) > MAX_ROWS else None


def values_of_misfits(model: ir.Model, kernels: Int8Kernels) -> set[ir.Value | None]:
    """Values that must not be quantized, lest a node is taken for an integer kernel that does not fit it.

    They are its outputs, and what activations and moving nodes make of them, since runtimes move Q up through those.
    """
    found: set[ir.Value | None] = set()
    for node in model.graph:
        operator = kernels.operators.get(node.op_type) if node.domain == "" else None
        misfit = operator is not None and _is_misfit(node, operator)
        passed = (operator is not None and operator.role == "moves") or node.op_type in kernels.absorbed
        if misfit or (passed and node.inputs[0] in found):
            found.update(node.outputs)
    return found


def channel_axis(node: ir.Node) -> int:
    """Axis of the weight along which output channels lie."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1 else 1


def channels(node: ir.Node) -> int:
    """Output channels of a product with a constant weight."""
    weight = constant_tensor(node.inputs[1])
    assert weight is not None
    return int(weight.shape.numpy()[min(channel_axis(node), len(weight.shape) - 1)])


def attributes_fit(node: ir.Node, operator: Int8Operator) -> bool:
    """Whether the attributes of ``node`` are those that the integer kernel takes."""
    for name, wanted in operator.equals.items():
        attribute = node.attributes.get(name)
        found = wanted if attribute is None else attribute.value
        if (found.decode() if isinstance(found, bytes) else found) != wanted:
            return False
    return not _is_misfit(node, operator)


def _is_misfit(node: ir.Node, operator: Int8Operator) -> bool:
    return any(all(_has(node, name, value) for name, value in given.items()) for given in operator.never)


def _has(node: ir.Node, name: str, value: str | int | None) -> bool:
    """Whether the attribute is given, and has that value unless it is None."""
    attribute = node.attributes.get(name)
    found = None if attribute is None else attribute.value
    return attribute is not None and (value is None or value == (found.decode() if isinstance(found, bytes) else found))


def _unit(node: ir.Node, operator: Int8Operator, kernels: Int8Kernels) -> Unit:
    position = operator.bias
    bias = node.inputs[position] if position is not None and position < len(node.inputs) else None
    nodes = [node]
    if operator.bias is None and (add := _bias_add(node)) is not None:
        nodes.append(add[0])
        bias = add[1]
    tail, limits = absorbed(nodes[-1], kernels)
    return Unit(node, operator, (*nodes, *tail), bias, limits)


def _bias_add(node: ir.Node) -> tuple[ir.Node, ir.Value] | None:
    """The Add of one number an output channel behind a MatMul."""
    user = sole_user(node.outputs[0])
    if user is None or user.op_type != "Add" or user.domain != "" or user.graph is not node.graph:
        return None
    other = user.inputs[1] if user.inputs[0] is node.outputs[0] else user.inputs[0]
    tensor = constant_tensor(other)
    if other is None or tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return None
    shape, product = tensor.shape.numpy(), node.outputs[0].shape
    widens = len(shape) > 1 and (product is None or len(shape) > len(product))
    if widens or not shape or not shape[-1] == tensor.size == channels(node):
        return None
    return (user, other) if np.isfinite(tensor.numpy()).all() else None


def absorbed(node: ir.Node, kernels: Int8Kernels) -> tuple[tuple[ir.Node, ...], Limits]:
    """Activations behind ``node`` that the Q of the last one's output makes superfluous, and the limits they set."""
    low, high = FREE
    tail: list[ir.Node] = []
    while (user := sole_user((tail[-1] if tail else node).outputs[0])) is not None:
        bounds = _bounds(user) if user.op_type in kernels.absorbed and user.graph is node.graph else None
        if bounds is None or not bounds[0] <= 0 <= bounds[1] or bounds[0] == bounds[1]:
            break
        low, high = max(low, bounds[0]), min(high, bounds[1])
        tail.append(user)
    return tuple(tail), (low, high)


def _bounds(node: ir.Node) -> Limits | None:
    if node.domain != "":
        return None
    if node.op_type == "Relu":
        return 0.0, math.inf
    if node.op_type != "Clip":
        return None
    if "min" in node.attributes or "max" in node.attributes:
        return node.attributes.get_float("min", -math.inf), node.attributes.get_float("max", math.inf)
    bounds = list(FREE)
    for i, value in enumerate(node.inputs[1:3]):
        if value is not None:
            array = constant_array(value)
            if array is None or array.size != 1:
                return None
            bounds[i] = float(array.reshape(()))
    return bounds[0], bounds[1]

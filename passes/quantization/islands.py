"""Units, nodes that compute on 8-bit integers, and islands: what lies between them and stays integer.

An operator alone is the wrong thing to decide on: two small islands with floats between them are slower than one that
takes in a slow integer kernel, since each edge costs a pass over the tensor. So everything with an integer kernel that
follows a unit joins it, if that saves a conversion.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from tamis.compiler.int8_kernels import Int8Kernels, Int8Operator
from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.passes.quantization.int8_weights import MAX_ROWS

Limits = tuple[float, float]
FREE: Limits = (-math.inf, math.inf)
SMALLER = 16
"""A float beside an integer tensor is quantized for it if it has at most this fraction of its elements."""


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


@dataclass
class Islands:
    """What becomes integer.

    Attributes:
        units: By their computing nodes.
        joined: Elementwise and moving nodes between them, with the activations behind them.
        limits: Value -> bounds of its range.
        quantized: Values to be quantized, in the order of the graph, without constants.
    """

    units: dict[ir.Node, Unit]
    joined: dict[ir.Node, tuple[ir.Node, ...]] = field(default_factory=dict)
    limits: dict[ir.Value, Limits] = field(default_factory=dict)
    quantized: dict[ir.Value, None] = field(default_factory=dict)

    def integer(self, node: ir.Node) -> bool:
        """Whether ``node`` reads integers."""
        return node in self.units or node in self.joined


def find_units(model: ir.Model, kernels: Int8Kernels) -> list[Unit]:
    """The products of the main graph that can be computed in integers, in its order."""
    return [unit for unit in candidates(model, kernels).values() if isinstance(unit, Unit)]


def candidates(model: ir.Model, kernels: Int8Kernels) -> dict[ir.Node, Unit | str]:
    """Every node with an operator of role ``computes``: as a unit, or why it is none."""
    found: dict[ir.Node, Unit | str] = {}
    for node in model.graph:
        operator = kernels.operators.get(node.op_type) if node.domain == "" else None
        if operator is not None and operator.role == "computes":
            found[node] = _obstacle(node, operator) or _unit(node, operator, kernels)
    return found


def _obstacle(node: ir.Node, operator: Int8Operator) -> str | None:
    assert operator.weight is not None
    if not _equals(node, operator):
        return "attributes without integer kernel"
    for position, name in ((operator.weight, "weight"), (operator.bias, "bias")):
        value = node.inputs[position] if position is not None and position < len(node.inputs) else None
        if value is None:
            continue
        tensor = constant_tensor(value)
        if tensor is None:
            return f"the {name} is not constant"
        if tensor.dtype != ir.DataType.FLOAT:
            return f"the {name} is {tensor.dtype.name.lower()}, not float"
        if not np.isfinite(tensor.numpy()).all():
            return f"the {name} holds NaN or infinity"
        if name == "bias" and tensor.size not in (1, channels(node)):
            return "the bias is not one number an output channel"
    weight = constant_tensor(node.inputs[operator.weight])
    assert weight is not None
    if weight.size == 0 or (node.op_type == "MatMul" and len(weight.shape) != 2):
        return "the weight is empty or not a matrix"
    return "sums could overflow 32 bits" if weight.size // channels(node) > MAX_ROWS else None


def channel_axis(node: ir.Node) -> int:
    """Axis of the weight along which output channels lie."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and node.attributes.get_int("transB", 0) else 1


def channels(node: ir.Node) -> int:
    """Output channels of a product with a constant weight."""
    weight = constant_tensor(node.inputs[1])
    assert weight is not None
    return int(weight.shape.numpy()[min(channel_axis(node), len(weight.shape) - 1)])


def _equals(node: ir.Node, operator: Int8Operator) -> bool:
    for name, wanted in operator.equals.items():
        attribute = node.attributes.get(name)
        found = wanted if attribute is None else attribute.value
        if (found.decode() if isinstance(found, bytes) else found) != wanted:
            return False
    return True


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
    fits = tensor is not None and tensor.dtype == ir.DataType.FLOAT and tensor.size == channels(node)
    if not fits or len(tensor.shape) != 1 or not np.isfinite(tensor.numpy()).all():  # type: ignore[union-attr]
        return None
    assert other is not None
    return user, other


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


def build_islands(model: ir.Model, kernels: Int8Kernels, units: Collection[Unit]) -> Islands:
    """The islands around ``units``; linear in the size of the graph."""
    islands = Islands({unit.node: unit for unit in units})
    forced = _join(model, kernels, islands)
    _leave_unwanted(model, kernels, islands, forced)
    for node in model.graph:
        if islands.integer(node):
            for value in (*activations(node, kernels), *_kept_outputs(node, kernels, islands)):
                if constant_tensor(value) is None:
                    islands.quantized[value] = None
    _set_limits(kernels, islands)
    return islands


def activations(node: ir.Node, kernels: Int8Kernels) -> list[ir.Value]:
    """Inputs of an integer node that are integers, weight and bias apart."""
    positions = kernels.operators[node.op_type].inputs
    chosen = node.inputs if positions == "all" else [node.inputs[i] for i in positions if i < len(node.inputs)]
    return [value for value in chosen if value is not None]


def end_of(node: ir.Node, islands: Islands) -> ir.Node:
    """The last node of what ``node`` stands for."""
    if node in islands.units:
        return islands.units[node].nodes[-1]
    tail = islands.joined.get(node, ())
    return tail[-1] if tail else node


def reads_integers(value: ir.Value, kernels: Int8Kernels, islands: Islands) -> bool:
    """Whether an integer node reads ``value`` as an activation."""
    return any(islands.integer(u.node) and any(value is v for v in activations(u.node, kernels)) for u in value.uses())


def _join(model: ir.Model, kernels: Int8Kernels, islands: Islands) -> set[ir.Node]:
    """Take in nodes whose inputs are integers; returns those behind a kernel that must give integers."""
    integer: dict[ir.Value, bool] = {}
    forced: set[ir.Node] = set()
    for node in model.graph:
        unit = islands.units.get(node)
        if unit is not None:
            integer[unit.output] = unit.operator.needs_output
        elif _can_join(node, kernels, integer):
            if any(integer.get(value, False) for value in activations(node, kernels)):
                forced.add(node)
            role = kernels.operators[node.op_type].role
            tail, limits = absorbed(node, kernels) if role == "elementwise" else ((), FREE)
            islands.joined[node] = tail
            end = tail[-1] if tail else node
            islands.limits[end.outputs[0]] = limits
            integer.update(dict.fromkeys(end.outputs, node in forced))
    return forced


def _can_join(node: ir.Node, kernels: Int8Kernels, integer: dict[ir.Value, bool]) -> bool:
    operator = kernels.operators.get(node.op_type) if node.domain == "" else None
    if operator is None or operator.role == "computes" or not _equals(node, operator):
        return False
    if any(v.dtype not in (None, ir.DataType.FLOAT) for v in node.outputs) or not all(v.name for v in node.outputs):
        return False
    if operator.written_as == "scaled-add" and (slope(node)[0] <= 0 or slope(node)[1] < 0):
        return False
    given = activations(node, kernels)
    inside = [value for value in given if value in integer]
    if not inside or (operator.role == "moves" and given[0] not in integer):
        return False
    most = max((_elements(value) or 0) for value in inside)
    return all(v in integer or _fits_beside(v, most) for v in given)


def _fits_beside(value: ir.Value, elements: int) -> bool:
    """Whether a value that is not integer yet may be made so for the sake of an integer one with ``elements``."""
    array = constant_array(value)
    if array is not None:
        return array.dtype == np.float32 and array.size > 0 and bool(np.isfinite(array).all())
    size = _elements(value)
    return size is not None and value.dtype == ir.DataType.FLOAT and size * SMALLER <= elements


def _elements(value: ir.Value) -> int | None:
    if value.shape is None or not value.shape.is_static():
        return None
    return math.prod(value.shape.numpy())


def _leave_unwanted(model: ir.Model, kernels: Int8Kernels, islands: Islands, forced: set[ir.Node]) -> None:
    """Drop joined nodes that save no conversion: their inputs could be floats, and nothing behind wants integers."""
    for node in reversed(model.graph):
        if node not in islands.joined:
            continue
        outputs = end_of(node, islands).outputs
        wanted = any(reads_integers(value, kernels, islands) for value in outputs)
        leaves = any(value.is_graph_output() for value in outputs)
        if not wanted and (node not in forced or leaves):
            for value in outputs:
                islands.limits.pop(value, None)
            del islands.joined[node]


def _kept_outputs(node: ir.Node, kernels: Int8Kernels, islands: Islands) -> Iterator[ir.Value]:
    for value in end_of(node, islands).outputs:
        always = node in islands.joined or kernels.operators[node.op_type].needs_output
        if always or reads_integers(value, kernels, islands):
            yield value


def _set_limits(kernels: Int8Kernels, islands: Islands) -> None:
    for unit in islands.units.values():
        islands.limits[unit.output] = unit.limits
    for node in islands.joined:
        if node.op_type in ("Sigmoid", "HardSigmoid"):
            islands.limits[end_of(node, islands).outputs[0]] = (0.0, 1.0)
        if node.op_type == "HardSigmoid" and (value := node.inputs[0]) in islands.quantized:
            gates = {use.node for use in value.uses()} - {node}  # type: ignore[union-attr]
            if all(_is_gated(gate, node) for gate in gates):  # what is below gives 0, however far
                alpha, beta = slope(node)
                low, high = islands.limits.get(value, FREE)  # type: ignore[arg-type]
                islands.limits[value] = (max(low, -beta / alpha), high)  # type: ignore[index]


def _is_gated(reader: ir.Node, gate: ir.Node) -> bool:
    return reader.op_type == "Mul" and gate.outputs[0] in reader.inputs


def slope(node: ir.Node) -> tuple[float, float]:
    """alpha and beta of a HardSigmoid."""
    return node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)

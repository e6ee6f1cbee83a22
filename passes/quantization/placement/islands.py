"""Islands: units and what lies between them and stays integer.

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

from tamis.compiler.int8_kernels import Int8Kernels
from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.passes.quantization.placement.units import FREE, Limits, Unit, absorbed, attributes_fit, values_of_misfits

SMALLER = 16
"""A float beside an integer tensor is quantized for it if it has at most this fraction of its elements."""


@dataclass
class Islands:
    """What becomes integer.

    Attributes:
        units: By their computing nodes.
        joined: Elementwise and moving nodes between them, with the activations behind them.
        limits: Value -> bounds of its range.
        quantized: Values to be quantized, in the order of the graph, without constants.
        results: Integer node -> the floats in front of its Q, or what it gives if there is none; once Q and DQ are placed.
    """

    units: dict[ir.Node, Unit]
    joined: dict[ir.Node, tuple[ir.Node, ...]] = field(default_factory=dict)
    limits: dict[ir.Value, Limits] = field(default_factory=dict)
    quantized: dict[ir.Value, None] = field(default_factory=dict)
    results: dict[ir.Node, tuple[ir.Value, ...]] = field(default_factory=dict)

    def integer(self, node: ir.Node) -> bool:
        """Whether ``node`` reads integers."""
        return node in self.units or node in self.joined


def build_islands(
    model: ir.Model, kernels: Int8Kernels, units: Collection[Unit], barred: Collection[str] = frozenset()
) -> Islands:
    """The islands around ``units``; linear in the size of the graph.

    Args:
        model: The float model.
        kernels: What has an integer kernel.
        units: Products that become integer.
        barred: Names of values that no further node may read or give in integers.
    """
    islands = Islands({unit.node: unit for unit in units})
    barred = {*barred, *(str(value.name) for value in values_of_misfits(model, kernels) if value is not None)}
    forced = _join(model, kernels, islands, barred)
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


def _join(model: ir.Model, kernels: Int8Kernels, islands: Islands, barred: Collection[str]) -> set[ir.Node]:
    """Take in nodes whose inputs are integers; returns those behind a kernel that must give integers."""
    integer: dict[ir.Value, bool] = {}
    forced: set[ir.Node] = set()
    for node in model.graph:
        unit = islands.units.get(node)
        if unit is not None:
            integer[unit.output] = needs_output(unit)
        elif _can_join(node, kernels, integer):
            role = kernels.operators[node.op_type].role
            tail, limits = absorbed(node, kernels) if role == "elementwise" else ((), FREE)
            end = tail[-1] if tail else node
            given = activations(node, kernels)
            if any(value.name in barred for value in (*given, *node.outputs, *end.outputs)):
                continue
            if any(integer.get(value, False) for value in given):
                forced.add(node)
            islands.joined[node] = tail
            islands.limits[end.outputs[0]] = limits
            integer.update(dict.fromkeys(end.outputs, node in forced))
    return forced


def _can_join(node: ir.Node, kernels: Int8Kernels, integer: dict[ir.Value, bool]) -> bool:
    operator = kernels.operators.get(node.op_type) if node.domain == "" else None
    if operator is None or operator.role == "computes" or not attributes_fit(node, operator):
        return False
    if any(v.dtype not in (None, ir.DataType.FLOAT) for v in node.outputs) or not all(v.name for v in node.outputs):
        return False
    if operator.outputs == 1 and len(node.outputs) > 1:
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


def needs_output(unit: Unit) -> bool:
    """Whether ``unit`` needs a Q behind it to be computed in integers."""
    if unit.operator.needs_output:
        return True
    user = sole_user(unit.node.outputs[0]) if unit.operator.takes_sums and unit.bias is None else None
    if user is None or user.op_type not in ("Add", "Sum") or user.domain != "":
        return False
    shapes = [value.shape for value in user.inputs if value is not None and value is not unit.node.outputs[0]]
    return any(shape is None or len(shape) <= 2 for shape in shapes)


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
        always = node in islands.joined or needs_output(islands.units[node])
        if always or reads_integers(value, kernels, islands):
            yield value


def _set_limits(kernels: Int8Kernels, islands: Islands) -> None:
    for unit in islands.units.values():
        islands.limits[unit.output] = unit.limits
    for node in islands.joined:
        if node.op_type in ("Sigmoid", "HardSigmoid"):
            islands.limits[end_of(node, islands).outputs[0]] = (0.0, 1.0)
        if node.op_type == "HardSigmoid" and (value := node.inputs[0]) in islands.quantized:
            gates = {use.node for use in value.uses()} - {node}
            if not value.is_graph_output() and all(
                _is_gated(gate, node) for gate in gates
            ):  # what is below gives 0, however far
                alpha, beta = slope(node)
                low, high = islands.limits.get(value, FREE)
                islands.limits[value] = (max(low, -beta / alpha), high)


def _is_gated(reader: ir.Node, gate: ir.Node) -> bool:
    return reader.op_type == "Mul" and gate.outputs[0] in reader.inputs


def slope(node: ir.Node) -> tuple[float, float]:
    """alpha and beta of a HardSigmoid."""
    return node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)

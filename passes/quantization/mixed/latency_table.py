"""What each part of a model takes in float and in integers, and what a conversion costs, measured on the target.

Two profiles, of the float model and of the one that is integer wherever it can be, give the times of the places; the
kernels of a place are found by the values that they compute. QuantizeLinear and DequantizeLinear alone, at two sizes,
give the time of a conversion as a line. An edge costs more than that: layouts change, fusions are lost. By how much,
what mixes take from end to end tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.tensor_size import elements
from tamis.compiler.measure import call_of, time_one
from tamis.compiler.rewriting.constants import constant_tensor
from tamis.compiler.target import NodeTime, Runner
from tamis.passes.quantization.mixed.choose_mix import Crossing, MixProblem, Place

CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})
LAYOUT_CHANGE = "layout change"
SIZES = (1 << 12, 1 << 18)
"""Elements of the tensors whose conversion is timed."""
SECONDS = 0.05
"""How long each conversion is timed for."""
SMALLER = 16
"""A tensor with at most this part of the elements of its neighbour is converted for it."""
FACTORS = (0.5, 8.0)
"""Bounds of what mixes may say of edges: they are few measurements."""


class Part(Protocol):
    """What the table needs to know of a unit."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def nodes(self) -> Sequence[ir.Node]:
        """The computing node and what belongs to it."""
        ...


@dataclass(frozen=True)
class ConversionCost:
    """Time of one conversion: ``fixed_ns`` plus elements times the rate, nanoseconds."""

    fixed_ns: float
    quantize_ns: float
    dequantize_ns: float


@dataclass(frozen=True)
class Layout:
    """Which place computes which value.

    Args:
        names: Of the places, units first.
        units: How many of them are units.
        places: Name of a value -> index of the place that computes it.
        floats: Names of the values that are always float.
        crossings: Producer, readers and elements of the tensors between places.
        needs: Index of a free place -> places that must be in integers for it to be.
    """

    names: tuple[str, ...]
    units: int
    places: Mapping[str, int]
    floats: frozenset[str]
    crossings: tuple[tuple[int | None, tuple[int | None, ...], int], ...]
    needs: Mapping[int, tuple[int, ...]]


def lay_out(model: ir.Model, integer: ir.Model, units: Sequence[Part]) -> Layout:
    """Places of ``model``: its units, and each other node that is integer in the fully quantized model.

    Args:
        model: The float model that the units belong to.
        integer: The same with all units quantized; values keep their names.
        units: In any order.
    """
    inside = _between_conversions(integer)
    names = [unit.name for unit in units]
    places = {str(v.name): i for i, unit in enumerate(units) for node in unit.nodes for v in node.outputs}
    for node in model.graph:
        outputs = [str(v.name) for v in node.outputs]
        if not places.keys() & outputs and outputs and inside.issuperset(outputs):
            places.update(dict.fromkeys(outputs, len(names)))
            names.append(node.name or outputs[0])
    crossings = tuple(_crossings(model, places))
    floats = frozenset(str(v.name) for node in model.graph for v in node.outputs) - places.keys()
    return Layout(tuple(names), len(units), places, floats, crossings, _needs(model, places, len(units)))


def _between_conversions(model: ir.Model) -> set[str]:
    """Values computed from dequantized ones alone, and read by QuantizeLinear alone."""
    found = set()
    for node in model.graph:
        given = [v for v in node.inputs if v is not None and constant_tensor(v) is None]
        producers = [v.producer() for v in given if v.dtype in (None, ir.DataType.FLOAT)]
        if node.op_type in CONVERSIONS or not producers:
            continue
        if any(p is None or p.op_type != "DequantizeLinear" for p in producers):
            continue
        for value in node.outputs:
            users = [use.node.op_type for use in value.uses()]
            if users and set(users) == {"QuantizeLinear"} and not value.is_graph_output():
                found.add(str(value.name))
    return found


def _crossings(model: ir.Model, places: Mapping[str, int]) -> list[tuple[int | None, tuple[int | None, ...], int]]:
    found = []
    values = [*model.graph.inputs, *(v for node in model.graph for v in node.outputs)]
    for value in values:
        if value.name in model.graph.initializers or value.dtype not in (None, ir.DataType.FLOAT):
            continue
        producer = places.get(str(value.name))
        readers = [_place_of(use.node, places) for use in value.uses()]
        readers += [None] if value.is_graph_output() else []
        if any(reader != producer for reader in readers):
            found.append((producer, tuple(dict.fromkeys(readers)), elements(value) or 0))
    return found


def _place_of(node: ir.Node, places: Mapping[str, int]) -> int | None:
    """The place that a node belongs to."""
    return next((places[str(v.name)] for v in node.outputs if str(v.name) in places), None)


def _needs(model: ir.Model, places: Mapping[str, int], units: int) -> dict[int, tuple[int, ...]]:
    found: dict[int, set[int]] = {}
    for node in model.graph:
        place = _place_of(node, places)
        if place is None or place < units:
            continue
        given = [v for v in node.inputs if v is not None and v.name in places]
        most = max((elements(v) or 0 for v in given), default=0)
        large = [v for v in given if (elements(v) or most) * SMALLER > most]
        found.setdefault(place, set()).update(places[str(v.name)] for v in large)
    return {place: tuple(sorted(needed - {place})) for place, needed in found.items()}


def place_times(model: ir.Model, times: Sequence[NodeTime], layout: Layout) -> dict[int, float]:
    """Nanoseconds of each place that has a kernel; conversions and changes of layout belong to none.

    Args:
        model: What was profiled, after legalization: the names of its nodes are those in ``times``.
        times: The profile.
        layout: Of the float model.
    """
    direct, inherited = _owners(model, layout)
    found: dict[int, float] = {}
    for time in times:
        if time.op_type == LAYOUT_CHANGE or time.op_type in CONVERSIONS:
            continue
        owners = [direct[name] for name in time.covers if name in direct]
        owners = owners or [inherited[name] for name in time.covers if name in inherited]
        units = {i for i in owners if i < layout.units}
        shared = sorted(units or set(owners))
        for i in shared:
            found[i] = found.get(i, 0.0) + time.nanoseconds / len(shared)
    return found


def _owners(model: ir.Model, layout: Layout) -> tuple[dict[str, int], dict[str, int]]:
    """Node -> place, of those that give a known value, and of those that only work towards one."""
    direct: dict[str, int] = {}
    inherited: dict[str, int] = {}
    towards: dict[ir.Node, int] = {}
    for node in reversed(model.graph):
        place = _place_of(node, layout.places)
        if place is not None:
            direct[str(node.name)] = place
        elif not any(v.name in layout.floats for v in node.outputs):
            users = [use.node for v in node.outputs for use in v.uses()]
            place = next((towards[user] for user in users if user in towards), None)
            if place is not None and node.op_type not in CONVERSIONS:
                inherited[str(node.name)] = place
        if place is not None:
            towards[node] = place
    return direct, inherited


def measure_conversions(load: Callable[[ir.Model], Runner], dtype: ir.DataType = ir.DataType.UINT8) -> ConversionCost:
    """Time QuantizeLinear and DequantizeLinear on the target.

    Args:
        load: Loads a model on the target.
        dtype: Of the integers.
    """
    slopes, fixed = [], []
    for op_type in ("QuantizeLinear", "DequantizeLinear"):
        times = [_time_conversion(load, op_type, dtype, size) for size in SIZES]
        slope = max((times[1] - times[0]) / (SIZES[1] - SIZES[0]), 0.0)
        slopes.append(slope)
        fixed.append(times[0] - slope * SIZES[0] - _time_conversion(load, "Identity", dtype, 1))
    return ConversionCost(max(0.0, float(np.mean(fixed))), slopes[0], slopes[1])


def _time_conversion(load: Callable[[ir.Model], Runner], op_type: str, dtype: ir.DataType, size: int) -> float:
    given, wanted = (dtype, ir.DataType.FLOAT) if op_type == "DequantizeLinear" else (ir.DataType.FLOAT, dtype)
    wanted = given if op_type == "Identity" else wanted
    x = ir.Value(name="x", shape=ir.Shape((size,)), type=ir.TensorType(given))
    scale = ir.Value(name="scale", const_value=ir.tensor(np.float32(0.05), name="scale"))
    zero = ir.Value(name="zero", const_value=ir.tensor(np.zeros((), dtype.numpy()), name="zero"))
    constants = [] if op_type == "Identity" else [scale, zero]
    node = ir.Node("", op_type, [x, *constants], num_outputs=1)
    y = node.outputs[0]
    y.name, y.shape, y.type = "y", ir.Shape((size,)), ir.TensorType(wanted)
    graph = ir.Graph([x], [y], nodes=[node], initializers=constants, opset_imports={"": 17}, name="conversion")
    feeds = {"x": (np.arange(size) % 251).astype(given.numpy())}
    call = call_of(load(ir.Model(graph, ir_version=8)), feeds)
    return float(np.median(time_one(call, seconds=SECONDS).samples))


def with_rewritten(
    floats: Mapping[int, float], integers: Mapping[int, float], units: int, unowned_ns: float
) -> dict[int, float]:
    """``floats`` with times for units whose kernels legalization has rewritten beyond recognition.

    They share the time of kernels that belong to no place, as their times in integers are to each other.

    Args:
        floats, integers: Times of the places in the two profiles.
        units: How many units there are; they are the first places.
        unowned_ns: Time of the float model's kernels that belong to no place.
    """
    lost = {i: integers[i] for i in range(units) if i not in floats and integers.get(i)}
    whole = sum(lost.values())
    return {**floats, **{i: max(0.0, unowned_ns) * ns / whole for i, ns in lost.items()}}


def build_problem(
    layout: Layout,
    floats: Mapping[int, float],
    integers: Mapping[int, float],
    damage: Sequence[float],
    cost: ConversionCost,
) -> MixProblem:
    """The problem to solve.

    Args:
        layout: Places and crossings.
        floats, integers: Times of the places in the two profiles. A unit without a kernel in the second one is taken to
            be as fast as in float, since nothing shows what it takes.
        damage: Of each unit.
        cost: Of a conversion.
    """
    places = []
    for i, name in enumerate(layout.names):
        unit = i < layout.units
        in_float = floats.get(i, 0.0)
        in_int8 = integers.get(i, in_float if unit else 0.0)
        needs = layout.needs.get(i, ())
        places.append(Place(name, in_float, in_int8, damage[i] if unit else 0.0, free=not unit, needs=needs))
    crossings = [
        Crossing(
            producer,
            readers,
            cost.fixed_ns + cost.quantize_ns * size,
            cost.fixed_ns + cost.dequantize_ns * size,
        )
        for producer, readers, size in layout.crossings
    ]
    return MixProblem(tuple(places), tuple(crossings))


def refit(problem: MixProblem, measured: Mapping[frozenset[int], float]) -> MixProblem:
    """``problem`` with dearer or cheaper edges, so that they take together what was measured.

    Args:
        problem: With edges as conversions alone.
        measured: Places in integers -> nanoseconds that this mix takes beyond its places.
    """
    predicted = sum(problem.edges_ns(inside) for inside in measured)
    if predicted <= 0:
        return problem
    factor = min(max(sum(measured.values()) / predicted, FACTORS[0]), FACTORS[1])
    dearer = [replace(c, enter_ns=c.enter_ns * factor, leave_ns=c.leave_ns * factor) for c in problem.crossings]
    return MixProblem(problem.places, tuple(dearer))

"""Analyse a model: costs of every kernel by shapes, its time by the runtime's profiler, its distance to the roofline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from tamis.compiler.analysis.macs import macs_of
from tamis.compiler.analysis.node_costs import MOVERS, Cost, count_parameters, group_cost
from tamis.compiler.analysis.roofline import Roofline, roofline_of
from tamis.compiler.analysis.rows import Bound, Row, by_kind
from tamis.compiler.analysis.subject import Subject
from tamis.compiler.analysis.tensor_size import static_shape, total
from tamis.compiler.machine_data import Machine
from tamis.compiler.target import NodeTime, Runtime
from tamis.compiler.tuning_database import TuningDatabase

NOTHING = Cost(0, 0, 0, 0, 0)
CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Convolutions -> which input has the weights."""
STALE = 1.03
"""A kernel that is faster than the peak by more than that tells that the peak was measured on a busy machine."""
LONG_NS = 50_000.0
"""Only of kernels that take at least so long is the rate known well enough for that."""
NOT_RUN = "folded into others"


@dataclass(frozen=True)
class Analysis:
    """What was found.

    Args:
        rows: One a kernel, in the order of execution; one a node, if nothing was measured.
        parameters: Elements of all weights, each once.
        roofline: The ceilings; None if nothing was measured.
    """

    rows: tuple[Row, ...]
    parameters: int
    roofline: Roofline | None

    @property
    def macs(self) -> int | None:
        """Of the whole model."""
        return total(row.cost.macs for row in self.rows)

    @property
    def moved(self) -> int | None:
        """Bytes that all kernels read and write."""
        return total(row.cost.moved for row in self.rows)

    @property
    def nanoseconds(self) -> float | None:
        """Time of all kernels."""
        return None if self.roofline is None else sum(row.nanoseconds or 0.0 for row in self.rows)

    def outside(self) -> list[tuple[str, float]]:
        """Kind -> share of all time that lies outside the roofline, the largest first; shares of nothing left out."""
        whole = self.nanoseconds
        if not whole:
            return []
        parts: dict[str, float] = {}
        for row in self.rows:
            parts[row.kind] = parts.get(row.kind, 0.0) + (row.outside or 0.0) / whole
        return sorted(((kind, share) for kind, share in parts.items() if share > 0), key=lambda pair: -pair[1])

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "macs": self.macs,
            "parameters": self.parameters,
            "bytes_moved": self.moved,
            "nanoseconds": self.nanoseconds,
            "outside_share": sum(share for _, share in self.outside()) if self.roofline else None,
            "outside_by_kind": dict(self.outside()),
            "roofline": self.roofline and self.roofline.to_dict(),
            "by_kind": [row.to_dict() for row in by_kind(self.rows)],
            "by_node": [row.to_dict() for row in self.rows],
        }


def costs(subject: Subject) -> Analysis:
    """Costs by shapes alone, one row a node."""
    functions = subject.model.functions
    rows = tuple(_row([node], group_cost([node], functions)) for node in subject.model.graph)
    return Analysis(rows, count_parameters(list(subject.model.graph)), None)


def analyse(
    subject: Subject,
    runtime: Runtime[Any],
    machine: Machine,
    database: TuningDatabase,
    *,
    seconds: float,
    optimize: bool,
    progress: Callable[[float, str], None],
) -> Analysis:
    """Costs and times.

    Args:
        subject: With feeds.
        runtime: With its options.
        machine: The machine at hand.
        database: Keeps the ceilings of the roofline.
        seconds: How long to run for.
        optimize: False times each node as it is written.
        progress: Gets (fraction done, a note).

    Raises:
        LoweringError, RuntimeFailureError: The runtime refuses the model, or fails.
        DataError: The feeds do not fit the model.
    """
    assert subject.feeds is not None
    times = runtime.profile(subject.model, subject.feeds, machine, seconds, progress, optimize=optimize)
    rows, ceilings = under_roofline(subject.model, times, runtime, machine, database)
    return Analysis(tuple(rows), count_parameters(list(subject.model.graph)), ceilings)


def under_roofline(
    model: ir.Model, times: Sequence[NodeTime], runtime: Runtime[Any], machine: Machine, database: TuningDatabase
) -> tuple[list[Row], Roofline]:
    """Rows with their distance to the roofline, which is measured again if a kernel is above it."""
    ceilings = roofline_of(runtime, machine, database)
    rows = measured_rows(model, times, ceilings)
    seen = max((row.rate or 0.0 for row in rows if not row.int8 and (row.nanoseconds or 0.0) >= LONG_NS), default=0.0)
    if seen > STALE * ceilings.peak:
        ceilings = roofline_of(runtime, machine, database, seen=seen)
        rows = measured_rows(model, times, ceilings)
    return rows, ceilings


def measured_rows(model: ir.Model, times: Sequence[NodeTime], ceilings: Roofline) -> list[Row]:
    """One row a kernel, and one for each node that no kernel covers since the runtime folded it away."""
    nodes = {node.name: node for node in model.graph}
    rows = []
    for time in times:
        group = [nodes.pop(name) for name in time.covers]
        if not group:
            rows.append(Row(time.op_type, time.op_type, NOTHING, nanoseconds=time.nanoseconds, attainable=0.0))
            continue
        rows.append(_row(group, group_cost(group, model.functions), time.nanoseconds, ceilings))
    for node in nodes.values():
        cost = group_cost([node], model.functions)
        left = Cost(cost.macs, cost.element_ops, cost.parameters, 0, 0, NOT_RUN)
        rows.append(Row(str(node.name), kind_of(node), left, nanoseconds=0.0, attainable=0.0))
    return rows


def _row(
    group: Sequence[ir.Node], cost: Cost, nanoseconds: float | None = None, ceilings: Roofline | None = None
) -> Row:
    main = _main(group)
    fused = tuple(node.op_type for node in group) if len(group) > 1 else ()
    attainable, bound = _attainable(group, cost, ceilings) if ceilings else (None, None)
    return Row(str(main.name), kind_of(main), cost, fused, 1, nanoseconds, attainable, bound, _is_int8(group))


def _main(group: Sequence[ir.Node]) -> ir.Node:
    """The node with most MACs; of several without any, the last one that computes something."""
    if len(group) == 1:
        return group[0]
    computes = [node.op_type not in MOVERS or node.domain != "" for node in group]
    sizes = [macs_of(node) or 0 for node in group]
    return group[max(range(len(group)), key=lambda i: (sizes[i], computes[i], i))]


def _attainable(group: Sequence[ir.Node], cost: Cost, ceilings: Roofline) -> tuple[float | None, Bound | None]:
    if cost.macs is None or cost.moved is None or cost.note:
        return None, None  # a graph inside: how often it runs is not known
    compute, memory = ceilings.compute_ns(cost.macs, int8=_is_int8(group)), ceilings.memory_ns(cost.moved)
    return max(compute, memory), "compute" if compute > memory else "memory"


def _is_int8(group: Sequence[ir.Node]) -> bool:
    """Whether the group multiplies 8-bit integers: so are the activations that it reads."""
    inside = set(group)
    activations = [v for node in group for v in node.inputs[:1] if v is not None and v.producer() not in inside]
    return any(v.dtype is not None and v.dtype.is_integer() and v.dtype.bitwidth == 8 for v in activations)


def kind_of(node: ir.Node) -> str:
    """The operator, of convolutions with their kind: depthwise, 1x1, or neither."""
    weights = CONVOLUTIONS.get(node.op_type)
    shape = static_shape(node.inputs[weights]) if weights is not None and weights < len(node.inputs) else None
    if shape is None:
        return node.op_type
    if node.attributes.get_int("group", 1) > 1 and shape[1] == 1:
        return f"{node.op_type} depthwise"
    return f"{node.op_type} 1x1" if all(size == 1 for size in shape[2:]) else node.op_type

"""``tamis analyze --pruning``: which channels of a model can go, what that saves, and what cannot go and why.

With samples also what the channels do: zeros behind ReLU, channels that are never active, and what is lost with a quarter
or a half of each group (criterion ``obs``, before any compensation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir

from tamis.compiler.analysis.finding import Bars, Finding
from tamis.compiler.analysis.macs import macs_of
from tamis.compiler.graph_pass import PassContext
from tamis.passes.pruning.allocation.cost import Cost
from tamis.passes.pruning.allocation.macs_cost import MacsCost
from tamis.passes.pruning.allocation.size_cost import SizeCost
from tamis.passes.pruning.analysis.activity import tensors_as_data
from tamis.passes.pruning.analysis.group_report import GroupReport, report_group
from tamis.passes.pruning.analysis.observed import Observed, observe_groups
from tamis.passes.pruning.analysis.summary import summarize_activity, summarize_structure
from tamis.passes.pruning.analysis.table_rows import columns, frozen_row, group_row
from tamis.passes.pruning.axes.axis_graph import VIEWS, AxisGraph


def analyse_pruning(model: ir.Model, context: PassContext, progress: Callable[[float, str], None]) -> Finding:
    """Analyse ``model``, which is left as it is, for the target of ``context``; samples are not needed.

    Raises:
        DataError, RuntimeFailureError: The samples do not fit the model, or it fails on them.
    """
    graph = AxisGraph(model, VIEWS)
    target = context.target
    multiple = 1 if target is None else target.runtime.channel_multiple(target.machine)
    costs = _costs(graph)
    reports = [report_group(group, costs, multiple) for group in graph.groups]
    observed = None if context.samples is None else observe_groups(graph, context.samples, context.seed, progress)
    ranked = sorted(reports, key=lambda r: (-(r.block_saves["MACs"] or 0.0), -(r.block_saves["bytes"] or 0.0)))
    rows = [group_row(report, observed) for report in ranked]
    rows += [frozen_row(each, is_observed=observed is not None) for each in graph.frozen]
    summary = summarize_structure(graph, costs, multiple)
    return Finding(
        summary if observed is None else {**summary, **summarize_activity(observed)},
        columns(is_observed=observed is not None),
        tuple(rows),
        {
            "multiple": multiple,
            "whole": {unit: None if cost is None else cost.whole({}) for unit, cost in costs.items()},
            "groups": [{**report.to_dict(), **_observed(report, observed)} for report in reports],
            "frozen": [{"group": f.name, "units": f.units, "reasons": list(f.reasons)} for f in graph.frozen],
            "tensors": None if observed is None else tensors_as_data(observed.zeros),
            "remarks": [] if observed is None else [vars(skip) for skip in observed.skips],
        },
        _bars(reports, observed),
    )


def _costs(graph: AxisGraph) -> dict[str, Cost | None]:
    """Unit -> cost; None for MACs if some are not known."""
    found = [macs_of(node) for node in graph.model.graph]
    known = any(found) and None not in found
    return {"MACs": MacsCost(graph) if known else None, "bytes": SizeCost(graph)}


def _observed(report: GroupReport, observed: Observed | None) -> dict[str, Any]:
    if observed is None:
        return {"activity": None, "loss": None}
    activity = observed.activity.get(report.name)
    return {"activity": activity and activity.to_dict(), "loss": observed.losses.get(report.name)}


def _bars(reports: list[GroupReport], observed: Observed | None) -> Bars | None:
    """Losses of half of each group; without samples, what a block of each saves."""
    values: Mapping[str, float | None]
    if observed is None:
        label, values = "MACs that a block saves", {r.name: r.block_saves["MACs"] for r in reports}
    else:
        label = "loss of half of the units, part of the energy of what reads them"
        values = {r.name: observed.losses.get(r.name, {}).get("0.5") for r in reports}
    known = {name: value for name, value in values.items() if value is not None}
    return Bars(label, known, {r.name: r.op for r in reports if r.name in known}) if known else None

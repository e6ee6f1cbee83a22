"""Tests of passes/pruning/analysis/group_report.py: savings against models that really lost units."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.analysis.macs import macs_of
from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.allocation.macs_cost import MacsCost
from tamis.passes.pruning.allocation.size_cost import SizeCost
from tamis.passes.pruning.analysis.group_report import GroupReport, report_group
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.remove import remove
from tests.models import model, random

NET = """g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
    [c1] a = Conv (x, w1, b1)
    [r1] b = Relu(a)
    [d1] c = Conv <pads = [1, 1, 1, 1], group = 16> (b, k)
    [c2] d = Conv (c, w2)
    [s] e = Add(d, b)
    [c3] y = Conv (e, w3)
}"""


def _net() -> ir.Model:
    found = model(
        NET,
        w1=random(16, 3, 1, 1),
        b1=random(16),
        k=random(16, 1, 3, 3),
        w2=random(16, 16, 1, 1, seed=1),
        w3=random(4, 16, 1, 1, seed=2),
    )
    Canonicalize()(found)
    return found


def _costs(found: ir.Model) -> dict[str, float]:
    read = {v: a for n in found.graph for v in n.inputs if v is not None and (a := constant_array(v)) is not None}
    return {"MACs": sum(macs_of(n) or 0 for n in found.graph), "bytes": sum(array.nbytes for array in read.values())}


def _report(found: ir.Model, multiple: int) -> GroupReport:
    graph = AxisGraph(found)
    [group] = graph.groups
    return report_group(group, {"MACs": MacsCost(graph), "bytes": SizeCost(graph)}, multiple)


def test_savings_are_those_of_a_model_that_lost_the_units() -> None:
    before, report = _costs(_net()), _report(_net(), 8)
    assert report.block == 8
    for count, saves in ((1, report.unit_saves), (8, report.block_saves)):
        pruned = _net()
        graph = AxisGraph(pruned)
        remove(graph, {graph.groups[0]: np.arange(count)})
        after = _costs(pruned)
        assert saves == pytest.approx({unit: before[unit] - after[unit] for unit in before})


def test_members_by_what_they_do() -> None:
    report = _report(_net(), 8)
    assert report.nodes("produce") == ("c1", "c2")
    assert report.nodes("consume") == ("c2", "c3")
    assert report.nodes("offset") == ("c1",) and report.nodes("scale") == ("d1",)
    assert report.op == "Conv" and report.positions == 1


def test_a_block_that_would_leave_nothing_saves_nothing() -> None:
    report = _report(_net(), 16)
    assert report.block == 16 and report.block_saves == {"MACs": None, "bytes": None}


def test_costs_that_cannot_be_told() -> None:
    [group] = AxisGraph(_net()).groups
    assert report_group(group, {"MACs": None}, 1).unit_saves == {"MACs": None}

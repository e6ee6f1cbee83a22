"""Tests of passes/pruning/analysis/pruning_analysis.py, summary.py and table_rows.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.analysis.finding import Finding
from tamis.compiler.graph_pass import Feeds, PassContext
from tamis.compiler.machine import find_machine
from tamis.compiler.machine_data import Machine
from tamis.compiler.registry import lookup
from tamis.compiler.target import Target
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.analysis.pruning_analysis import analyse_pruning
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tests.models import Array, model, random

NET = """g (float[{sizes}] x) => (float[{batch},5] y) {{
    [c1] a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    [r1] b = Relu(a)
    [c2] c = Conv <pads = [1, 1, 1, 1]> (b, w2, b2)
    [r2] d = Relu(c)
    [p] e = GlobalAveragePool(d)
    [f] h = Flatten(e)
    [fc] y = Gemm(h, w3, b3)
}}"""


class Blocks(OnnxRuntime):
    """A runtime whose kernels take four channels at once."""

    def channel_multiple(self, machine: Machine) -> int:
        return 4


def _net(sizes: str = "1,3,8,8", **weights: Array) -> ir.Model:
    named = {
        "w1": random(8, 3, 3, 3) * 0.3,
        "b1": random(8) * 0.1,
        "w2": random(12, 8, 3, 3, seed=1) * 0.1,
        "b2": random(12, seed=2) * 0.1,
        "w3": random(12, 5, seed=3) * 0.05,
        "b3": random(5, seed=4),
    } | weights
    arrays = {name: array.astype(np.float32) for name, array in named.items()}
    found = model(NET.format(sizes=sizes, batch=sizes.split(",")[0]), **arrays)
    Canonicalize()(found)
    return found


def _samples() -> Iterator[Feeds]:
    yield from ({"x": random(1, 3, 8, 8, seed=i)} for i in range(6))


def _analyse(found: ir.Model, *, data: bool = False) -> tuple[Finding, dict[str, Any]]:
    context = PassContext(target=Target("host", find_machine("host"), Blocks()), samples=_samples if data else None)
    finding = analyse_pruning(found, context, lambda _, __: None)
    json.dumps(finding.data, allow_nan=False)
    assert all(len(row) == len(finding.columns) for row in finding.rows)
    return finding, {group["group"]: group for group in finding.data["groups"]}


def test_groups_and_what_is_frozen() -> None:
    finding, groups = _analyse(_net())
    assert {name: group["units"] for name, group in groups.items()} == {"c1": 8, "c2": 12}
    roles = [(m["node"], m["input"], m["role"]) for m in groups["c1"]["members"]]
    assert roles == [("c1", 1, "produce"), ("c1", 2, "offset"), ("c2", 1, "consume")]
    [frozen] = finding.data["frozen"]
    assert frozen["group"] == "fc" and frozen["units"] == 5 and "a graph output" in frozen["reasons"]
    assert finding.summary["can go"] == "20 units in 2 groups; 5 units are frozen"
    assert "a graph output (5)" in finding.summary["frozen because"]


def test_without_samples_there_are_no_columns_of_data() -> None:
    finding, groups = _analyse(_net())
    assert "zeros" not in finding.columns and finding.data["tensors"] is None
    assert groups["c1"]["activity"] is None and groups["c1"]["loss"] is None


def test_the_table_begins_with_what_saves_most_and_ends_with_what_is_frozen() -> None:
    finding, groups = _analyse(_net())
    assert [row[0] for row in finding.rows] == ["c1", "c2", "fc"]
    assert groups["c1"]["block_saves"]["MACs"] == 64 * 9 * 4 * (3 + 12) > groups["c2"]["block_saves"]["MACs"]
    assert finding.rows[-1][-1] == "frozen: a graph output; no weight reads it"
    assert finding.bars is not None and finding.bars.values["c1"] == groups["c1"]["block_saves"]["MACs"]


def test_half_of_each_group() -> None:
    """Both convolutions lose half of their outputs, the second one and the product half of their inputs as well."""
    finding, _ = _analyse(_net())
    macs = 64 * 9 * (3 * 8 + 8 * 12) + 12 * 5
    left = 64 * 9 * (3 * 4 + 4 * 6) + 6 * 5
    assert f"saves {100 * (1 - left / macs):.0f} % of the MACs" in finding.summary["half of each group"]


def test_samples_show_channels_that_are_never_active() -> None:
    bias = random(8) * 0.1
    bias[3] = -1e4
    finding, groups = _analyse(_net(b1=bias), data=True)
    activity = groups["c1"]["activity"]
    assert activity["per_unit"][3] == 1 and activity["dead"] == pytest.approx(1 / 8)
    assert "zeros" in finding.columns and finding.summary["never active"].startswith("1 of 20 channels")
    assert 0 <= groups["c1"]["loss"]["0.25"] <= groups["c1"]["loss"]["0.5"]
    assert finding.bars is not None and finding.bars.values["c1"] == groups["c1"]["loss"]["0.5"]
    assert [tensor["tensor"] for tensor in finding.data["tensors"]] == ["b", "d"]


def test_a_group_that_cannot_be_scored_says_why() -> None:
    weight = random(12, 8, 3, 3, seed=1)
    weight[0, 0, 0, 0] = np.nan
    finding, groups = _analyse(_net(w2=weight), data=True)
    assert groups["c1"]["loss"] is None
    assert {"reason": "weights that are not finite", "node": "c1"} in finding.data["remarks"]
    assert "weights that are not finite" in finding.summary["remarks"]


def test_sizes_that_are_not_known_leave_macs_open() -> None:
    finding, groups = _analyse(_net("N,3,H,W"))
    assert groups["c1"]["block_saves"]["MACs"] is None and groups["c1"]["block_saves"]["bytes"] > 0
    assert finding.data["whole"]["MACs"] is None and "MACs" not in finding.summary["half of each group"]


def test_a_model_with_nothing_to_prune() -> None:
    finding, groups = _analyse(model("g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }"))
    assert not groups and finding.summary["can go"] == "nothing: no weights make channels"
    assert finding.bars is None
    only_output = model("g (float[2,3] x) => (float[2,4] y) { y = MatMul(x, w) }", w=random(3, 4))
    assert _analyse(only_output)[0].summary["can go"] == "nothing: 4 units are frozen"


def test_the_model_is_left_as_it_is() -> None:
    found = _net()
    before = ir.to_proto(found).SerializeToString()
    _analyse(found, data=True)
    assert ir.to_proto(found).SerializeToString() == before


def test_is_in_the_registry() -> None:
    assert lookup("analyses", "pruning") is analyse_pruning

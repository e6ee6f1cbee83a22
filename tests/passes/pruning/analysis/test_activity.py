"""Tests of passes/pruning/analysis/activity.py: zeros of groups against numpy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import Feeds
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.analysis.activity import Activity, activity_of, tensors_as_data
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.importance.zeros import activation_zeros
from tests.models import Array, model, random, run

FLATTENED = """g (float[1,2,4,4] x) => (float[1,5] y, float[1,8,4,4] b) {
    [c] a = Conv (x, w, bias)
    [r] b = Relu(a)
    [f] h = Flatten(b)
    [fc] y = Gemm(h, v)
}"""
TWICE = """g (float[1,2,4,4] x) => (float[1,5,4,4] y) {
    [c1] a = Conv (x, w, bias)
    [r1] b = Relu(a)
    [c2] c = Conv (b, u)
    [s] d = Add(b, c)
    [r2] e = Relu(d)
    [c3] y = Conv (e, v)
}"""


def _samples() -> Iterator[Feeds]:
    yield from ({"x": random(1, 2, 4, 4, seed=i)} for i in range(5))


def _bias(*dead: int) -> Array:
    bias = random(8, seed=7) * 0.5
    bias[list(dead)] = -100
    return bias


def _activities(found: ir.Model) -> list[Activity | None]:
    stats = {each.name: each for each in activation_zeros(found, _samples)}
    return [activity_of(group, stats) for group in AxisGraph(found).groups]


def test_zeros_are_counted_by_unit() -> None:
    found = model(
        FLATTENED.replace(", float[1,8,4,4] b) {", ") {"),
        w=random(8, 2, 1, 1),
        bias=_bias(1, 6),
        v=random(128, 5),
    )
    Canonicalize()(found)
    shown = model(FLATTENED, w=random(8, 2, 1, 1), bias=_bias(1, 6), v=random(128, 5))
    zero = np.stack([run(shown, feeds)[1][0] == 0 for feeds in _samples()])  # (samples, channels, height, width)
    [activity] = _activities(found)
    assert activity is not None
    assert activity.per_unit == pytest.approx(zero.mean(axis=(0, 2, 3)))
    assert activity.zeros == pytest.approx(zero.mean()) and activity.dead == pytest.approx(2 / 8)
    assert activity.blocks_of_eight == pytest.approx(zero.all(axis=1).mean())


def test_a_unit_is_dead_only_if_it_is_in_all_values() -> None:
    """Channel 1 is dead at first, but what is added to it is not."""
    weights = {"w": random(8, 2, 1, 1), "u": np.abs(random(8, 8, 1, 1, seed=3)), "v": random(5, 8, 1, 1)}
    weights["u"][4] = 0
    found = model(TWICE, bias=_bias(1, 4), **weights)
    Canonicalize()(found)
    [activity] = _activities(found)
    assert activity is not None and activity.dead == pytest.approx(1 / 8)
    assert activity.per_unit[4] == 1 and activity.per_unit[1] == pytest.approx(0.5)


def test_a_group_without_relu_has_no_activity() -> None:
    graph = "g (float[1,2,4,4] x) => (float[1,5,4,4] y) { [c] a = Conv (x, w) [c2] y = Conv (a, v) }"
    found = model(graph, w=random(8, 2, 1, 1), v=random(5, 8, 1, 1))
    Canonicalize()(found)
    assert _activities(found) == [None]


def test_values_as_data() -> None:
    found = model(TWICE, w=random(8, 2, 1, 1), u=random(8, 8, 1, 1), v=random(5, 8, 1, 1), bias=_bias(2))
    Canonicalize()(found)
    first, second = tensors_as_data(activation_zeros(found, _samples))
    assert first["tensor"] == "b" and first["dead_channels"] == 1 and len(first["per_channel"]) == 8
    assert second["tensor"] == "e"

"""Operations and bytes as predicted, against those of the model that is left."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.analysis.macs import macs_of
from tamis.passes.pruning.allocation.geometry import Geometry
from tamis.passes.pruning.allocation.mac_products import products_of
from tamis.passes.pruning.allocation.macs_cost import MacsCost
from tamis.passes.pruning.allocation.size_cost import SizeCost
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.remove import remove
from tests import models
from tests.models import random
from tests.passes.pruning.allocation.allocation_nets import NETS, axis_graph


def macs(model: ir.Model) -> int:
    return sum(macs_of(node) or 0 for node in model.graph.all_nodes())


def size(model: ir.Model) -> int:
    return sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)


def prune(graph: AxisGraph, seed: int) -> dict[str, int]:
    """Take out a random number of units of each group; gives what is left by name."""
    draw = np.random.default_rng(seed)
    left = {group: int(draw.integers(1, group.units + 1)) for group in graph.groups}
    remove(graph, {g: draw.permutation(g.units)[left[g] :] for g in graph.groups})
    return {group.name: n for group, n in left.items()}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NETS)
def test_predicted_is_what_is_left(name: str, seed: int) -> None:
    model = NETS[name]()
    graph = axis_graph(model)
    assert graph.groups
    costs = (MacsCost(graph), SizeCost(graph))
    assert [c.whole({}) for c in costs] == [macs(model), size(model)]
    left = prune(graph, seed)
    widths = {group: left[group.name] for group in graph.groups}
    assert [c.whole(widths) for c in costs] == [macs(model), size(model)]


@pytest.mark.parametrize("name", NETS)
def test_savings_are_differences(name: str) -> None:
    graph = axis_graph(NETS[name]())
    for cost in (MacsCost(graph), SizeCost(graph)):
        widths = {group: group.units - 1 for group in graph.groups[::2]}
        for group in graph.groups:
            after = {**widths, group: widths.get(group, group.units) - 2}
            assert cost.savings(widths, group, 2) == pytest.approx(cost.whole(widths) - cost.whole(after))
            assert cost.savings(widths, group, 2) > 0


def test_a_weight_with_two_readers_counts_once_where_they_keep_the_same() -> None:
    model = NETS["joined"]()
    graph = axis_graph(model)
    assert len([v for v in model.graph.initializers.values() if len(v.uses()) == 2]) == 1
    assert SizeCost(graph).whole({}) == size(model)


def test_operations_of_what_is_frozen_are_constant() -> None:
    model = models.model("g (float[2, 6] x) => (float[2, 6] y) { y = MatMul(x, w) }", w=random(6, 6))
    graph = axis_graph(model)
    cost = MacsCost(graph)
    assert graph.groups == ()
    assert cost.whole({}) == 2 * 36


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("g (float[6, 4] x) => (float[4, 5] y) { y = Gemm<transA=1>(x, w) }", {"w": random(6, 5)}),
        ("g (float[3, 2, 6] x) => (float[3, 2] y) { y = MatMul(x, w) }", {"w": random(6)}),
        ("g (float[6] x) => (float[4] y) { y = MatMul(x, w) }", {"w": random(6, 4)}),
        (
            'g (float[2, 3, 6] x) => (float[2, 3, 4] y) { y = Einsum<equation="bti,io->bto">(x, w) }',
            {"w": random(6, 4)},
        ),
        ("g (float[1, 4, 5, 5] x) => (float[1, 6, 5, 5] y) { y = Conv<group=2>(x, w) }", {"w": random(6, 2, 1, 1)}),
        ("g (float[1, 4, 5] x) => (float[1, 6, 6] y) { y = ConvTranspose(x, w) }", {"w": random(4, 6, 2)}),
    ],
)
def test_formulas_agree_with_the_counter(text: str, weights: dict[str, models.Array]) -> None:
    model = models.model(text, **weights)
    (node,) = model.graph
    geometry = Geometry(axis_graph(model))
    terms = [geometry.product(axes) for axes in products_of(node)]
    assert sum(geometry.whole(term) for term in terms if term is not None) == macs_of(node)

"""Fits find what was planted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tamis.passes.pruning.allocation.geometry import Geometry
from tamis.passes.pruning.allocation.kernel_owners import Profile
from tamis.passes.pruning.allocation.latency_cost import LatencyCost, Measured, fit, pruned_clone
from tamis.passes.pruning.allocation.latency_fit import calibrate, fit_kernels, non_negative
from tamis.passes.pruning.allocation.macs_cost import MacsCost
from tamis.passes.pruning.allocation.sample_widths import sample_widths
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.group import Group
from tests.passes.pruning.allocation.allocation_nets import NETS, axis_graph

OVERHEAD = 0.2


def planted(graph: AxisGraph, samples: Sequence[dict[Group, int]], noise: float, block: int = 1) -> list[Measured]:
    """Measurements of a machine on which an operation takes 2 ns in the first convolution and 0.5 ns elsewhere.

    It computes whole blocks of units. Profiles drift, each by a factor of its own, and show 100 ns for each kernel that the model as a whole does not take.
    """
    draw = np.random.default_rng(0)
    geometry = Geometry(graph)
    costs = {
        frozenset([i]): (2.0 if i == 0 else 0.5, geometry.macs(node))
        for i, node in enumerate(graph.model.graph)
        if geometry.macs(node)
    }
    found, wholes = [], []
    for widths in samples:
        left = np.ceil(geometry.widths(widths) / block) * block
        sizes = geometry.lengths.at(left)
        times = {
            nodes: ns * sum(t.coefficient * float(np.prod(sizes[list(t.sizes)])) for t in terms)
            for nodes, (ns, terms) in costs.items()
        }
        wholes.append(sum(times.values()))
        drift = float(np.exp(draw.uniform(-1.5, 1.5)))
        shown = {nodes: drift * (ns + 100.0) * (1 + noise * draw.standard_normal()) for nodes, ns in times.items()}
        found.append(Profile(shown, 0.0))
    ratios = [OVERHEAD + (1 - OVERHEAD) * t / wholes[0] for t in wholes]
    return [Measured(w, p, r, wholes[0]) for w, p, r in zip(samples, found, ratios, strict=True)]


def held_out(graph: AxisGraph, cost: LatencyCost, block: int = 1) -> list[float]:
    samples = sample_widths(graph.groups, 10, 1, 99)
    truth = planted(graph, [{}, *samples], 0.0, block)[1:]
    whole = cost.whole({})
    return [cost.whole(m.widths) / whole / m.ratio - 1 for m in truth]


@pytest.mark.parametrize("name", ["plain", "residual", "joined"])
def test_what_was_not_fitted_is_predicted(name: str) -> None:
    graph = axis_graph(NETS[name]())
    cost = fit(graph, planted(graph, sample_widths(graph.groups, 12, 1, 0), 0.05), 1)
    assert np.abs(held_out(graph, cost)).max() < 0.05
    assert np.abs(cost.errors).max() < 0.05
    assert cost.errors[0] == 0
    assert cost.unit == "ns"


def test_the_layer_that_takes_the_time_is_found() -> None:
    graph = axis_graph(NETS["plain"]())
    cost = fit(graph, planted(graph, sample_widths(graph.groups, 12, 1, 0), 0.02), 1)
    truth = planted(graph, [{}, *({g: g.units - 8} for g in graph.groups)], 0.0)
    for each, without in zip(graph.groups, truth[1:], strict=True):
        saved = cost.savings({}, each, 8) / cost.whole({})
        assert saved == pytest.approx(1 - without.ratio, abs=0.02)
    assert MacsCost(graph).savings({}, graph.groups[0], 8) > 0


def test_noise_makes_no_width_free() -> None:
    graph = axis_graph(NETS["plain"]())
    geometry = Geometry(graph)
    widths = [geometry.widths(sample) for sample in sample_widths(graph.groups, 12, 1, 0)]
    convolutions = [i for i, node in enumerate(graph.model.graph) if node.op_type == "Conv"]
    backwards = [Profile({frozenset([i]): 1000.0 - w.sum() for i in convolutions}, 0.0) for w in widths]
    macs, elements = fit_kernels(geometry, widths, backwards)
    for group in graph.groups:
        narrower = geometry.widths({group: group.units - 8})
        assert macs.at(narrower) + elements.at(narrower) < macs.at(widths[0]) + elements.at(widths[0])


def test_widths_count_in_blocks() -> None:
    graph = axis_graph(NETS["residual"]())
    cost = fit(graph, planted(graph, sample_widths(graph.groups, 12, 8, 0), 0.0, 16), 16)
    assert np.abs(held_out(graph, cost, 16)).max() < 0.04
    first = next(group for group in graph.groups if group.units == 24)
    assert cost.savings({}, first, 7) == 0
    assert cost.savings({}, first, 8) > 0


def test_one_measurement_gives_a_constant() -> None:
    graph = axis_graph(NETS["plain"]())
    cost = fit(graph, planted(graph, [{g: g.units for g in graph.groups}], 0.0), 16)
    assert cost.whole({}) > 0
    assert cost.errors == (0.0,)


def test_factors_are_never_negative() -> None:
    x = np.asarray([1.0, 2.0, 3.0, 4.0])
    assert non_negative(np.stack([x, np.ones(4)], 1), 5 - x)[0] == 0
    assert non_negative(np.stack([x, np.ones(4)], 1), np.zeros(4)) == (0.0, 0.0)
    assert non_negative(np.stack([x, np.ones(4)], 1), 3 * x + 2) == pytest.approx((3.0, 2.0))


def test_the_whole_is_met_even_where_it_is_out_of_line() -> None:
    sums = np.stack([np.linspace(1.0, 0.3, 8), np.zeros(8)], 1)
    ratios = 0.95 * sums[:, 0]
    ratios[0] = 1.0
    constant, slope, _ = calibrate(sums, ratios)
    assert constant + slope == pytest.approx(1.0, abs=0.025)
    assert constant + slope * 0.5 == pytest.approx(0.475, abs=0.02)


def test_a_clone_is_as_wide_as_it_should_be_and_the_model_is_as_it_was() -> None:
    model = NETS["residual"]()
    graph = axis_graph(model)
    widths = {group: group.units // 2 for group in graph.groups}
    before = MacsCost(graph)
    clone = pruned_clone(graph, model, widths, 0)
    assert MacsCost(AxisGraph(clone)).whole({}) == before.whole(widths)
    assert MacsCost(AxisGraph(model)).whole({}) == before.whole({})

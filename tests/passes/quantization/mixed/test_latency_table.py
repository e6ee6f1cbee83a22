"""Places, their times from profiles, and conversions, on a small network with its real integer form."""

from __future__ import annotations

import pytest

from tamis.compiler.registry import runtime_class
from tamis.compiler.target import NodeTime
from tamis.passes.quantization.mixed.choose_mix import Crossing, MixProblem, Place
from tamis.passes.quantization.mixed.latency_table import (
    FACTORS,
    ConversionCost,
    Layout,
    build_problem,
    lay_out,
    measure_conversions,
    place_times,
    refit,
    with_rewritten,
)
from tamis.passes.quantization.placement.units import find_units
from tests.passes.quantization.mix_models import network, quantized, table

COST = ConversionCost(10.0, 2.0, 1.0)


@pytest.fixture(scope="module")
def layout() -> Layout:
    model = network()
    units = find_units(model, table())
    return lay_out(model, quantized(model, units), units)


def test_units_and_what_stays_integer_between_them_are_places(layout: Layout) -> None:
    assert layout.names[: layout.units] == ("stem", "body", "tail", "head")
    assert {"pool", "add"} <= set(layout.names[layout.units :])
    assert not {"relu", "tanh", "x"} & set(layout.names)
    assert layout.places["a"] == layout.places["r"] == 0


def test_crossings_know_their_size_and_each_reader_once(layout: Layout) -> None:
    pool, add = layout.names.index("pool"), layout.names.index("add")
    assert (None, (0,), 8 * 16 * 16) in layout.crossings
    assert (0, (pool,), 16 * 16 * 16) in layout.crossings
    assert (pool, (1, add), 16 * 8 * 8) in layout.crossings
    assert (2, (None,), 16 * 8 * 8) in layout.crossings
    assert (3, (None,), 4) in layout.crossings


def test_what_is_free_needs_what_it_reads(layout: Layout) -> None:
    pool, add = layout.names.index("pool"), layout.names.index("add")
    assert layout.needs[pool] == (0,)
    assert layout.needs[add] == tuple(sorted((1, pool)))


def test_a_kernel_counts_for_the_unit_in_it(layout: Layout) -> None:
    times = [
        NodeTime("FusedConv", 100.0, ("stem", "relu")),
        NodeTime("MaxPool", 7.0, ("pool",)),
        NodeTime("FusedConv", 50.0, ("body", "add")),
        NodeTime("layout change", 3.0, ()),
        NodeTime("Tanh", 9.0, ("tanh",)),
    ]
    places = place_times(network(), times, layout)
    assert places == {0: 100.0, 1: 50.0, layout.names.index("pool"): 7.0}


def test_integer_kernels_are_found_by_the_values_they_give(layout: Layout) -> None:
    model = quantized(network(), find_units(network(), table()))
    names = {v.name: str(node.name) for node in model.graph for v in node.outputs}
    conversions = [str(n.name) for n in model.graph if n.op_type == "DequantizeLinear" and "weight" in str(n.name)]
    times = [
        NodeTime("QLinearConv", 40.0, (conversions[0], "stem", *(n for v, n in names.items() if v == "r"))),
        NodeTime("QLinearAdd", 5.0, ("add",)),
        NodeTime("QuantizeLinear", 2.0, ("x_quantized",)),
        NodeTime("DequantizeLinear", 1.0, ("y",)),
    ]
    places = place_times(model, times, layout)
    assert places == {0: 40.0, layout.names.index("add"): 5.0}


def test_the_problem_has_the_measured_times(layout: Layout) -> None:
    problem = build_problem(layout, {0: 100.0, 1: 80.0}, {0: 50.0}, [0.1, 0.2, 0.3, 0.4], COST)
    assert problem.places[0] == Place("stem", 100.0, 50.0, 0.1)
    assert problem.places[1] == Place("body", 80.0, 80.0, 0.2)
    assert problem.places[layout.names.index("pool")].free
    entry = problem.crossings[layout.crossings.index((None, (0,), 2048))]
    assert (entry.enter_ns, entry.leave_ns) == (10 + 2 * 2048, 10 + 2048)


def test_edges_are_refitted_to_what_profiles_show_within_bounds() -> None:
    problem = MixProblem((Place("a", 10, 5), Place("b", 10, 5)), (Crossing(None, (0,), 4, 4), Crossing(0, (1,), 4, 4)))
    inside = frozenset({0})
    assert refit(problem, {inside: 24.0}).edges_ns(inside) == pytest.approx(24)
    assert refit(problem, {inside: 1e9}).edges_ns(inside) == pytest.approx(8 * FACTORS[1])
    assert refit(problem, {inside: 0.0}).edges_ns(inside) == pytest.approx(8 * FACTORS[0])
    assert refit(problem, {frozenset(): 5.0}) is problem


def test_conversions_take_time_that_grows_with_the_tensor() -> None:
    cost = measure_conversions(runtime_class("onnxruntime")().load_model)
    assert cost.fixed_ns >= 0
    assert 0 < cost.quantize_ns < 100
    assert 0 < cost.dequantize_ns < 100


def test_units_that_legalization_rewrote_share_what_belongs_to_no_place() -> None:
    assert with_rewritten({0: 5.0, 3: 1.0}, {0: 2.0, 1: 3.0, 2: 1.0, 3: 1.0}, 3, 40.0) == {0: 5, 1: 30, 2: 10, 3: 1}
    assert with_rewritten({0: 5.0}, {0: 2.0}, 2, 40.0) == {0: 5.0}

"""Kernels of a changed model, and the nodes of the model as it was that they stand for."""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.target import NodeTime
from tamis.passes.pruning.allocation.geometry import Geometry
from tamis.passes.pruning.allocation.kernel_features import features_of, merged_kernels
from tamis.passes.pruning.allocation.kernel_owners import Profile, profile_of
from tests import models
from tests.models import random
from tests.passes.pruning.allocation.allocation_nets import NETS, axis_graph

ORIGINAL = "g (float[1, 4, 8, 8] x) => (float[1, 8, 8, 8] y) { a = Conv(x, w) b = Relu(a) y = Sigmoid(b) }"
REWRITTEN = """g (float[1, 4, 8, 8] x) => (float[1, 8, 8, 8] y)
    { a = Conv(x, w) p = Abs(a) q = Neg(p) b = Relu(q) y = Sigmoid(b) }"""


def named(text: str) -> ir.Model:
    found = models.model(text, w=random(8, 4, 1, 1))
    for node in found.graph:
        node.name = f"node {node.outputs[0].name}"
    return found


def test_nodes_stand_for_what_gives_the_same_value_or_work_towards_it() -> None:
    kernels = [
        NodeTime("Conv", 10.0, ("node a", "node p")),
        NodeTime("Neg", 1.0, ("node q",)),
        NodeTime("Relu", 2.0, ("node b",)),
        NodeTime("Sigmoid", 5.0, ("node y",)),
        NodeTime("layout change", 3.0, ()),
        NodeTime("Unknown", 2.0, ("elsewhere",)),
    ]
    found = profile_of(named(ORIGINAL), named(REWRITTEN), kernels)
    assert found == Profile({frozenset([0, 1]): 10.0, frozenset([1]): 3.0, frozenset([2]): 5.0}, 5.0)
    assert found.total == 23.0
    assert found.scaled(2.0).total == 46.0


def test_nodes_that_once_run_together_count_together() -> None:
    sets = [[{0}, {1, 2}, {5}], [{0, 1}, {2}, {4}, {5}], [{3, 4}, {6}]]
    profiles = [Profile(dict.fromkeys(map(frozenset, each), 1.0), 0.0) for each in sets]
    assert merged_kernels(profiles) == [frozenset(s) for s in ({0, 1, 2}, {3, 4}, {5}, {6})]


def test_what_a_kernel_keeps_to_itself_is_not_moved() -> None:
    graph = axis_graph(NETS["plain"]())
    geometry = Geometry(graph)
    assert [node.op_type for node in graph.model.graph][:2] == ["Conv", "Relu"]
    found = features_of(geometry, frozenset([0, 1]))

    macs, elements = ([geometry.whole(term) for term in terms] for terms in (found.macs, found.elements))
    assert sum(macs) == 144 * 32 * 27
    assert sum(elements) == 144 * 3 + 32 * 27 + 32 + 144 * 32

"""Units taken out of random graphs, and the same units masked, compute the same; a wrong rule is caught."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import onnx
import pytest

from benchmarks.pruning.both_ways import TOLERANCE, difference, masked, random_units, removed, run
from tamis.compiler.errors import TamisError
from tamis.passes.pruning.axes.axis import Slot
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.coupling import rules
from tamis.passes.pruning.coupling.rules import Rule
from tests.models import check
from tests.passes.pruning.planted_rules import (
    DISTORTED,
    ELEMENTWISE,
    FORGETFUL,
    Distorted,
    distorted,
    elementwise,
    forgetful,
)
from tests.passes.pruning.random_graphs import RandomGraph, random_graph

VIEWS = ((0,), (1,), (2,), (0, 1, 2))
FAST = range(60)
SLOW = range(60, 400)

# fmt: off
WANTED = {
    "Add", "BatchNormalization", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "Einsum", "Flatten", "GRU", "Gather",
    "Gemm", "GlobalAveragePool", "LSTM", "MatMul", "Mul", "Pad", "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid",
    "Slice", "Softmax", "Split", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze",
}
# fmt: on
"""Operators that must lose something."""

graph_of = cache(random_graph)


def misslices(found: RandomGraph, views: Sequence[int], seed: int, *, alone: bool = False) -> Iterator[str]:
    """What differs: groups, and how far; nothing if all is well.

    Args:
        found: Left as it is.
        views: Of the axis graph.
        seed: Of the units.
        alone: Each group by itself as well as all together.
    """
    graph = AxisGraph(found.model, views)
    several = [i for i, group in enumerate(graph.groups) if group.units > 1]
    for groups in ([several] if several else []) + ([[i] for i in several] if alone else []):
        chosen = random_units(graph, np.random.default_rng([seed, *groups]), groups)
        without = removed(found.model, chosen, views)
        check(without)
        error = difference(run(without, found.feeds), run(masked(found.model, chosen, views), found.feeds))
        if not error < TOLERANCE:
            yield f"views {views}, groups {[graph.groups[i].name for i in groups]}: {error:.1e}, made by {found.moves}"


@pytest.mark.parametrize("seed", FAST)
def test_removed_equals_masked(seed: int) -> None:
    found = graph_of(seed)
    assert not [wrong for views in VIEWS for wrong in misslices(found, views, seed)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*FAST, *SLOW])
def test_removed_equals_masked_for_each_group(seed: int) -> None:
    found = random_graph(seed)
    assert not [wrong for views in VIEWS for wrong in misslices(found, views, seed, alone=True)]


def test_every_family_of_rules_is_put_to_the_test() -> None:
    """Operators whose tensors lose something, where the outputs show it."""
    touched: set[str] = set()
    seen = 0
    for seed in FAST:
        found = graph_of(seed)
        graph = AxisGraph(found.model, VIEWS[-1])
        chosen = random_units(graph, np.random.default_rng(seed))
        effect = difference(run(masked(found.model, chosen, VIEWS[-1]), found.feeds), run(found.model, found.feeds))
        if effect < 100 * TOLERANCE:
            continue
        seen += 1
        for tensor in (member.axis.tensor for number in chosen for member in graph.groups[number].members):
            nodes = [tensor.node] if isinstance(tensor, Slot) else [use.node for use in tensor.uses()]
            touched.update(node.op_type for node in nodes)
    assert seen > 0.9 * len(FAST)
    assert touched >= WANTED


def caught(op_type: str, wrong: Rule, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """The first graph that shows a wrong rule."""
    monkeypatch.setitem(rules._table(), op_type, wrong)
    for seed in FAST:
        found = graph_of(seed)
        if all(node.op_type != op_type for node in found.model.graph):
            continue
        for views in VIEWS:
            try:
                if any(misslices(found, views, seed)):
                    return seed
            except (TamisError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError, AssertionError):
                return seed
    return None


@pytest.mark.parametrize(("op_type", "how"), DISTORTED, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_a_wrong_rule_is_caught(op_type: str, how: type[Distorted], monkeypatch: pytest.MonkeyPatch) -> None:
    assert caught(op_type, distorted(rules._table()[op_type], how), monkeypatch) is not None


@pytest.mark.parametrize("op_type", FORGETFUL)
def test_a_forgotten_repair_is_caught(op_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert caught(op_type, forgetful(rules._table()[op_type]), monkeypatch) is not None


@pytest.mark.parametrize("op_type", ELEMENTWISE)
def test_a_rule_of_another_operator_is_caught(op_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert caught(op_type, elementwise(rules._table()[op_type]), monkeypatch) is not None

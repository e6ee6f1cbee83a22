"""Nets with operators that move positions between two convolutions or products, and the check that they are right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from benchmarks.pruning.both_ways import TOLERANCE, difference, masked, random_units, removed, run
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tests.models import Array, check, model, random


def ints(*numbers: int) -> Array:
    """A constant of int64."""
    return np.array(numbers, np.int64)


def image_net(body: str, width: int, opset: int = 17, batch: str = "2", /, **constants: Array) -> ir.Model:
    """Conv to ``h`` of 8 channels, 4 x 4; ``body``, from ``h`` to ``t`` of ``width`` channels; Conv to 5 channels."""
    sizes = "?,?,?,?"
    return made(
        f"g (float[{batch},3,4,4] x) => (float[{sizes}] y) {{ h = Conv (x, first, bias) {body} y = Conv (t, last) }}",
        opset,
        first=random(8, 3, 1, 1, seed=11),
        bias=random(8, seed=12),
        last=random(5, width, 1, 1, seed=13),
        **constants,
    )


def row_net(body: str, width: int, opset: int = 17, batch: str = "2", /, **constants: Array) -> ir.Model:
    """As ``image_net``, but ``t`` goes into a product with a matrix of ``width`` rows."""
    return made(
        f"g (float[{batch},3,4,4] x) => (float[?,?] y) {{ h = Conv (x, first, bias) {body} y = MatMul (t, last) }}",
        opset,
        first=random(8, 3, 1, 1, seed=11),
        bias=random(8, seed=12),
        last=random(width, 5, seed=13),
        **constants,
    )


def made(graph: str, opset: int, /, **constants: Array) -> ir.Model:
    """A canonicalized model of ONNX text, whose input is called ``x``."""
    found = model(graph, opset, **constants)
    Canonicalize()(found)
    return found


def hold(found: ir.Model, groups: Sequence[int], views: Sequence[int] = (0,), seeds: int = 4) -> list[ir.Model]:
    """Removed equals masked, for each group and for all at once, several units each.

    Args:
        found: The model.
        groups: Units of the groups that it must have, in order.
        views: Of the axis graph.
        seeds: How many random choices of units.

    Returns:
        The models without units of all groups, one a seed.
    """
    graph = AxisGraph(found, views)
    assert [group.units for group in graph.groups] == list(groups)
    shape = found.graph.inputs[0].shape
    assert shape is not None
    feeds = {"x": random(*(size if isinstance(size, int) else 3 for size in shape), seed=1)}
    wanted, models = run(found, feeds), []
    for seed in range(seeds):
        for numbers in (*([i] for i in range(len(groups))), list(range(len(groups)))):
            chosen = random_units(graph, np.random.default_rng(seed), numbers)
            without, zeroed = removed(found, chosen, views), run(masked(found, chosen, views), feeds)
            check(without)
            assert difference(run(without, feeds), zeroed) < TOLERANCE
            assert not chosen or difference(wanted, zeroed) > 100 * TOLERANCE
        models.append(without)
    return models


def operators(found: ir.Model) -> list[str]:
    """Types of the nodes, in order."""
    return [node.op_type for node in found.graph]

"""The same units taken out and masked: two models that must compute the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds
from tamis.compiler.runnable import load_unoptimized
from tamis.passes.pruning.axes.axis import Indices
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.remove import mask, remove

Chosen = Mapping[int, Indices]
"""Number of a group in its graph -> units that go."""
Outputs = Mapping[str, np.ndarray[Any, Any]]

TOLERANCE = 1e-4
"""Largest difference of two outputs, relative to the norm of one."""


def random_units(graph: AxisGraph, random: np.random.Generator, groups: Iterable[int] | None = None) -> Chosen:
    """Some units of each group, or of each in ``groups``, and never all of them; groups of one unit are left out."""
    chosen = {}
    for number in range(len(graph.groups)) if groups is None else groups:
        units = graph.groups[number].units
        if units > 1:
            chosen[number] = np.sort(random.choice(units, int(random.integers(1, units)), replace=False))
    return chosen


def removed(model: ir.Model, chosen: Chosen, views: Sequence[int] = (0,)) -> ir.Model:
    """A copy of ``model`` without the units."""
    graph = AxisGraph(model.clone(), views)
    remove(graph, {graph.groups[number]: units for number, units in chosen.items()})
    return graph.model


def masked(model: ir.Model, chosen: Chosen, views: Sequence[int] = (0,)) -> ir.Model:
    """A copy of ``model`` that does not read the units."""
    graph = AxisGraph(model.clone(), views)
    mask(graph, {graph.groups[number]: units for number, units in chosen.items()})
    return graph.model


def run(model: ir.Model, feeds: Feeds) -> Outputs:
    """Outputs, each node computed as it is written."""
    return load_unoptimized(model)(feeds)


def difference(found: Outputs, wanted: Outputs) -> float:
    """The largest over the outputs of their distance relative to the norm; infinite where shapes or NaN differ."""
    return max(_distance(found[name], array) for name, array in wanted.items())


def _distance(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    if found.shape != wanted.shape or not np.array_equal(np.isfinite(found), np.isfinite(wanted)):
        return np.inf
    same = np.isfinite(wanted)
    a, b = (array[same].astype(np.float64) for array in (found, wanted))
    return float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(b)), 1e-30)

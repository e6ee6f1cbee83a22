"""The index map of an operator, from its rule and from a run on numbered positions."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import rule_of
from tests.models import Array, check, run

Map = list[set[int]]
"""For each position of an output axis the positions of the input axis that it holds parts of."""


def operator(call: str, shape: tuple[int, ...], opset: int = 17, /, **constants: Array) -> ir.Model:
    """A model ``y = call(x)`` of one or several nodes, the last of which gives ``y``."""
    sizes = ",".join(map(str, shape))
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[{sizes}] x) => (float[] y) {{ {call} }}'
    )
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in constants.items())
    found = ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    check(found)
    return found


def by_rule(found: ir.Model, axis: int, view: int = 0) -> dict[int, Map]:
    """Output axis -> map, of those output axes that go on from ``axis`` of the input, taken as live.

    Raises:
        AssertionError: An axis is neither tied, nor frozen, nor made anew.
    """
    ties = Ties(view)
    x, y = found.graph.inputs[0], found.graph.outputs[0]
    start = Axis(x, axis)
    ties.start(start)
    for node in found.graph:
        rule = rule_of(node)
        assert rule is not None
        rule.couple(node, ties)
    labels = _labels(ties)
    frozen = _frozen(ties, labels)
    own: dict[int, set[int]] = defaultdict(set)
    for i, label in enumerate(_of(ties, labels, start)):
        own[label].update({i} - ({i} if label in frozen else set()))
    maps = {}
    for i in range(ties.rank(y) or 0):
        assert Axis(y, i) in ties.first or Axis(y, i) in ties.shifted, f"nothing is said about axis {i}"
        maps[i] = [own.get(label, set()) for label in _of(ties, labels, Axis(y, i))]
    return {i: places for i, places in maps.items() if any(places)}


def by_running(found: ir.Model, axis: int) -> dict[int, Map]:
    """As ``by_rule``, from the output for an input whose elements are their position along ``axis``, counted from 1."""
    shape = found.graph.inputs[0].shape
    assert shape is not None
    sizes = shape.numpy()
    x = np.broadcast_to((np.arange(sizes[axis]) + 1).reshape(-1, *[1] * (len(sizes) - axis - 1)), sizes)
    (y,) = run(found, {"x": x.astype(np.float32)})
    rows = [np.moveaxis(y, i, 0).reshape(y.shape[i], -1) for i in range(y.ndim)]
    return {i: [{int(p) - 1 for p in np.unique(row) if p} for row in each] for i, each in enumerate(rows)}


def _of(ties: Ties, labels: np.ndarray[Any, np.dtype[np.int64]], axis: Axis) -> list[int]:
    if axis not in ties.first:
        return []
    return [int(label) for label in labels[ties.first[axis] : ties.first[axis] + ties.sizes[axis]]]


def _labels(ties: Ties) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Component of each vertex, by spreading the least number."""
    labels = np.arange(ties.vertices)
    while True:
        before = labels.copy()
        for left, right in ties.edges:
            least = np.minimum(labels[left], labels[right])
            np.minimum.at(labels, left, least)
            np.minimum.at(labels, right, least)
        if np.array_equal(labels, before):
            return labels


def _frozen(ties: Ties, labels: np.ndarray[Any, np.dtype[np.int64]]) -> set[int]:
    found: set[int] = set()
    for axis, positions, _ in ties.frozen:
        vertices = ties.first[axis] + (np.arange(ties.sizes[axis]) if positions is None else positions)
        found.update(labels[vertices].tolist())
    return found

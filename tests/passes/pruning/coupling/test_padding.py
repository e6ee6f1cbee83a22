"""Pad: removed equals masked, and the counts that are written."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.remove import remove
from tests.models import Array, check, random
from tests.passes.pruning.coupling.moving_nets import hold, image_net, ints

RESIDUAL = "{} b = Conv (x, other) t = Add (p, b)"
"""Channels of the border go with those of another convolution."""

FORMS: dict[str, tuple[str, int, dict[str, Array]]] = {
    "input": ("p = Pad (h, n)", 17, {"n": ints(0, 1, 0, 0, 0, 2, 0, 0)}),
    "axes": ("p = Pad (h, n, , c)", 18, {"n": ints(1, 2), "c": ints(-3)}),
    "attribute": ("p = Pad <pads = [0, 1, 0, 0, 0, 2, 0, 0]> (h)", 10, {}),
    "another value": ("p = Pad (h, n, v)", 17, {"n": ints(0, 1, 0, 0, 0, 2, 0, 0), "v": np.array(3, np.float32)}),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_border_of_channels(name: str) -> None:
    pad, opset, constants = FORMS[name]
    found = image_net(RESIDUAL.format(pad), 11, opset, other=random(11, 3, 1, 1), **constants)
    assert sum(group.units for group in AxisGraph(found).groups) == 11
    hold(found, [group.units for group in AxisGraph(found).groups])


def test_a_border_that_nothing_else_touches_stays() -> None:
    found = image_net("t = Pad (h, n)", 11, n=ints(0, 1, 0, 0, 0, 2, 0, 0))
    hold(found, [8])


def test_counts_below_0_crop() -> None:
    body = "p = Pad (h, n) b = Conv (h, other) t = Concat <axis = 1> (p, b)"
    found = image_net(body, 9, n=ints(0, -1, 0, 0, 0, -1, 0, 0), other=random(3, 8, 1, 1))
    hold(found, [group.units for group in AxisGraph(found).groups])
    assert [group.units for group in AxisGraph(found).groups] == [2, 6, 3]


def test_written_counts() -> None:
    found = image_net(RESIDUAL.format("p = Pad (h, n)"), 11, n=ints(0, 1, 0, 0, 0, 2, 0, 0), other=random(11, 3, 1, 1))
    graph = AxisGraph(found)
    border, inside = sorted(graph.groups, key=lambda g: g.units)
    remove(graph, {border: np.asarray([0, 2]), inside: np.asarray([3])})
    check(found)
    (pad,) = (node for node in found.graph if node.op_type == "Pad")
    counts = constant_array(pad.inputs[1])
    assert counts is not None and counts.tolist() == [0, 0, 0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_a_computed_border_freezes_only_its_axes(mode: str) -> None:
    pad = f't = Pad <mode = "{mode}"> (h, n)'
    hold(image_net(pad, 8, n=ints(0, 0, 1, 1, 0, 0, 1, 1)), [8])
    assert not AxisGraph(image_net(pad, 10, n=ints(0, 1, 0, 0, 0, 1, 0, 0))).groups


def test_a_dynamic_batch() -> None:
    hold(image_net("t = Pad (h, n)", 8, 17, "N", n=ints(0, 0, 1, 1, 0, 0, 1, 1)), [8])

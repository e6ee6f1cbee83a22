"""Shape: only sizes that are read are frozen."""

from __future__ import annotations

from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tests.passes.pruning.coupling.moving_nets import hold, image_net, ints


def test_a_shape_that_is_read_as_a_whole() -> None:
    body = "z = Shape (h) f = Cast <to = 1> (z) g = ReduceMax <keepdims = 0> (f) t = Mul (h, g)"
    graph = AxisGraph(image_net(body, 8, 17, "N"))
    assert not graph.groups and any("its size is read" in reason for reason in graph.frozen[0].reasons)


def test_a_gather_of_a_shape() -> None:
    body = "z = Shape (h) n = Gather (z, i) f = Cast <to = 1> (n) g = ReduceMax <keepdims = 0> (f) t = Mul (h, g)"
    hold(image_net(body, 8, 17, "N", i=ints(0, -4)), [8])
    assert not AxisGraph(image_net(body, 8, 17, "N", i=ints(0, -3))).groups


def test_a_part_of_a_shape() -> None:
    body = "z = Shape <start = {}, end = {}> (h) f = Cast <to = 1> (z) g = ReduceMax <keepdims = 0> (f) t = Mul (h, g)"
    hold(image_net(body.format(0, 1), 8, 17, "N"), [8])
    assert not AxisGraph(image_net(body.format(-4, -2), 8, 17, "N")).groups


def test_a_slice_of_a_shape() -> None:
    body = "z = Shape (h) n = Slice (z, s, e) f = Cast <to = 1> (n) g = ReduceMax <keepdims = 0> (f) t = Mul (h, g)"
    hold(image_net(body, 8, 17, "N", s=ints(0), e=ints(1)), [8])
    assert not AxisGraph(image_net(body, 8, 17, "N", s=ints(0), e=ints(2))).groups


def test_size_freezes_all() -> None:
    body = "z = Size (h) f = Cast <to = 1> (z) t = Mul (h, f)"
    assert not AxisGraph(image_net(body, 8, 17, "N")).groups

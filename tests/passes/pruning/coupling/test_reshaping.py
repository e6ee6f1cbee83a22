"""Reshape, Flatten, Squeeze, Unsqueeze: removed equals masked, and the targets that are written."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pruning.both_ways import removed
from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tests.models import Array, random
from tests.passes.pruning.coupling.moving_nets import hold, image_net, ints, made, operators, row_net

MERGES: dict[str, tuple[str, int, str, dict[str, Array]]] = {
    "Flatten": ("t = Flatten (h)", 17, "2", {}),
    "Flatten, axis from the back": ("t = Flatten <axis = -3> (h)", 17, "2", {}),
    "Flatten, dynamic batch": ("t = Flatten (h)", 17, "N", {}),
    "Reshape": ("t = Reshape (h, s)", 17, "2", {"s": ints(2, 128)}),
    "Reshape, 0 and -1": ("t = Reshape (h, s)", 17, "N", {"s": ints(0, -1)}),
    "Reshape, -1 for the batch": ("t = Reshape (h, s)", 17, "N", {"s": ints(-1, 128)}),
    "Reshape with allowzero": ("t = Reshape <allowzero = 1> (h, s)", 17, "2", {"s": ints(2, -1)}),
    "Reshape twice": (
        "a = Reshape (h, s) b = Relu (a) t = Reshape (b, u)",
        17,
        "N",
        {"s": ints(0, 8, 16), "u": ints(-1, 128)},
    ),
    "Squeeze and Flatten": (
        "u = Unsqueeze (h, a) r = Relu (u) q = Squeeze (r, a) t = Flatten (q)",
        17,
        "N",
        {"a": ints(2)},
    ),
    "Squeeze with attributes": (
        "u = Unsqueeze <axes = [0, 3]> (h) r = Relu (u) q = Squeeze <axes = [0, -3]> (r) t = Flatten (q)",
        11,
        "2",
        {},
    ),
}


@pytest.mark.parametrize("name", MERGES)
def test_channels_go_into_rows(name: str) -> None:
    body, opset, batch, constants = MERGES[name]
    hold(row_net(body, 128, opset, batch, **constants), [8])


def test_a_target_keeps_0_and_the_rest_where_they_are_right() -> None:
    targets = [ints(2, 8, -1), ints(0, 0, 16), ints(-1, 8, 16), ints(0, -1, 16)]
    written = []
    for target in targets:
        found = row_net("a = Reshape (h, s) b = Relu (a) t = Flatten (b)", 128, s=target)
        (reshape,) = (node for node in removed(found, {0: np.array([1, 2])}).graph if node.op_type == "Reshape")
        array = constant_array(reshape.inputs[1])
        assert array is not None
        written.append(array.tolist())
    assert written == [[2, 6, -1], [0, 0, 16], [-1, 6, 16], [0, -1, 16]]


def test_a_0_that_would_copy_another_size_is_written_out() -> None:
    """Axis 1 of the target copies that of the input, the 4 rows, and the channels come first."""
    body = "a = Transpose <perm = [1, 2, 0, 3]> (h) b = Reshape (a, s) c = Transpose <perm = [2, 0, 1, 3]> (b) t = Relu (c)"
    hold(image_net(body, 8, s=ints(0, 0, 2, 4)), [8])


def test_targets_that_two_reshapes_share() -> None:
    body = "a = Reshape (h, s) b = Conv (x, other) c = Reshape (b, s) d = Concat <axis = 1> (a, c) t = Flatten (d)"
    hold(row_net(body, 256, s=ints(2, 8, 16), other=random(8, 3, 1, 1)), [8, 8])


HEADS = """a = Reshape (h, s) b = Transpose <perm = [0, 3, 2, 1]> (a) c = Relu (b) d = Transpose <perm = [0, 3, 2, 1]> (c)
           t = Reshape (d, u)"""


@pytest.mark.parametrize(("view", "units"), [(0, 2), (1, 4), (2, 4)])
def test_heads_go_whole_or_in_part(view: int, units: int) -> None:
    found = image_net(HEADS, 8, 17, "N", s=ints(-1, 2, 4, 16), u=ints(-1, 8, 4, 4))
    for without in hold(found, [units], [view]):
        target = constant_array(list(without.graph)[1].inputs[1])
        assert target is not None and (target[2 if view == 0 else 1] == found_part(view))


def found_part(view: int) -> int:
    """The size of the part that a view leaves alone."""
    return 4 if view == 0 else 2


def test_a_mixing_reshape_is_frozen() -> None:
    found = row_net(
        "a = Transpose <perm = [0, 2, 3, 1]> (h) b = Reshape (a, s) c = Relu (b) t = Reshape (c, u)",
        128,
        s=ints(2, 4, 2, 16),
        u=ints(2, 128),
    )
    assert AxisGraph(found).groups == () or [g.units for g in AxisGraph(found).groups] == [8]
    found = row_net("b = Reshape (h, s) c = Relu (b) t = Reshape (c, u)", 64, s=ints(4, 4, 16), u=ints(4, 64))
    graph = AxisGraph(found)
    assert not graph.groups and "a reshape mixes it with other axes" in graph.frozen[0].reasons


def test_a_computed_target_is_frozen() -> None:
    body = "z = Shape (x) n = Slice (z, a, b) q = Div (n, big) m = Add (q, c) t = Reshape (h, m)"
    found = row_net(body, 128, 17, "N", a=ints(0), b=ints(1), big=ints(1000), c=ints(0, -1))
    graph = AxisGraph(found)
    assert not graph.groups and "a Reshape to a shape that is not known" in graph.frozen[0].reasons


def test_a_squeeze_of_all_takes_no_axis_that_came_down_to_1() -> None:
    body = "g = GlobalAveragePool (h) t = Squeeze (g)"
    for without in hold(row_net(body, 8), [8], seeds=8):
        squeeze = next(node for node in without.graph if node.op_type == "Squeeze")
        axes = constant_array(squeeze.inputs[1])
        assert axes is not None and axes.tolist() == [2, 3]
    left = removed(row_net(body, 8), {0: np.arange(7)})
    assert tuple(next(n for n in left.graph if n.op_type == "Squeeze").outputs[0].shape or ()) == (2, 1)
    old = removed(row_net(body, 8, 11), {0: np.arange(7)})
    assert next(n for n in old.graph if n.op_type == "Squeeze").attributes["axes"].as_ints() == (2, 3)


def test_a_reshaped_constant_goes_with_what_it_meets() -> None:
    found = made(
        "g (float[2,4] x) => (float[2,3] y) { a = MatMul (x, w) k = Unsqueeze (c, z) b = Add (a, k) r = Relu (b) y = MatMul (r, v) }",
        17,
        w=random(4, 6),
        c=random(6, seed=2),
        z=ints(0),
        v=random(6, 3, seed=3),
    )
    assert "MatMul" in operators(found)
    hold(found, [6])

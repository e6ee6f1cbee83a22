"""Slice: removed equals masked, and what the Slice has become."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks.pruning.both_ways import removed
from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.remove import remove
from tests.models import check, random
from tests.passes.pruning.coupling.moving_nets import hold, image_net, ints, made, operators

PART = "a = Slice (h, s, e, a1) b = Conv (h, other) t = Concat <axis = 1> (a, b)"


def test_positions_that_are_not_taken_go_by_themselves() -> None:
    """Two groups: what the Slice takes, and what only the other Conv reads."""
    found = image_net(PART, 7, s=ints(2), e=ints(6), a1=ints(1), other=random(3, 8, 1, 1))
    for without in hold(found, [4, 4, 3]):
        assert operators(without) == ["Conv", "Slice", "Conv", "Concat", "Conv"]


def test_slice_with_attributes() -> None:
    body = PART.replace("Slice (h, s, e, a1)", "Slice <starts = [2], ends = [-2], axes = [1]> (h)")
    for without in hold(image_net(body, 7, 9, other=random(3, 8, 1, 1)), [4, 4, 3]):
        assert "Slice" in operators(without)


def stepped(step: int) -> ir.Model:
    """Every so many-th channel is taken, all are read by another Conv."""
    return image_net(
        "a = Slice (h, s, e, a1, d) b = Conv (h, other) t = Concat <axis = 1> (a, b)",
        len(range(8)[::step]) + 3,
        s=ints(0 if step > 0 else -1),
        e=ints(2**62 if step > 0 else -(2**62)),
        a1=ints(1),
        d=ints(step),
        other=random(3, 8, 1, 1),
    )


@pytest.mark.parametrize(("step", "groups"), [(2, [4, 4, 3]), (-1, [8, 3]), (-3, [5, 3, 3])])
def test_steps(step: int, groups: list[int]) -> None:
    hold(stepped(step), groups)


def test_what_is_left_of_steps_is_a_slice_if_it_is_even_and_a_gather_if_not() -> None:
    models = [removed(stepped(2), {1: np.array(units)}) for units in ([0], [0, 1, 2], [])]
    assert [operators(m)[1] for m in models] == ["Gather", "Slice", "Slice"]
    (indices,) = (constant_array(node.inputs[1]) for node in models[0].graph if node.op_type == "Gather")
    assert indices is not None and indices.tolist() == [0, 1, 3, 5]
    backwards = removed(stepped(-1), {0: np.array([0, 3])})
    bounds = [constant_array(v) for v in list(backwards.graph)[1].inputs[1:]]
    assert [b.tolist() for b in bounds if b is not None] == [[5], [-(2**63)], [1], [-1]]


def test_slices_of_several_axes_with_a_gap() -> None:
    """Channels by a Gather in front, the rows by the Slice that is left."""
    found = image_net(
        "a = Slice (h, s, e, a1, d) p = Conv <kernel_shape = [2, 1], strides = [2, 1]> (h, other) t = Concat <axis = 1> (a, p)",
        7,
        s=ints(0, 1),
        e=ints(8, 3),
        a1=ints(1, 2),
        d=ints(2, 1),
        other=random(3, 8, 2, 1),
    )
    models = hold(found, [4, 4, 3], seeds=1)
    graph = AxisGraph(found)
    remove(graph, {graph.groups[1]: np.asarray([1])})
    check(found)
    assert operators(found)[:3] == ["Conv", "Gather", "Slice"] and len(models) == 1


def test_a_gap_in_each_of_two_axes_gives_two_gathers() -> None:
    found = made(
        """g (float[2,3,4] x) => (float[2,5,5] y) {
            a = MatMul (v, x) b = MatMul (a, w) c = Slice (b, s, e, axes, d) p = MatMul (l, c) q = MatMul (p, r)
            f = MatMul (m, b) h = MatMul (f, n) y = Add (q, h) }""",
        17,
        v=random(8, 3),
        w=random(4, 6, seed=2),
        s=ints(0, 0),
        e=ints(8, 6),
        axes=ints(1, 2),
        d=ints(2, 2),
        l=random(5, 4, seed=3),
        r=random(3, 5, seed=4),
        m=random(5, 8, seed=5),
        n=random(6, 5, seed=6),
    )
    hold(found, [4, 4, 3, 3])
    gap = removed(found, {1: np.array([0]), 3: np.array([0])})
    assert operators(gap)[2:4] == ["Gather", "Gather"]


def test_a_slice_of_a_dynamic_batch_goes_on_along_channels() -> None:
    body = "a = Slice (h, s, e, a1) t = Relu (a)"
    hold(image_net(body, 4, 17, "N", s=ints(0, 4), e=ints(2**62, 8), a1=ints(0, 1)), [4])
    partial = image_net(body, 8, 17, "N", s=ints(1), e=ints(2**62), a1=ints(0))
    hold(partial, [8])


def test_computed_bounds_freeze_only_their_axis() -> None:
    body = "z = Shape (x) n = Slice (z, s2, e2) a = Slice (h, zero, n, {}) t = Relu (a)"
    constants = {"s2": ints(0), "e2": ints(1), "zero": ints(0)}
    for axis, groups in ((0, [8]), (1, [])):
        name = f"a{axis}"
        found = image_net(body.format(name), 8, 17, "N", **{name: ints(axis)}, **constants)
        for value in (v for node in found.graph for v in node.outputs if v.name in ("a", "t")):
            value.shape = ir.Shape([None, 8, 4, 4])
        assert [group.units for group in AxisGraph(found).groups] == groups

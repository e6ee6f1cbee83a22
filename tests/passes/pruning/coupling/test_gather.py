"""Gather: removed equals masked, for maps and for tables."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.passes.pruning.axes.axis import Role, Slot
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tests.models import Array, random
from tests.passes.pruning.coupling.moving_nets import hold, image_net, ints, made


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_a_permutation_with_negative_indices(dtype: type) -> None:
    found = image_net("t = Gather <axis = -3> (h, i)", 8, i=ints(3, 1, -1, 0, 2, -2, 4, 5).astype(dtype))
    hold(found, [8])


def test_a_position_that_is_taken_twice() -> None:
    found = image_net(
        "a = Gather <axis = 1> (h, i) b = Conv (h, other) t = Concat <axis = 1> (a, b)",
        9,
        i=ints(7, 2, 2, 0, 7, 7),
        other=random(3, 8, 1, 1),
    )
    graph = AxisGraph(found)
    assert sorted(group.units for group in graph.groups) == [1, 1, 1, 3, 5]
    hold(found, [group.units for group in graph.groups])


INDICES: dict[str, tuple[Array, str, int]] = {
    "scalar": (np.array(5, np.int64), "Unsqueeze (a, one)", 1),
    "column": (ints(5, 0, 3).reshape(3, 1), "Squeeze (a, two)", 3),
    "one in a list": (ints(5), "Relu (a)", 1),
}


@pytest.mark.parametrize("name", INDICES)
def test_indices_of_other_ranks(name: str) -> None:
    indices, behind, width = INDICES[name]
    found = image_net(
        f"a = Gather <axis = 1> (h, i) c = {behind} b = Conv (h, other) t = Concat <axis = 1> (c, b)",
        width + 3,
        i=indices,
        one=ints(1),
        two=ints(2),
        other=random(3, 8, 1, 1),
    )
    units = {"scalar": [7, 3], "column": [5, 3, 3], "one in a list": [1, 7, 3]}[name]
    assert sorted(g.units for g in AxisGraph(found).groups) == sorted(units)
    hold(found, [g.units for g in AxisGraph(found).groups])


def test_a_scalar_index_holds_its_position() -> None:
    found = image_net(
        "a = Gather <axis = 1> (h, i) c = Unsqueeze (a, one) b = Conv (h, w) t = Add (c, b)",
        1,
        i=np.array(5, np.int64),
        one=ints(1),
        w=random(1, 8, 1, 1),
    )
    (group, *_) = AxisGraph(found).groups
    (first,) = (m for m in group.with_role(Role.PRODUCE))
    assert 5 not in first.positions


def test_an_embedding_produces_its_width() -> None:
    found = made(
        "g (float[2,4] x) => (float[2,4,3] y) { i = Cast <to = 7> (x) j = Clip (i, zero, nine)"
        " a = Gather (table, j) b = Relu (a) y = MatMul (b, w) }",
        17,
        table=random(10, 6),
        w=random(6, 3, seed=2),
        zero=np.array(0, np.int64),
        nine=np.array(9, np.int64),
    )
    hold(found, [6])
    (group,) = AxisGraph(found).groups
    (table,) = group.with_role(Role.PRODUCE)
    assert isinstance(table.axis.tensor, Slot) and (table.axis.tensor.value.name, table.axis.index) == ("table", 1)


def test_computed_indices_freeze_what_they_take() -> None:
    found = image_net(
        "i = Cast <to = 7> (x) j = ReduceMin <keepdims = 0> (i) k = Clip (j, z, z) a = Gather <axis = 1> (h, k) t = Unsqueeze (a, one)",
        1,
        z=np.array(0, np.int64),
        one=ints(1),
    )
    assert not AxisGraph(found).groups

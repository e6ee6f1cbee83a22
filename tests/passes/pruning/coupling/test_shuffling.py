"""Channel shuffles: each channel by itself, the chain kept where it can be, and a Gather where not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks.pruning.both_ways import removed
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tests.models import Array, random
from tests.passes.pruning.coupling.moving_nets import hold, image_net, ints, operators

SHUFFLE = "a = Reshape (h, s) b = Transpose <perm = [0, 2, 1, 3, 4]> (a) t = Reshape (b, u)"
CHAIN = ["Reshape", "Transpose", "Reshape"]

FORMS: dict[str, tuple[str, dict[str, Array]]] = {
    "static": ("2", {"s": ints(2, 2, 4, 4, 4), "u": ints(2, 8, 4, 4)}),
    "dynamic": ("N", {"s": ints(0, 2, 4, 4, 4), "u": ints(0, 8, 4, 4)}),
    "rest of the channels": ("2", {"s": ints(0, 2, -1, 4, 4), "u": ints(0, -1, 4, 4)}),
    "rest of the batch": ("N", {"s": ints(-1, 4, 2, 4, 4), "u": ints(-1, 8, 4, 4)}),
    "rest of the rows": ("2", {"s": ints(2, 4, 2, -1, 4), "u": ints(2, 8, 4, -1)}),
}


def shuffled(form: str = "static") -> ir.Model:
    batch, constants = FORMS[form]
    return image_net(SHUFFLE, 8, 17, batch, **constants)


@pytest.mark.parametrize("form", FORMS)
def test_each_channel_by_itself(form: str) -> None:
    kinds = {tuple(operators(m)) for m in hold(shuffled(form), [8], seeds=10)}
    assert ("Conv", "Gather", "Conv") in kinds


@pytest.mark.parametrize("form", FORMS)
def test_whole_groups_and_the_same_channels_of_all_keep_the_chain(form: str) -> None:
    found = shuffled(form)
    groups = 4 if form in ("rest of the batch", "rest of the rows") else 2
    grid = np.arange(8).reshape(groups, -1)
    for left in (grid[1:], grid[:, 1:], grid[1:, :1]):
        without = removed(found, {0: np.setdiff1d(np.arange(8), left)})
        assert operators(without) == ["Conv", *CHAIN, "Conv"]
        inner = list(without.graph)[1].outputs[0].shape
        assert inner is not None and tuple(inner)[1:3] == left.shape


def test_what_is_left_in_no_such_pattern_becomes_a_gather() -> None:
    assert operators(removed(shuffled(), {0: np.array([3])})) == ["Conv", "Gather", "Conv"]


def test_a_second_removal_sees_the_chain_as_it_is_then() -> None:
    once = removed(shuffled(), {0: np.array([0, 4])})
    assert operators(once) == ["Conv", *CHAIN, "Conv"]
    assert len(hold(once, [6])) == 4


def test_two_shuffles_in_a_row_and_a_convolution_of_groups() -> None:
    body = "a = Reshape (h, s) b = Transpose <perm = [0, 2, 1, 3, 4]> (a) c = Reshape (b, u) d = Conv <group = 8> (c, deep) e = Reshape (d, v) f = Transpose <perm = [0, 2, 1, 3, 4]> (e) t = Reshape (f, u)"
    found = image_net(
        body, 8, s=ints(2, 2, 4, 4, 4), v=ints(2, 4, 2, 4, 4), u=ints(2, 8, 4, 4), deep=random(8, 1, 1, 1)
    )
    hold(found, [8], seeds=8)


def test_what_is_read_in_between_is_no_shuffle() -> None:
    """Then channels go by whole groups."""
    body = SHUFFLE.replace("t = Reshape (b, u)", "c = Reshape (b, u) d = Reshape (b, u2) e = Relu (d) t = Add (c, e)")
    found = image_net(body, 8, s=ints(2, 2, 4, 4, 4), u=ints(2, 8, 4, 4), u2=ints(0, 8, 4, 4))
    hold(found, [2])


def test_rows_that_are_flattened_in_between() -> None:
    body = SHUFFLE.replace("[0, 2, 1, 3, 4]", "[0, 2, 1, 3]")
    hold(image_net(body, 8, s=ints(2, 2, 4, 16), u=ints(2, 8, 4, 4)), [8], seeds=8)


def test_a_copy_of_the_model_knows_its_own_shuffle() -> None:
    found = shuffled()
    AxisGraph(found)
    copy = found.clone()
    AxisGraph(copy)
    hold(found, [8])
    hold(copy, [8])

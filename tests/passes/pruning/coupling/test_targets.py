"""Targets that are put together from numbers and computed sizes: removed equals masked, and other readers keep theirs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pruning.both_ways import removed
from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.coupling.targets import read_entries
from tests.models import Array, random
from tests.passes.pruning.coupling.moving_nets import hold, image_net, ints, operators, row_net

BATCH = "z = Shape (x) n = Slice (z, from, to)"
OF_BATCH: dict[str, Array] = {"from": ints(0), "to": ints(1)}


def test_entries() -> None:
    found = row_net(
        f"{BATCH} m = Concat <axis = 0> (c, n, n) r = Reshape (h, m) t = Flatten (r)",
        8,
        17,
        "N",
        c=ints(-1, 8),
        **OF_BATCH,
    )
    (reshape,) = (node for node in found.graph if node.op_type == "Reshape")
    assert read_entries(reshape, 1) == [-1, 8, None, None]
    assert read_entries(reshape, 0) is None and read_entries(reshape, 7) is None


def test_channels_go_into_rows() -> None:
    found = row_net(f"{BATCH} m = Concat <axis = 0> (n, c) t = Reshape (h, m)", 128, 17, "N", c=ints(128), **OF_BATCH)
    hold(found, [8])


@pytest.mark.parametrize(("view", "units"), [(0, 2), (1, 4)])
def test_heads_of_a_dynamic_batch(view: int, units: int) -> None:
    body = f"""{BATCH} m = Concat <axis = 0> (n, c) a = Reshape (h, m) b = Transpose <perm = [0, 3, 2, 1]> (a) r = Relu (b)
               d = Transpose <perm = [0, 3, 2, 1]> (r) k = Concat <axis = 0> (n, e) t = Reshape (d, k)"""
    hold(image_net(body, 8, 17, "N", c=ints(2, 4, 16), e=ints(8, 4, 4), **OF_BATCH), [units], [view])


def test_a_channel_shuffle_of_a_dynamic_batch() -> None:
    body = f"""{BATCH} m = Concat <axis = 0> (n, c) a = Reshape (h, m) b = Transpose <perm = [0, 2, 1, 3, 4]> (a)
               k = Concat <axis = 0> (n, e) t = Reshape (b, k)"""
    found = image_net(body, 8, 17, "N", c=ints(2, 4, 4, 4), e=ints(8, 4, 4), **OF_BATCH)
    hold(found, [8], seeds=8)
    kept = removed(found, {0: np.array([0, 4])})
    assert operators(kept).count("Reshape") == 2 and "Gather" not in operators(removed(found, {0: np.arange(4)}))


def test_readers_of_one_concat_keep_different_sizes() -> None:
    body = f"""{BATCH} m = Concat <axis = 0> (n, c) a = Reshape (h, m) b = Conv (x, other) d = Reshape (b, m)
               e = Concat <axis = 1> (a, d) t = Flatten (e)"""
    found = row_net(body, 256, 17, "N", c=ints(8, 16), other=random(8, 3, 1, 1), **OF_BATCH)
    hold(found, [8, 8])
    without = removed(found, {0: np.array([1]), 1: np.array([2, 3])})
    targets = [read_entries(node, 1) for node in without.graph if node.op_type == "Reshape"]
    assert targets == [[None, 7, 16], [None, 6, 16]]


def test_a_computed_number_of_channels_is_frozen() -> None:
    """The second entry is right only for 8 channels, whatever it is computed from."""
    body = "z = Shape (x) q = Slice (z, from, to) w = Div (q, big) c8 = Add (w, eight) m = Concat <axis = 0> (q, c8, c) t0 = Reshape (h, m) t = Flatten (t0)"
    found = row_net(body, 128, 17, "N", eight=ints(8), big=ints(1000), c=ints(16), **OF_BATCH)
    assert not AxisGraph(found).groups


def test_expand_to_a_dynamic_batch() -> None:
    body = f"{BATCH} m = Concat <axis = 0> (n, c) k = Expand (token, m) j = Concat <axis = 2> (h, k) t = Relu (j)"
    found = image_net(body, 8, 17, "N", c=ints(8, 1, 4), token=random(1, 8, 1, 4), **OF_BATCH)
    hold(found, [8])


def test_a_filled_tensor_has_as_many_channels_as_what_it_meets() -> None:
    body = f"{BATCH} m = Concat <axis = 0> (n, c) k = ConstantOfShape <value = float[1] {{0.5}}> (m) t = Add (h, k)"
    found = image_net(body, 8, 17, "N", c=ints(8, 4, 4), **OF_BATCH)
    hold(found, [8])
    (concat,) = (node for node in removed(found, {0: np.array([2])}).graph if node.op_type == "Concat")
    sizes = constant_array(concat.inputs[1])
    assert sizes is not None and sizes.tolist() == [7, 4, 4]

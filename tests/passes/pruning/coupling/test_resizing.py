"""Resize, Upsample, Expand, Tile: removed equals masked."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tests.models import Array, random
from tests.passes.pruning.coupling.moving_nets import hold, image_net, ints, row_net

FORMS: dict[str, tuple[str, int, dict[str, Array]]] = {
    "scales": ("t = Resize (h, , s)", 17, {"s": np.array([1, 1, 2, 3], np.float32)}),
    "sizes": ('t = Resize <mode = "linear"> (h, , , s)', 17, {"s": ints(2, 8, 7, 3)}),
    "sizes of two axes": ("t = Resize <axes = [-2, -1]> (h, , , s)", 18, {"s": ints(8, 8)}),
    "sizes of three axes": ("t = Resize <axes = [3, 1, 2]> (h, , , s)", 18, {"s": ints(9, 8, 3)}),
    "opset 10": ("t = Resize (h, s)", 10, {"s": np.array([1, 1, 2, 2], np.float32)}),
    "Upsample": ("t = Upsample (h, s)", 9, {"s": np.array([1, 1, 2, 2], np.float32)}),
    "Upsample with an attribute": ("t = Upsample <scales = [1.0, 1.0, 2.0, 2.0]> (h)", 7, {}),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_resize_keeps_channels_apart(name: str) -> None:
    resize, opset, constants = FORMS[name]
    hold(image_net(resize, 8, opset, **constants), [8])


FROZEN: dict[str, tuple[str, int, int, dict[str, Array]]] = {
    "resized": ("t = Resize (h, , s)", 16, 13, {"s": np.array([1, 2, 1, 1], np.float32)}),
    "other coordinates": (
        't = Resize <coordinate_transformation_mode = "tf_half_pixel_for_nn"> (h, r, s)',
        8,
        11,
        {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "kept aspect ratio": (
        't = Resize <keep_aspect_ratio_policy = "not_larger"> (h, , , s)',
        8,
        18,
        {"s": ints(2, 8, 4, 4)},
    ),
}


@pytest.mark.parametrize("name", FROZEN)
def test_a_resize_of_the_channels_is_frozen(name: str) -> None:
    resize, width, opset, constants = FROZEN[name]
    assert not AxisGraph(image_net(resize, width, opset, **constants)).groups


def test_computed_sizes_freeze() -> None:
    body = "z = Shape (x) n = Slice (z, a, b) m = Concat <axis = 0> (n, c) t = Resize (h, , , m)"
    found = image_net(body, 8, 17, "N", a=ints(0), b=ints(1), c=ints(8, 8, 8))
    assert not AxisGraph(found).groups


def test_expand_to_the_same_channels() -> None:
    found = image_net("g = GlobalAveragePool (h) t = Expand (g, s)", 8, s=ints(1, 8, 4, 4))
    hold(found, [8])
    hold(image_net("g = GlobalAveragePool (h) t = Expand (g, s)", 8, 17, "N", s=ints(4, 4)), [8])


def test_channels_that_an_expand_makes_go_with_what_they_meet() -> None:
    found = image_net(
        "m = Conv (x, one) e = Expand (m, s) t = Mul (e, h)", 8, one=random(1, 3, 1, 1), s=ints(2, 8, 1, 1)
    )
    hold(found, [8])


def test_tile_repeats_channels() -> None:
    hold(image_net("t = Tile (h, r)", 24, r=ints(1, 3, 1, 2)), [8])


def test_tile_of_rows() -> None:
    hold(row_net("g = GlobalAveragePool (h) f = Flatten (g) t = Tile (f, r)", 16, r=ints(2, 2)), [8])

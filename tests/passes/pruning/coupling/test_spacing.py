"""DepthToSpace and SpaceToDepth: removed equals masked."""

from __future__ import annotations

import pytest

from tests.passes.pruning.coupling.moving_nets import hold, image_net


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    hold(image_net(f't = DepthToSpace <blocksize = 2, mode = "{mode}"> (h)', 2), [2])


def test_space_to_depth_and_back() -> None:
    hold(image_net("t = SpaceToDepth <blocksize = 2> (h)", 32), [8])
    hold(image_net("a = SpaceToDepth <blocksize = 2> (h) b = Relu (a) t = DepthToSpace <blocksize = 2> (b)", 8), [8])


def test_a_dynamic_batch() -> None:
    hold(image_net("t = DepthToSpace <blocksize = 2> (h)", 2, 17, "N"), [2])

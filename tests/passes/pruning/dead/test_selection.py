from __future__ import annotations

import numpy as np
import pytest

from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.dead.selection import how_many
from tests.models import model, random


def group(channels: int) -> Group:
    text = "g (float[1, 3, 4, 4] x) => (float[1, 2, 4, 4] y) { h = Conv(x, w) y = Conv(h, v) }"
    found = model(text, w=random(channels, 3, 1, 1), v=random(2, channels, 1, 1))
    Canonicalize()(found)
    return AxisGraph(found).groups[0]


@pytest.mark.parametrize("channels", [1, 5, 8, 12])
@pytest.mark.parametrize("multiple", [1, 2, 4, 8, 16])
def test_goes_as_far_as_the_multiple_allows(channels: int, multiple: int) -> None:
    found = group(channels)
    for candidates in range(channels + 1):
        allowed = [n for n in range(1, min(candidates, channels - 1) + 1) if (channels - n) % multiple == 0]
        count, skip = how_many(found, candidates, multiple)
        assert count == max(allowed, default=0)
        assert (skip is None) == (count == candidates)


def test_says_why() -> None:
    assert "all channels do nothing" in str(how_many(group(8), 8, 1)[1])
    assert "multiple of 4" in str(how_many(group(8), 3, 4)[1])
    assert np.isscalar(how_many(group(8), 3, 4)[0])

"""The models of the separable-convolution benchmark have the MACs that the textbook names."""

from __future__ import annotations

import pytest

from benchmarks.separable import DENSE, SEPARABLE, build
from tamis.compiler.analysis.macs import macs_of
from tests.models import check


@pytest.mark.parametrize(
    ("body", "macs"),
    [(DENSE, {"dense": 924_844_032}), (SEPARABLE, {"depthwise": 7_225_344, "pointwise": 102_760_448})],
)
def test_the_models_are_those_of_the_textbook(body: str, macs: dict[str, int]) -> None:
    model = build(body)
    check(model)
    assert {node.name: macs_of(node) for node in model.graph} == macs | {"average": 0}

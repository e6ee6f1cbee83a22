"""Raising to opset 13: what changed is rewritten, what cannot be is named."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.passes.quantization.placement.raise_opset import obstacle, raise_opset
from tests.models import Array, check, model, random, run

CASES: dict[str, tuple[str, dict[str, Array]]] = {
    "Squeeze": ("a = Unsqueeze<axes=[0]>(x) y = Squeeze<axes=[0]>(a)", {}),
    "ReduceSum": ("s = ReduceSum<axes=[-1], keepdims=1>(x) y = Div(x, s)", {}),
    "ReduceSum of all": ("s = ReduceSum(x) y = Div(x, s)", {}),
    "Split": ("a, b = Split<axis=1, split=[1, 2]>(x) y = Concat<axis=1>(b, a)", {}),
    "Softmax": ("y = Softmax(x)", {}),
    "Softmax last": ("y = Softmax<axis=2>(x)", {}),
    "Softmax from the end": ("y = Softmax<axis=-2>(x)", {}),
    "Softmax of all": ("y = LogSoftmax<axis=0>(x)", {}),
    "Clip": ("y = Clip(x, l)", {"l": np.asarray(0, np.float32)}),
}


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("opset", [11, 12])
@pytest.mark.parametrize("shape", ["2,3,4", "N,M,K"])
def test_the_function_stays(name: str, opset: int, shape: str) -> None:
    body, constants = CASES[name]
    found = model(f"g (float[{shape}] x) => (float[{shape}] y) {{ {body} }}", opset, **constants)
    x = random(2, 3, 4)
    want = run(found, {"x": x})[0]
    assert obstacle(found) is None and raise_opset(found)
    check(found)
    assert found.graph.outputs[0].name == "y" and found.graph.opset_imports[""] == 13
    np.testing.assert_allclose(run(found, {"x": x})[0], want, rtol=1e-6)
    assert not raise_opset(found)


def test_a_normalizer_that_is_read_inside_and_given_out() -> None:
    found = model("g (float[2,3,4] x) => (float[2,3,4] s, float[2,3,4] y) { s = Softmax(x) y = Add(s, s) }", 11)
    want = run(found, {"x": random(2, 3, 4)})
    raise_opset(found)
    check(found)
    for one, other in zip(want, run(found, {"x": random(2, 3, 4)}), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "opset", "reason"),
    [
        ("y = Relu(x)", 10, "opset 10"),
        ("y = Dropout<ratio=0.5>(x)", 11, "opset 11 and a Dropout"),
        ("y = Dropout(x)", 12, None),
        ("y = Softmax(x)", 13, None),
    ],
)
def test_obstacles(body: str, opset: int, reason: str | None) -> None:
    assert obstacle(model(f"g (float[2,3,4] x) => (float[2,3,4] y) {{ {body} }}", opset)) == reason

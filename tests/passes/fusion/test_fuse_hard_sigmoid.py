from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.fuse_hard_sigmoid import FuseHardSigmoid
from tests.models import Array, assert_close, check, model, op_types, random, run

SIGMOIDS = {
    "clip, divided": "a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)",
    "clip, times a sixth": "a = Add(three, x) c = Clip(a, zero, six) y = Mul(sixth, c)",
    "min of max": "a = Add(x, three) m = Max(a, zero) c = Min(m, six) y = Div(c, six)",
    "max of min": "a = Add(x, three) m = Min(a, six) c = Max(zero, m) y = Div(c, six)",
    "relu": "a = Add(x, three) m = Relu(a) c = Min(m, six) y = Mul(c, sixth)",
    "scaled first": "d = Div(x, six) a = Add(d, half) y = Clip(a, zero, one)",
    "scaled first, product": "d = Mul(sixth, x) a = Add(d, half) y = Clip(a, zero, one)",
}
NUMBERS = {"zero": 0.0, "one": 1.0, "three": 3.0, "six": 6.0, "sixth": 1 / 6, "half": 0.5}
X = {"x": 5 * random(3, 50)}


def net(lines: str, shape: str = "3, 50", dtype: str = "float", **changes: float | Array) -> ir.Model:
    numpy = {"float": np.float32, "double": np.float64}[dtype]
    read = set(re.findall(r"\w+", lines))
    used = {name: np.array(v, numpy) for name, v in {**NUMBERS, **changes}.items() if name in read}
    return model(f"g ({dtype}[{shape}] x) => ({dtype}[{shape}] y) {{ {lines} }}", **used)


def fuse(found: ir.Model) -> PassResult:
    result = FuseHardSigmoid()(found)
    check(found)
    assert not FuseHardSigmoid()(found).modified
    return result


@pytest.mark.parametrize("lines", SIGMOIDS.values(), ids=SIGMOIDS.keys())
@pytest.mark.parametrize("shape", ["3, 50", "N, M"])
def test_every_spelling_of_hard_sigmoid(lines: str, shape: str) -> None:
    found = net(lines, shape)
    wanted = run(found, X)
    assert fuse(found).counts == {"fused": 1}
    assert op_types(found) == ["HardSigmoid"]
    assert_close(wanted, run(found, X))


def test_bounds_as_attributes() -> None:
    text = (
        "g (float[3, 50] x) => (float[3, 50] y) { a = Add(x, three) c = Clip<min = 0.0, max = 6.0>(a) y = Div(c, six) }"
    )
    found = model(text, 8, three=np.array(3, np.float32), six=np.array(6, np.float32))
    wanted = run(found, X)
    assert fuse(found).modified
    assert_close(wanted, run(found, X))


@pytest.mark.parametrize(
    ("lines", "changes", "reason"),
    [
        (SIGMOIDS["clip, divided"], {"zero": -1.0}, "the lower bound is -1, not 0"),
        (SIGMOIDS["clip, times a sixth"], {"sixth": 0.2}, "the upper bound is 1.2, not 1"),
        (SIGMOIDS["clip, divided"], {"three": np.ones((1, 50))}, "a constant is not a single number"),
    ],
)
def test_near_misses(lines: str, changes: dict[str, float | Array], reason: str) -> None:
    result = fuse(net(lines, "3, 50", "float", **changes))
    assert not result.modified
    assert reason in {skip.reason for skip in result.skips}


def test_double_is_left_alone() -> None:
    assert {s.reason for s in fuse(net(SIGMOIDS["relu"], "3, 50", "double")).skips} == {"not float32"}


def test_a_constant_that_raises_the_rank() -> None:
    text = "g (float[3] x) => (float[1, 3] y) { a = Add(x, three) m = Relu(a) c = Min(m, six) y = Div(c, six) }"
    found = model(text, three=np.full((1, 1), 3, np.float32), six=np.array(6, np.float32))
    assert {s.reason for s in fuse(found).skips} == {"a constant is not a single number"}


def test_a_value_inside_that_is_read_elsewhere() -> None:
    lines = SIGMOIDS["clip, divided"]
    text = f"g (float[3, 50] x) => (float[3, 50] y, float[3, 50] z) {{ {lines} z = Relu(c) }}"
    found = model(text, **{n: np.array(NUMBERS[n], np.float32) for n in ("zero", "three", "six")})
    assert fuse(found).skips[0].reason == "something else reads an intermediate value"


def test_a_divided_value_that_is_read_elsewhere_is_where_the_next_one_begins() -> None:
    first = "a = Add(x, three) c = Clip(a, zero, six) s = Div(c, six)"
    found = net(f"{first} b = Add(s, three) d = Clip(b, zero, six) t = Div(d, six) y = Mul(s, t)")
    s = next(node.outputs[0] for node in found.graph if node.outputs[0].name == "s")
    s.shape, s.type = found.graph.inputs[0].shape, found.graph.inputs[0].type
    wanted = run(found, X)
    assert fuse(found).counts == {"fused": 2}
    assert op_types(found) == ["HardSigmoid", "HardSigmoid", "Mul"]
    assert_close(wanted, run(found, X))


def test_the_gate_is_fused_although_the_product_is_scaled_elsewhere() -> None:
    """A hard swish of the other form is a product with a hard sigmoid, which is all that there is to fuse."""
    found = net("a = Add(x, three) c = Clip(a, zero, six) d = Div(c, six) y = Mul(x, d)")
    wanted = run(found, X)
    assert fuse(found).modified
    assert op_types(found) == ["HardSigmoid", "Mul"]
    assert_close(wanted, run(found, X))

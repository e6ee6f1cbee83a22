from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.fuse_hard_swish import FuseHardSwish
from tests.models import Array, assert_close, check, model, op_types, random, run
from tests.passes.fusion.test_fuse_hard_sigmoid import NUMBERS, net

SWISHES = {
    "product divided": "a = Add(x, three) c = Clip(a, zero, six) p = Mul(x, c) y = Div(p, six)",
    "product times a sixth": "a = Add(x, three) c = Clip(a, zero, six) p = Mul(c, x) y = Mul(sixth, p)",
    "divided first": "a = Add(x, three) c = Clip(a, zero, six) d = Div(x, six) y = Mul(d, c)",
    "times first": "a = Add(x, three) m = Relu(a) c = Min(m, six) d = Mul(x, sixth) y = Mul(c, d)",
}
X = {"x": 5 * random(3, 50)}


def fuse(found: ir.Model) -> PassResult:
    result = FuseHardSwish()(found)
    check(found)
    assert not FuseHardSwish()(found).modified
    return result


@pytest.mark.parametrize("lines", SWISHES.values(), ids=SWISHES.keys())
def test_every_spelling(lines: str) -> None:
    found = net(lines)
    wanted = run(found, X)
    assert fuse(found).counts == {"fused": 1}
    assert op_types(found) == ["HardSigmoid", "Mul"]
    assert_close(wanted, run(found, X))


@pytest.mark.parametrize(
    ("lines", "changes", "reason"),
    [
        (SWISHES["product divided"], {"zero": -1.0}, "the lower bound is -1, not 0"),
        (SWISHES["product times a sixth"], {"sixth": 0.2}, "the upper bound is 1.2, not 1"),
        (SWISHES["product divided"], {"three": np.ones((1, 50))}, "a constant is not a single number"),
    ],
)
def test_near_misses(lines: str, changes: dict[str, float | Array], reason: str) -> None:
    result = fuse(net(lines, "3, 50", "float", **changes))
    assert not result.modified
    assert reason in {skip.reason for skip in result.skips}


def test_double_is_left_alone() -> None:
    assert {s.reason for s in fuse(net(SWISHES["times first"], "3, 50", "double")).skips} == {"not float32"}


def test_a_value_inside_that_is_read_elsewhere() -> None:
    text = f"g (float[3, 50] x) => (float[3, 50] y, float[3, 50] z) {{ {SWISHES['product divided']} z = Relu(c) }}"
    found = model(text, **{n: np.array(NUMBERS[n], np.float32) for n in ("zero", "three", "six")})
    assert [s.reason for s in fuse(found).skips] == ["something else reads an intermediate value"]

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.fuse_one_hot_matmul import FuseOneHotMatmul
from tests.models import Array, assert_close, check, model, op_types, random, run

DEPTH, WIDTH = 7, 5
RANGE = "e = Equal(i, r) o = Cast<to = 1>(e) y = MatMul(o, w)"
SWAPPED = "e = Equal(r, i) o = Cast<to = 1>(e) y = MatMul(o, w)"
ONE_HOT = "o = OneHot<axis = -1>(i, d, v) y = MatMul(o, w)"
WEIGHT = random(DEPTH, WIDTH)
ENDS = {np.int8: (-128, 127), np.int16: (-(2**15), 2**15 - 1), np.int32: (-(2**31), 2**31 - 1)}
ENDS |= {np.int64: (-(2**63), 2**63 - 1)}


def net(lines: str, shape: str, kind: str = "int32", opset: int = 17, **weights: Array) -> ir.Model:
    dtype = np.dtype(kind)
    numbers = {"r": np.arange(DEPTH, dtype=dtype), "d": np.array([DEPTH]), "v": np.array([0, 1], np.float32)}
    numbers |= {"w": WEIGHT, **weights}
    used = {k: a for k, a in numbers.items() if any(f"{b}{k}{e}" in lines for b in "( " for e in ",)")}
    rank = len(shape.split(",")) + 1 if "OneHot" in lines else max(len(shape.split(",")), numbers["r"].ndim)
    out = ", ".join(f"n{k}" for k in range(rank))
    return model(f"g ({kind}[{shape}] i) => (float[{out}] y) {{ {lines} }}", opset, **used)


def fuse(found: ir.Model) -> PassResult:
    result = FuseOneHotMatmul()(found)
    check(found)
    assert not FuseOneHotMatmul()(found).modified
    return result


def indices(kind: Any, *shape: int) -> Array:
    """All numbers around the range, and the ends of the type."""
    low, high = ENDS.get(kind, (0, np.iinfo(kind).max))
    near = np.arange(max(low, -2 * DEPTH - 3), 2 * DEPTH + 4)
    return np.resize(np.array([low, high, *near]), shape).astype(kind)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16])
@pytest.mark.parametrize("lines", [RANGE, SWAPPED])
def test_every_index_against_a_range(lines: str, kind: Any) -> None:
    found = net(lines, "N, 60, 1", np.dtype(kind).name)
    i = indices(kind, 2, 60, 1)
    assert fuse(found).counts == {"fused": 1}
    assert op_types(found)[-3:] == ["Squeeze", "Clip", "Gather"]
    wanted = (i == np.arange(DEPTH)).astype(np.float32) @ WEIGHT
    assert_close([wanted], run(found, {"i": i}))


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("shape", [(70,), (2, 70), (2, 5, 7)])
def test_every_index_of_one_hot(shape: tuple[int, ...], kind: Any) -> None:
    found = net(ONE_HOT, ", ".join(map(str, shape)), np.dtype(kind).name)
    i = indices(kind, *shape)
    vectors = (np.where((i < 0) & (i >= -DEPTH), i + DEPTH, i)[..., None] == np.arange(DEPTH)).astype(np.float32)
    if kind is np.int64:  # ONNX Runtime has no kernel for the other
        assert_close([vectors @ WEIGHT], run(found, {"i": i}))
    assert fuse(found).counts == {"fused": 1}
    assert op_types(found) == ["Clip", "Gather"]
    assert_close([vectors @ WEIGHT], run(found, {"i": i}))


def test_the_original_agrees() -> None:
    found = net(RANGE, "3, 20, 1")
    i = indices(np.int32, 3, 20, 1)
    wanted = run(found, {"i": i})
    fuse(found)
    assert_close(wanted, run(found, {"i": i}))


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_other_floats(kind: str) -> None:
    to = {"float16": 10, "double": 11}[kind]
    found = model(
        f"g (int64[4, 1] i) => ({kind}[4, {WIDTH}] y) {{ e = Equal(i, r) o = Cast<to = {to}>(e) y = MatMul(o, w) }}",
        r=np.arange(DEPTH),
        w=WEIGHT.astype(kind),
    )
    i = np.array([[0], [6], [7], [-1]])
    wanted = run(found, {"i": i})
    fuse(found)
    assert_close(wanted, run(found, {"i": i}))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (net(RANGE, "3, 1", r=np.arange(1, DEPTH + 1, dtype=np.int32)), "it is not compared with 0, 1, 2, .."),
        (net(RANGE, "3, 1", r=np.array(0, np.int32), w=WEIGHT[:1]), "it is not compared with one row of numbers"),
        (net(RANGE, "3, 1", r=np.arange(DEPTH, dtype=np.int32).reshape(1, 1, -1)), "the last axis"),
        (net(RANGE, f"3, {DEPTH}"), "the last axis of the index is not known to be 1"),
        (net(RANGE, "3, K"), "the last axis of the index is not known to be 1"),
        (net(RANGE, "3, 1", w=np.full((DEPTH, WIDTH), np.nan, np.float32)), "the weight is not a matrix of finite"),
        (net(RANGE, "3, 1", "double"), "the index is not an integer"),
        (net(RANGE, "3, 1", "uint32"), "the index is not an integer"),
        (net(ONE_HOT, "3, 4", v=np.array([0, 2], np.float32)), "not vectors of 0 and 1"),
        (net(RANGE, "3, 1", opset=12), "opset below 13"),
    ],
)
def test_near_misses(found: ir.Model, reason: str) -> None:
    result = fuse(found)
    assert not result.modified
    assert result.skips[0].reason.startswith(reason)


def test_a_vector_that_is_read_elsewhere() -> None:
    found = model(
        f"g (int32[3, 1] i) => (float[3, {WIDTH}] y, float[3, {DEPTH}] o) {{ {RANGE} }}",
        r=np.arange(DEPTH, dtype=np.int32),
        w=WEIGHT,
    )
    assert [s.reason for s in fuse(found).skips] == ["an intermediate value is a graph output"]


def test_shared_constants_stay() -> None:
    found = model(
        f"g (int32[3, 1] i) => (float[3, {WIDTH}] y, float[{DEPTH}, {WIDTH}] z) {{ {RANGE} z = Neg(w) }}",
        r=np.arange(DEPTH, dtype=np.int32),
        w=WEIGHT,
    )
    assert fuse(found).modified
    assert "w" in found.graph.initializers and "r" not in found.graph.initializers


def test_in_a_subgraph() -> None:
    found = model(
        f"""g (bool c, int32[3, 1] i) => (float[3, {WIDTH}] z) {{
            z = If (c) <
                then_branch = t () => (float[3, {WIDTH}] y) {{ {RANGE} }},
                else_branch = f () => (float[3, {WIDTH}] b) {{ b = Identity(k) }}
            >
        }}""",
        r=np.arange(DEPTH, dtype=np.int32),
        w=WEIGHT,
        k=random(3, WIDTH),
    )
    feeds = {"c": np.array(True), "i": np.array([[2], [-3], [9]], np.int32)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    assert_close(wanted, run(found, feeds))

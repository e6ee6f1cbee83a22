from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.canonicalize.simplify_casts import FLOATS, INTEGER_BITS, SimplifyCasts, holds
from tests.models import Array, check, model, nodes, op_types, random, run, same_bits

T = ir.DataType
NAMES = {T.BOOL: "bool", T.FLOAT: "float", T.DOUBLE: "double", T.FLOAT16: "float16", T.BFLOAT16: "bfloat16"} | {
    t: t.name.lower() for t in INTEGER_BITS
}
NUMPY: list[ir.DataType] = [t for t in NAMES if t != T.BFLOAT16]
"""Types that can be fed."""


def simplify(found: ir.Model) -> PassResult:
    infer_shapes(found)
    result = SimplifyCasts()(found)
    check(found)
    assert not SimplifyCasts()(found).modified
    return result


def values(dtype: ir.DataType) -> Array:
    """All kinds of values of a type, its ends among them."""
    numpy = dtype.numpy()
    if dtype == T.BOOL:
        return np.array([False, True])
    if dtype in INTEGER_BITS:
        ends = np.iinfo(numpy)
        return np.array([ends.min, ends.max, ends.max - 1, 0, 1, 7, 100], numpy)
    limits = np.finfo(numpy)
    numbers = [0.0, -0.0, 1.5, -2.5, np.pi, limits.max, limits.min, limits.tiny, limits.smallest_subnormal]
    return np.array([*numbers, np.nan, np.inf, -np.inf], numpy)


def chain(a: ir.DataType, b: ir.DataType, c: ir.DataType) -> ir.Model:
    lines = f"m = Cast<to = {int(b)}>(x) y = Cast<to = {int(c)}>(m)"
    return model(f"g ({NAMES[a]}[N] x) => ({NAMES[c]}[N] y) {{ {lines} }}", 17)


@pytest.mark.parametrize("a", NUMPY, ids=NAMES.get)
def test_every_chain_of_two(a: ir.DataType) -> None:
    for b in (t for t in NAMES if holds(t, a)):
        for c in NUMPY:
            found = chain(a, b, c)
            x = values(a)
            if a in FLOATS and c in INTEGER_BITS:
                x = x[np.isfinite(x) & (np.abs(x) < 100) & (x >= 0)]  # outside, a Cast to integers is not defined
            wanted = run(found, {"x": x})
            result = simplify(found)
            left_alone = a in FLOATS and c in INTEGER_BITS and b != T.FLOAT
            assert result.modified == (not left_alone), (a, b, c)
            assert op_types(found) == (["Cast"] * 2 if left_alone else ["Identity"] if a == c else ["Cast"])
            assert same_bits(wanted, run(found, {"x": x})), (a, b, c)


def test_which_types_hold_which() -> None:
    for narrow in NUMPY:
        for wide in (t for t in NUMPY if t != narrow):
            x = values(narrow)
            with np.errstate(all="ignore"):
                back = x.astype(wide.numpy()).astype(narrow.numpy())
            if holds(wide, narrow):
                assert np.array_equal(back, x, equal_nan=narrow in FLOATS), (wide, narrow)
    assert holds(T.INT64, T.UINT32) and not holds(T.INT32, T.UINT32) and not holds(T.UINT64, T.INT8)
    assert holds(T.FLOAT, T.INT16) and not holds(T.FLOAT, T.INT32) and not holds(T.FLOAT16, T.BFLOAT16)
    assert holds(T.FLOAT16, T.INT8) and not holds(T.BFLOAT16, T.UINT16)


@pytest.mark.parametrize(
    ("a", "b", "c", "reason"),
    [
        (T.FLOAT, T.FLOAT16, T.FLOAT, "the first Cast does not keep every value"),
        (T.INT64, T.INT32, T.INT64, "the first Cast does not keep every value"),
        (T.INT32, T.BOOL, T.INT32, "the first Cast does not keep every value"),
        (T.INT64, T.FLOAT, T.INT64, "the first Cast does not keep every value"),
        (T.FLOAT, T.DOUBLE, T.INT32, "by way of double to integers"),
        (T.FLOAT, T.DOUBLE, T.FLOAT8E4M3FN, "not to a common type of numbers"),
    ],
)
def test_near_misses(a: ir.DataType, b: ir.DataType, c: ir.DataType, reason: str) -> None:
    lines = f"m = Cast<to = {int(b)}>(x) y = Cast<to = {int(c)}>(m)"
    result = simplify(
        model(f"g ({NAMES[a]}[N] x) => ({c.name.lower() if c not in NAMES else NAMES[c]}[N] y) {{ {lines} }}", 19)
    )
    assert [skip.reason for skip in result.skips] == [reason]


def test_text_is_left_alone() -> None:
    lines = f"m = Cast<to = {int(T.FLOAT)}>(x) y = Cast<to = {int(T.STRING)}>(m)"
    result = simplify(model(f"g (float16[N] x) => (string[N] y) {{ {lines} }}", 17))
    assert [skip.reason for skip in result.skips] == ["not to a common type of numbers"]


def test_a_longer_chain() -> None:
    lines = "a = Cast<to = 5>(x) b = Cast<to = 6>(a) c = Cast<to = 7>(b) y = Cast<to = 1>(c)"
    found = model(f"g (int8[N] x) => (float[N] y) {{ {lines} }}", 17)
    x = values(T.INT8)
    wanted = run(found, {"x": x})
    assert simplify(found).modified
    assert op_types(found) == ["Cast"]
    assert same_bits(wanted, run(found, {"x": x}))


def test_the_first_cast_stays_for_its_other_readers() -> None:
    found = model(
        "g (float16[N] x) => (float16[N] y, float[N] z, float[N] m) { m = Cast<to = 1>(x) c = Cast<to = 10>(m) y = Neg(c) z = Relu(m) }",
        17,
    )
    x = {"x": random(4).astype(np.float16)}
    wanted = run(found, x)
    assert simplify(found).modified
    assert op_types(found) == ["Cast", "Neg", "Relu"]
    assert same_bits(wanted, run(found, x))


@pytest.mark.parametrize("line", ["Gather(d, j)", "GatherElements(d, j)", "ScatterElements(d, j, u)"])
@pytest.mark.parametrize("dtype", ["int32", "int16", "int64"])
def test_indices(line: str, dtype: str) -> None:
    found = model(f"g (float[5] d, float[2] u, {dtype}[2] i) => (float[N] y) {{ j = Cast<to = 7>(i) y = {line} }}", 17)
    feeds: dict[str, Array] = {
        "d": random(5),
        "u": random(2),
        "i": np.array([4, -1] if "S" not in line else [4, 0], dtype),
    }
    if "u)" not in line:
        found.graph.inputs.pop(1)
        del feeds["u"]
    wanted = run(found, feeds)
    assert simplify(found).modified == (dtype == "int32")
    assert ("Cast" in op_types(found)) == (dtype != "int32")
    assert same_bits(wanted, run(found, feeds))


COMPARISONS = ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"]


@pytest.mark.parametrize("op", COMPARISONS)
@pytest.mark.parametrize(("narrow", "wide"), [(T.INT32, T.INT64), (T.FLOAT, T.DOUBLE), (T.INT32, T.DOUBLE)])
def test_comparisons(op: str, narrow: ir.DataType, wide: ir.DataType) -> None:
    found = model(
        f"g ({NAMES[narrow]}[N, 1] a, {NAMES[narrow]}[N] b) => (bool[N, N] y, bool[N, 1] z) "
        f"{{ c = Cast<to = {int(wide)}>(a) d = Cast<to = {int(wide)}>(b) y = {op}(c, d) z = {op}(k, c) }}",
        17,
        k=np.array(1, wide.numpy()),
    )
    x = values(narrow)
    feeds = {"a": x[:, None], "b": x}
    wanted = run(found, feeds)
    assert simplify(found).counts == {"simplified": 2}
    assert op_types(found) == [op, op] and "k" not in found.graph.initializers
    assert same_bits(wanted, run(found, feeds))


@pytest.mark.parametrize(
    ("lines", "k", "reason"),
    [
        ("y = Less(c, k)", np.array(2**40), "one side has the wider type"),
        ("y = Less(c, b)", np.array(0), "one side has the wider type"),
        ("e = Cast<to = 1>(a) d = Cast<to = 11>(e) f = Cast<to = 11>(a) y = Less(d, f)", np.array(0), "the two sides have different types"),
    ],
)  # fmt: skip
def test_comparisons_that_need_the_cast(lines: str, k: Array, reason: str) -> None:
    found = model(f"g (int32[N] a, int64[N] b) => (bool[N] y, int64[N] c) {{ c = Cast<to = 7>(a) {lines} }}", 17, k=k)
    result = simplify(found)
    assert not result.modified
    assert reason in {skip.reason for skip in result.skips}


def test_old_comparisons_are_left_alone() -> None:
    found = model("g (int32[N] a) => (bool[N] y) { c = Cast<to = 7>(a) y = Equal(c, c) }", 9)
    assert not simplify(found).modified


def test_a_constant_that_others_read_stays() -> None:
    found = model(
        "g (int32[N] a, int64[N] b) => (bool[N] y, int64[N] z) { c = Cast<to = 7>(a) y = Less(c, k) z = Add(b, k) }",
        17,
        k=np.array(3),
    )
    assert simplify(found).modified
    assert {v.dtype for v in found.graph.initializers.values()} == {T.INT32, T.INT64}


def test_inside_a_subgraph_on_a_captured_value() -> None:
    text = """g (bool c, float16[N] x) => (float16[N] y) {
        y = If (c) <
            then_branch = t () => (float16[N] a) { m = Cast<to = 1>(x) a = Cast<to = 10>(m) },
            else_branch = f () => (float16[N] b) { b = Neg(x) }
        >
    }"""
    found = model(text, 17)
    feeds: dict[str, Any] = {"c": np.array(True), "x": values(T.FLOAT16)}
    wanted = run(found, feeds)
    assert simplify(found).modified
    assert [n.op_type for n in nodes(found)] == ["If", "Identity", "Neg"]
    assert same_bits(wanted, run(found, feeds))

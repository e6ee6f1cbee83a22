from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.tvm.legalize.guard_infinities import GuardInfinities
from tests.models import Array, check, model, op_types, run

INF = np.inf
ROWS = np.array([[-INF, -INF, -INF], [INF, INF, INF], [-INF, 1, 2], [INF, 1, 2], [-INF, INF, 0], [3, 1, 2]])
LOWEST = np.array([[-3.4028235e38, -INF, -INF]])


def guard(found: ir.Model) -> PassResult:
    result = GuardInfinities()(found)
    check(found)
    assert not GuardInfinities()(found).modified
    return result


def assert_guarded(found: ir.Model, x: Array) -> None:
    wanted = run(found, {"x": x})
    assert guard(found).counts == {"simplified": 1}
    assert all(np.array_equal(w, g) for w, g in zip(wanted, run(found, {"x": x}), strict=True))


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_reductions_that_are_compared(op: str, opset: int) -> None:
    call = f"{op}<axes = [1]>(x)" if opset < 18 else f"{op}(x, a)"
    found = model(
        f"g (float[n, 3] x) => (bool[n, 1] y, float[n, 1] m) {{ m = {call} y = Equal(m, c) }}",
        opset,
        c=np.array(-INF, np.float32),
        **({"a": np.array([1])} if opset >= 18 else {}),
    )
    assert_guarded(found, np.concatenate([ROWS, LOWEST]).astype(np.float32))
    where = next(node for node in found.graph if node.op_type == "Where")
    assert where.outputs[0].name == "m"


def test_double() -> None:
    text = "g (double[6, 3] x) => (bool[6] y) { m = ReduceMax<axes = [1], keepdims = 0>(x) y = Equal(m, c) }"
    assert_guarded(model(text, 17, c=np.array(-INF)), ROWS)


def test_what_passes_elements_on_is_followed() -> None:
    text = "g (float[6, 3] x) => (bool[6, 1, 1] y) { m = ReduceMax<axes = [1]>(x) u = Unsqueeze(m, a) y = IsInf(u) }"
    assert_guarded(model(text, 17, a=np.array([1])), ROWS.astype(np.float32))


@pytest.mark.parametrize("attributes", ["detect_negative = 0", "detect_positive = 0"])
def test_the_sign_of_infinities(attributes: str) -> None:
    found = model(f"g (float[6, 3] x) => (bool[6, 3] y) {{ y = IsInf<{attributes}>(x) }}", 17)
    assert_guarded(found, ROWS.astype(np.float32))
    assert op_types(found) == ["Equal"]


@pytest.mark.parametrize(
    "text",
    [
        "g (float[6, 3] x) => (float[6, 1] y) { y = ReduceMax<axes = [1]>(x) }",
        "g (float[6, 3] x) => (float[6, 3] y) { m = ReduceMax<axes = [1]>(x) d = Sub(x, m) y = Exp(d) }",
        "g (int64[6, 3] x) => (bool[6, 1] y) { m = ReduceMax<axes = [1]>(x) y = Equal(m, m) }",
        "g (float[6, 3] x) => (bool[6, 3] y) { y = IsInf(x) }",
    ],
)
def test_what_needs_no_guard(text: str) -> None:
    result = guard(model(text, 17))
    assert not result.modified and not result.skips


def test_halves() -> None:
    text = "g (float16[6, 3] x) => (bool[6, 1] y) { m = ReduceMax<axes = [1]>(x) y = Equal(m, c) }"
    assert_guarded(model(text, 17, c=np.array(-INF, np.float16)), ROWS.astype(np.float16))


def test_other_floats() -> None:
    result = guard(model("g (bfloat16[6, 3] x) => (bool[1, 1] y) { m = ReduceMax(x) y = Equal(m, m) }", 19))
    assert [skip.reason for skip in result.skips] == ["floats other than of 16, 32 and 64 bits"]

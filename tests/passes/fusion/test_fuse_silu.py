from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.fuse_silu import FuseSilu
from tests.models import assert_close, check, model, op_types, random, run

FORMS = {
    "quotient": "n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(x, d)",
    "term first": "n = Neg(x) e = Exp(n) d = Add(one, e) y = Div(x, d)",
    "reciprocal": "n = Neg(x) e = Exp(n) d = Add(e, one) r = Reciprocal(d) y = Mul(r, x)",
    "one over": "n = Neg(x) e = Exp(n) d = Add(e, one) r = Div(one, d) y = Mul(x, r)",
}


def silu(lines: str, one: float = 1, shape: str = "N, 4", dtype: str = "float") -> ir.Model:
    numpy = {"float": np.float32, "double": np.float64, "float16": np.float16}[dtype]
    text = f"g ({dtype}[{shape}] x) => ({dtype}[{shape}] y) {{ {lines} }}"
    return model(text, one=np.array(one, numpy))


def fuse(found: ir.Model) -> PassResult:
    result = FuseSilu()(found)
    check(found)
    assert not FuseSilu()(found).modified
    return result


@pytest.mark.parametrize("lines", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("dtype", ["float", "double", "float16"])
def test_fuses_every_form(lines: str, dtype: str) -> None:
    found = silu(lines, dtype=dtype)
    feeds = {"x": random(3, 4).astype({"float": np.float32, "double": np.float64, "float16": np.float16}[dtype])}
    wanted = run(found, feeds)
    assert fuse(found).counts == {"fused": 1}
    assert op_types(found) == ["Sigmoid", "Mul"]
    assert not found.graph.initializers
    assert_close(wanted, run(found, feeds))


def test_near_misses_have_reasons() -> None:
    result = fuse(silu(FORMS["quotient"], one=2))
    assert not result.modified
    assert [skip.reason for skip in result.skips] == ["the one is not a single 1"]


def test_a_value_inside_that_is_read_elsewhere() -> None:
    text = (
        "g (float[4] x) => (float[4] y, float[4] z) { n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(x, d) z = Relu(e) }"
    )
    result = fuse(model(text, one=np.array(1, np.float32)))
    assert [skip.reason for skip in result.skips] == ["something else reads an intermediate value"]


def test_a_value_inside_that_is_a_graph_output() -> None:
    text = "g (float[4] x) => (float[4] y, float[4] e) { n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(x, d) }"
    result = fuse(model(text, one=np.array(1, np.float32)))
    assert [skip.reason for skip in result.skips] == ["an intermediate value is a graph output"]


def test_a_shared_constant_stays_for_its_other_reader() -> None:
    text = "g (float[4] x) => (float[4] y) { n = Neg(x) e = Exp(n) d = Add(e, one) s = Div(x, d) y = Add(s, one) }"
    found = model(text, one=np.array(1, np.float32))
    assert fuse(found).modified
    assert list(found.graph.initializers) == ["one"]


def test_inside_a_subgraph() -> None:
    text = """g (bool c, float[4] x) => (float[4] y) {
        y = If (c) <
            then_branch = t () => (float[4] a) { n = Neg(x) e = Exp(n) d = Add(e, one) a = Div(x, d) },
            else_branch = f () => (float[4] b) { b = Relu(x) }
        >
    }"""
    found = model(text, one=np.array(1, np.float32))
    feeds = {"c": np.array(True), "x": random(4)}
    wanted = run(found, feeds)
    assert fuse(found).modified
    assert_close(wanted, run(found, feeds))

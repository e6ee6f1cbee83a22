from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.onnxruntime.raise_bias_rank import RaiseBiasRank
from tests.models import Array, check, elements, model, op_types, random, run, same_bits
from tests.targets.onnxruntime.test_add_bias_last import optimized

D, N = 6, 8
WEIGHTS = {"w": random(D, N), "b": random(N, seed=1)}
LINES = "m = MatMul(x, w) y = Add(m, b)"


def net(
    rows: str, lines: str = LINES, kind: str = "float", more: str = "", changes: dict[str, Array] | None = None
) -> ir.Model:
    given = f"{kind}[{rows}, {D}] x" if rows else f"{kind}[{D}] x"
    out = f"{kind}[{rows}, {N}] y" if rows else f"{kind}[{N}] y"
    found = model(f"g ({given}) => ({out}{more}) {{ {lines} }}", **{**WEIGHTS, **(changes or {})})
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found), strict_mode=True))


def legalize(found: ir.Model) -> PassResult:
    result = RaiseBiasRank()(found)
    check(found)
    assert not RaiseBiasRank()(found).modified
    return result


@pytest.mark.parametrize("lines", [LINES, "m = MatMul(x, w) y = Add(b, m)"])
@pytest.mark.parametrize("kind", ["float", "double", "float16"])
@pytest.mark.parametrize("rows", [(2, 5), (2, 3, 4), (0, 5)])
def test_every_form(lines: str, kind: str, rows: tuple[int, ...]) -> None:
    dtype = np.dtype({"float": "f4", "double": "f8", "float16": "f2"}[kind])
    found = net(", ".join(map(str, rows)), lines, kind, changes={n: a.astype(dtype) for n, a in WEIGHTS.items()})
    feeds = {"x": random(*rows, D, dtype=dtype)}
    wanted = run(found, feeds)
    assert legalize(found).counts == {"fused": 1}
    assert op_types(found) == ["MatMul", "Add"]
    assert [v.shape for v in found.graph.initializers.values() if v.name != "w"] == [ir.Shape([*[1] * len(rows), N])]
    assert same_bits(wanted, run(found, feeds))


def test_onnxruntime_makes_no_gemm_any_more(tmp_path: object) -> None:
    found = net("2, 5")
    assert "Gemm" in optimized(found, f"{tmp_path}/before.onnx")
    legalize(found)
    assert optimized(found, f"{tmp_path}/after.onnx") == ["MatMul", "Add"]


@pytest.mark.parametrize(
    ("rows", "changes", "reason"),
    [
        ("5", {}, "the product has two dimensions"),
        ("M, 5", {}, "the shapes are not known, or the second factor is no matrix"),
        ("2, 5", {"b": random(1, N)}, "the bias has more than one dimension already, or none"),
        ("2, 5", {"b": random(1)}, "the bias is not one number a column"),
        ("2, 5", {"w": random(2, D, N)}, "the shapes are not known, or the second factor is no matrix"),
    ],
)
def test_near_misses(rows: str, changes: dict[str, Array], reason: str) -> None:
    result = legalize(net(rows, changes=changes))
    assert not result.modified
    assert [skip.reason for skip in result.skips] == [reason]


def test_a_product_that_is_read_elsewhere_and_a_shared_bias() -> None:
    found = net("2, 5", f"{LINES} z = Mul(m, b)", more=f", float[2, 5, {N}] z")
    wanted = run(found, {"x": random(2, 5, D)})
    assert legalize(found).modified
    assert np.array_equal(elements(found, "b"), WEIGHTS["b"])
    assert same_bits(wanted, run(found, {"x": random(2, 5, D)}))


def test_inside_a_subgraph() -> None:
    text = f"""g (bool c, float[2, 5, {D}] x) => (float[2, 5, {N}] y) {{
        y = If (c) <
            then_branch = t () => (float[2, 5, {N}] p) {{ m = MatMul(x, w) p = Add(m, b) }},
            else_branch = f () => (float[2, 5, {N}] q) {{ q = MatMul(x, w) }}
        >
    }}"""
    found = model(text, **WEIGHTS)
    found = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found), strict_mode=True))
    feeds = {"c": np.array(True), "x": random(2, 5, D)}
    wanted = run(found, feeds)
    assert legalize(found).modified
    assert same_bits(wanted, run(found, feeds))

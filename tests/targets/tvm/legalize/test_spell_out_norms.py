from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.tvm.legalize.spell_out_norms import SpellOutNorms
from tests.models import Array, assert_close, check, model, op_types, random, run

F = np.float32


def spell(found: ir.Model) -> PassResult:
    result = SpellOutNorms()(found)
    check(found)
    assert not SpellOutNorms()(found).modified
    return result


def assert_spelled(found: ir.Model, x: Array) -> None:
    wanted = run(found, {"x": x})
    assert spell(found).counts == {"simplified": 1}
    assert not set(op_types(found)) & SpellOutNorms.op_types
    assert_close(wanted, run(found, {"x": x}))


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize("axes", [[1, 3], [0, 2, 3]])
def test_mean_variance(axes: list[int], opset: int) -> None:
    text = f"g (float[2, 3, 4, 5] x) => (float[2, 3, 4, 5] y) {{ y = MeanVarianceNormalization<axes = {axes}>(x) }}"
    found = model(text, opset)
    if axes == [0, 2, 3]:
        found.graph[0].attributes.pop("axes")  # the default, which ONNX's checker does not take
    assert_spelled(found, random(2, 3, 4, 5))


def test_mean_variance_far_from_zero() -> None:
    found = model(
        "g (float[2, 3, 4, 5] x) => (float[2, 3, 4, 5] y) { y = MeanVarianceNormalization<axes = [0, 2, 3]>(x) }", 17
    )
    x = random(2, 3, 4, 5) + F(1000)
    wide = x.astype(np.float64)
    wanted = (wide - wide.mean((0, 2, 3), keepdims=True)) / (wide.std((0, 2, 3), keepdims=True) + 1e-9)
    assert spell(found).modified
    np.testing.assert_allclose(run(found, {"x": x})[0], wanted, atol=1e-3)  # x itself is known to 6e-5


@pytest.mark.parametrize("opset", [9, 17, 18])
@pytest.mark.parametrize("attributes", ["", "<p = 1>", "<axis = 0>", "<axis = 1, p = 2>"])
def test_lp(attributes: str, opset: int) -> None:
    x = random(2, 3, 4)
    x[0, 0], x[:, 1, 1], x[1] = 0, 0, 0
    assert_spelled(
        model(f"g (float[2, 3, 4] x) => (float[2, 3, 4] y) {{ y = LpNormalization{attributes}(x) }}", opset), x
    )


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("axis", [-1, -2, 1])
@pytest.mark.parametrize("bias", ["", ", b"])
def test_moments_of_a_layer_norm(bias: str, axis: int, opset: int) -> None:
    shape = (4,) if axis == -1 else (3, 4)
    head = f"float[2, {'3, 1' if axis == -1 else '1, 1'}]"
    text = f"""g (float[2, 3, 4] x) => (float[2, 3, 4] y, {head} m, {head} s)
        {{ y, m, s = LayerNormalization<axis = {axis}, epsilon = 0.01>(x, g_{bias}) }}"""
    weights = {"g_": random(*shape, seed=1), **({"b": random(*shape, seed=2)} if bias else {})}
    assert_spelled(model(text, opset, **weights), random(2, 3, 4))


def test_a_deviation_without_the_mean() -> None:
    text = "g (float[3, 4] x) => (float[3, 4] y, float[3, 1] s) { y, , s = LayerNormalization(x, w) }"
    assert_spelled(model(text, 17, w=random(4)), random(3, 4))


def test_a_scale_of_lower_rank() -> None:
    text = "g (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = LayerNormalization<axis = 1>(x, w) }"
    assert_spelled(model(text, 17, w=random(4)), random(2, 3, 4))


def test_outputs_that_nothing_reads_go() -> None:
    text = "g (float[3, 4] x) => (float[3, 4] y) { y, m, s = LayerNormalization(x, w) }"
    found = model(text, 17, w=random(4))
    assert spell(found).counts == {"simplified": 1}
    assert op_types(found) == ["LayerNormalization"] and len(found.graph[0].outputs) == 1


def test_a_plain_layer_norm_is_left_alone() -> None:
    text = "g (float[3, 4] x) => (float[3, 4] y) { y = LayerNormalization(x, w) }"
    result = spell(model(text, 17, w=random(4)))
    assert not result.modified and not result.skips


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_other_element_types(kind: str) -> None:
    result = SpellOutNorms()(model(f"g ({kind}[3, 4] x) => ({kind}[3, 4] y) {{ y = LpNormalization(x) }}", 17))
    assert not result.modified and [skip.reason for skip in result.skips] == ["element types other than float32"]


def test_in_a_subgraph() -> None:
    found = model(
        """g (bool k, float[3, 4] x) => (float[3, 4] y) { y = If (k) <
            then_branch = t () => (float[3, 4] p) { p = LpNormalization(x) },
            else_branch = e () => (float[3, 4] q) { q = LpNormalization<p = 1>(x) }> }""",
        17,
    )
    found = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found)))
    feeds: list[dict[str, Array]] = [{"k": np.array(k), "x": random(3, 4)} for k in (True, False)]
    wanted = [run(found, f) for f in feeds]
    assert spell(found).counts == {"simplified": 2}
    for w, f in zip(wanted, feeds, strict=True):
        assert_close(w, run(found, f))

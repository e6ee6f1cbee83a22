from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.onnxruntime.decompose_lrn import DecomposeLrn
from tests.models import Array, assert_close, check, model, nodes, op_types, random, run

X = 3 * random(2, 9, 4, 5)
FORM = ["Unsqueeze", "Mul", "Conv", "Sqrt", "Sqrt", "Mul", "Div", "Squeeze"]


def net(attributes: str = "size = 5", shape: str = "N, 9, H, W", opset: int = 17, dtype: str = "float") -> ir.Model:
    return model(f"g ({dtype}[{shape}] x) => ({dtype}[{shape}] y) {{ y = LRN<{attributes}>(x) }}", opset)


def decompose(found: ir.Model) -> PassResult:
    result = DecomposeLrn()(found)
    check(found)
    assert not DecomposeLrn()(found).modified
    return result


def reasons(found: ir.Model) -> list[str]:
    result = decompose(found)
    assert not result.modified
    return [skip.reason for skip in result.skips]


def by_definition(x: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Array:
    """As the specification of ONNX has it, in double precision."""
    wide = x.astype(np.float64)
    sums = np.zeros_like(wide)
    for c in range(x.shape[1]):
        first, last = max(0, c - (size - 1) // 2), min(x.shape[1] - 1, c + -(-(size - 1) // 2))
        sums[:, c] = (wide[:, first : last + 1] ** 2).sum(axis=1)
    found: Array = (wide / (bias + alpha / size * sums) ** beta).astype(np.float32)
    return found


@pytest.mark.parametrize("opset", [7, 12, 13, 18, 19, 22])
def test_defaults(opset: int) -> None:
    found = net(opset=opset)
    wanted = run(found, {"x": X})
    assert decompose(found).counts == {"fused": 1}
    assert op_types(found) == FORM
    assert_close(wanted, run(found, {"x": X}))
    assert_close([by_definition(X, 5)], run(found, {"x": X}))


@pytest.mark.parametrize("size", [1, 3, 5, 7, 17, 19, 63])
@pytest.mark.parametrize("beta", [0.5, 0.75, 0.25, 0.6, 1.5])
def test_windows_and_exponents(size: int, beta: float) -> None:
    found = net(f"size = {size}, alpha = 0.7, beta = {beta}, bias = 2.0")
    wanted = run(found, {"x": X})
    assert decompose(found).modified
    assert_close(wanted, run(found, {"x": X}))
    assert_close([by_definition(X, size, 0.7, beta, 2)], run(found, {"x": X}))


@pytest.mark.parametrize("size", [2, 4, 6])
def test_an_even_window_has_one_channel_more_after(size: int) -> None:
    """ONNX Runtime refuses these, so that the definition is the judge."""
    found = net(f"size = {size}, alpha = 1.0")
    assert decompose(found).modified
    assert_close([by_definition(X, size, 1)], run(found, {"x": X}))


@pytest.mark.parametrize("shape", ["1, C, 6, 7", "N, C, H, W", "1, 9, 4, 5"])
def test_sizes_need_not_be_known(shape: str) -> None:
    found = net(shape=shape)
    assert decompose(found).modified
    for feed in (random(1, 9, 6, 7), random(1, 2, 6, 7)):
        if shape != "1, 9, 4, 5":
            assert_close([by_definition(feed, 5)], run(found, {"x": feed}, optimize=True))
    inner = next(iter(found.graph)).outputs[0]
    assert inner.shape is not None and [str(d) for d in inner.shape][:2] == [shape[0], "1"]


def test_no_images_at_all() -> None:
    found = net()
    assert decompose(found).modified
    assert run(found, {"x": X[:0]})[0].shape == (0, 9, 4, 5)


def test_the_sum_overflows_only_where_it_does_by_definition() -> None:
    """A running sum would spread NaN, and a weight over all channels, too."""
    x = X.copy()
    x[0, 3, 0, 0], x[0, 3, 1, 1], x[1, 4, 0, 0] = 3e38, np.inf, np.nan
    x[1, 1, 2, 2] = 1.5e19  # its square is finite
    found = net("size = 3, alpha = 3.0")
    assert decompose(found).modified
    y = run(found, {"x": x})[0]
    bad = np.zeros(x.shape, bool)
    bad[0, 3, 1, 1] = bad[1, 3:6, 0, 0] = True
    np.testing.assert_array_equal(np.isnan(y), bad)
    assert np.isfinite(y[~bad]).all()
    assert (y[0, 2:5, 0, 0] == 0).all()
    x[~np.isfinite(x)] = 0
    elsewhere = np.ones(x.shape, bool)
    elsewhere[0, 2:5, 0:2, 0:2] = elsewhere[1, 3:6, 0, 0] = False
    np.testing.assert_allclose(y[elsewhere], by_definition(x, 3, 3)[elsewhere], rtol=1e-5)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ("size = 5, beta = 1.0", "the exponent is whole, for which the kernel is fast"),
        ("size = 5, beta = 0.0", "the exponent is whole, for which the kernel is fast"),
        ("size = 65", "the window is too wide"),
        ("size = 5, bias = 0.0", "the bias is not a positive ordinary number"),
        ("size = 5, bias = -1.0", "the bias is not a positive ordinary number"),
        ("size = 5, bias = 1e-40", "the bias is not a positive ordinary number"),
        ("size = 5, alpha = -0.1", "the factor is not a positive ordinary number"),
        ("size = 5, alpha = 0.0", "the factor is not a positive ordinary number"),
        ("size = 5, alpha = 2e-38", "the factor is not a positive ordinary number"),
    ],
)
def test_near_misses(attributes: str, reason: str) -> None:
    assert reasons(net(attributes)) == [reason]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("size", 0, "the window is too wide"),
        ("beta", float("nan"), "the exponent is whole, for which the kernel is fast"),
        ("bias", float("inf"), "the bias is not a positive ordinary number"),
        ("alpha", float("nan"), "the factor is not a positive ordinary number"),
    ],
)
def test_numbers_that_are_none(name: str, value: Any, reason: str) -> None:
    found = net()
    next(iter(found.graph)).attributes[name] = ir.Attr(
        name, ir.AttributeType.INT if name == "size" else ir.AttributeType.FLOAT, value
    )
    assert reasons(found) == [reason]


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_other_element_types(dtype: str) -> None:
    assert reasons(net(dtype=dtype)) == ["not float32"]


def test_another_number_of_dimensions() -> None:
    assert reasons(net(shape="N, 9, H")) == ["not four dimensions"]


def test_an_unknown_number_of_dimensions() -> None:
    found = net()
    found.graph.inputs[0].shape = None
    assert [skip.reason for skip in DecomposeLrn()(found).skips] == ["not four dimensions"]


def test_several_readers_and_nodes() -> None:
    found = model(
        """g (float[2, 9, 4, 5] x) => (float[2, 9, 4, 5] y, float[2, 9, 4, 5] z, float[2, 9, 4, 5] r, float[2, 9, 4, 5] s) {
            r = Relu(x) y = LRN<size = 3>(r) b = LRN<size = 5, beta = 0.5>(r) s = Add(y, b) z = LRN<size = 3>(s) }"""
    )
    wanted = run(found, {"x": X})
    assert decompose(found).counts == {"fused": 3}
    assert [v.name for v in found.graph.outputs] == ["y", "z", "r", "s"]
    assert_close(wanted, run(found, {"x": X}))


def test_in_a_subgraph() -> None:
    found = model(
        """g (bool c, float[2, 9, 4, 5] x) => (float[2, 9, 4, 5] y) { y = If(c) <
            then_branch = t () => (float[2, 9, 4, 5] a) { a = LRN<size = 3, alpha = 0.5>(x) },
            else_branch = e () => (float[2, 9, 4, 5] b) { b = Neg(x) }> }"""
    )
    feeds = {"c": np.array(True), "x": X}
    wanted = run(found, feeds)
    assert decompose(found).modified
    assert "LRN" not in {node.op_type for node in nodes(found)}
    assert_close(wanted, run(found, feeds))

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.onnxruntime.prelu_to_relu import PreluToRelu
from tests.models import Array, check, model, op_types, random, run

W = 0.3 * random(8, 3, 3, 3)
X = random(2, 3, 8, 8, seed=5)
SLOPES = np.array([0.25, -0.5, 3.0, 0.0, 1.0, 0.1, 7.0, -2.0], np.float32)
FORM = ["Relu", "BatchNormalization", "Relu", "BatchNormalization", "Add"]


def net(
    slope: Array, before: str = "t = Conv<pads = [1, 1, 1, 1]>(x, w)", opset: int = 17, weight: Array = W
) -> ir.Model:
    graph = f"g (float[N, 3, 8, 8] x) => (float[N, C, 8, 8] y) {{ {before} y = PRelu(t, s) }}"
    found = model(graph, opset, w=weight, s=slope)
    for node in found.graph:
        node.outputs[0].shape = ir.Shape(["N", weight.shape[0], 8, 8])
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return found


def legalize(found: ir.Model) -> PassResult:
    result = PreluToRelu()(found)
    check(found)
    assert not PreluToRelu()(found).modified
    return result


@pytest.mark.parametrize(
    "slope", [SLOPES.reshape(8, 1, 1), SLOPES.reshape(1, 8, 1, 1), SLOPES[:1], SLOPES[0]], ids=["3", "4", "1", "0"]
)
@pytest.mark.parametrize("opset", [7, 9, 14, 17])
def test_every_slope_gives_the_same_numbers(slope: Array, opset: int) -> None:
    found = net(np.asarray(slope), opset=opset)
    wanted = run(found, {"x": X})
    assert legalize(found).counts == {"fused": 1}
    assert sorted(op_types(found)) == sorted(["Conv", *FORM])
    np.testing.assert_array_equal(run(found, {"x": X}), wanted)


def test_no_number_is_too_large() -> None:
    """Where ``a x + (1 - a) Relu(x)`` would overflow or cancel, nothing does."""
    w = np.zeros((8, 3, 1, 1), np.float32)
    w[:, 0] = 1
    found = net(np.array([3e7, -3, 1, 0.5, 0, -3e7, 0.1, 2], np.float32).reshape(8, 1, 1), "t = Conv(x, w)", weight=w)
    x = np.zeros_like(X)
    x[:, 0, 0, :6] = [3e38, -3e30, np.float32(1e-45), -1e-30, 1, 0]
    wanted = run(found, {"x": x})
    assert legalize(found).modified
    assert np.isfinite(wanted[0]).all()
    np.testing.assert_array_equal(run(found, {"x": x}), wanted)


@pytest.mark.parametrize(
    ("slope", "before", "reason"),
    [
        (
            random(64).reshape(1, 1, 8, 8),
            "t = Conv<pads = [1, 1, 1, 1]>(x, w)",
            "the slope is not scalar or per channel",
        ),
        (np.full((8, 1, 1), np.nan, np.float32), "t = Conv<pads = [1, 1, 1, 1]>(x, w)", "the slope is not finite"),
        (SLOPES.reshape(8, 1, 1), "v = Conv<pads = [1, 1, 1, 1]>(x, w) t = Softplus(v)", "not behind a convolution"),
    ],
)
def test_near_misses(slope: Array, before: str, reason: str) -> None:
    result = legalize(net(slope, before))
    assert not result.modified
    assert [skip.reason for skip in result.skips] == [reason]


def test_fewer_channels_than_a_block() -> None:
    found = net(SLOPES[:1], weight=W[:7])
    assert [s.reason for s in legalize(found).skips] == ["fewer channels than a block holds"]


def test_an_unknown_shape() -> None:
    found = net(SLOPES.reshape(8, 1, 1))
    next(iter(found.graph)).outputs[0].shape = None
    assert [s.reason for s in legalize(found).skips] == ["not four dimensions with a known number of channels"]


def test_float16_is_left_alone() -> None:
    graph = "g (float16[1, 3, 8, 8] x) => (float16[1, 8, 6, 6] y) { t = Conv(x, w) y = PRelu(t, s) }"
    found = model(graph, w=W.astype(np.float16), s=SLOPES.reshape(8, 1, 1).astype(np.float16))
    next(iter(found.graph)).outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    assert [s.reason for s in legalize(found).skips] == ["not float32"]


def test_behind_what_keeps_the_layout_with_several_readers() -> None:
    found = net(SLOPES.reshape(8, 1, 1), "v = Conv<pads = [1, 1, 1, 1]>(x, w) b = Tanh(v) t = Sub(v, b)")
    assert not legalize(found).modified
    found = net(SLOPES.reshape(8, 1, 1), "v = Conv<pads = [1, 1, 1, 1]>(x, w) t = Tanh(v)")
    wanted = run(found, {"x": X})
    assert legalize(found).modified
    np.testing.assert_array_equal(run(found, {"x": X}), wanted)

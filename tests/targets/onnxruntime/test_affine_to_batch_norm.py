from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.onnxruntime.affine_to_batch_norm import AffineToBatchNorm
from tests.models import Array, assert_close, check, model, op_types, random, run

W = 0.3 * random(4, 3, 3, 3)
X = random(2, 3, 8, 8, seed=5)
PER_CHANNEL = random(4, seed=1).reshape(4, 1, 1)

FORMS = {
    "scale and shift": "m = Mul(t, c) y = Add(m, d)",
    "constants first": "m = Mul(c, t) y = Add(d, m)",
    "scale": "y = Mul(t, c)",
    "shift": "y = Add(t, d)",
}


def net(lines: str, activation: str = "t = Relu(v)", **constants: Array) -> ir.Model:
    graph = f"""g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y) {{
        v = Conv<pads = [1, 1, 1, 1]>(x, w)
        {activation}
        {lines}
    }}"""
    found = model(graph, w=W, **constants)
    for node in found.graph:
        node.outputs[0].shape = ir.Shape(["N", 4, 8, 8])
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return found


def legalize(found: ir.Model) -> PassResult:
    result = AffineToBatchNorm()(found)
    check(found)
    assert not AffineToBatchNorm()(found).modified
    return result


@pytest.mark.parametrize("lines", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize(
    "constant", [np.array(0.7, np.float32), np.array([0.7], np.float32), PER_CHANNEL, PER_CHANNEL[None]]
)
def test_every_form(lines: str, constant: Array) -> None:
    used = {name: constant for name in "cd" if f"{name}," in lines or f", {name})" in lines}
    found = net(lines, "t = Relu(v)", **used)
    wanted = run(found, {"x": X})
    assert legalize(found).counts == {"fused": 1}
    assert op_types(found) == ["Conv", "Relu", "BatchNormalization"]
    assert_close(wanted, run(found, {"x": X}))


def test_behind_a_spelled_out_hard_swish() -> None:
    found = net("y = Mul(t, c)", "h = HardSigmoid(v) t = Mul(v, h)", c=PER_CHANNEL)
    assert legalize(found).modified


def test_one_run_finds_what_is_in_blocks_thanks_to_another() -> None:
    found = net("y = Mul(t, c)", "a = Add(v, d) u = Relu(a) b = Mul(u, c) t = Tanh(b)", c=PER_CHANNEL, d=PER_CHANNEL)
    wanted = run(found, {"x": X})
    assert legalize(found).counts == {"fused": 3}
    assert op_types(found) == ["Conv", "BatchNormalization", "Relu", "BatchNormalization", "Tanh", "BatchNormalization"]
    assert_close(wanted, run(found, {"x": X}))


@pytest.mark.parametrize(
    ("constant", "activation", "reason"),
    [
        (random(8), "t = Relu(v)", "the scale is not scalar or per channel"),
        (np.full((1, 1, 1, 1, 1), 2, np.float32), "t = Relu(v)", "the scale has more dimensions than the tensor"),
        (np.array(np.inf, np.float32), "t = Relu(v)", "the scale is not finite"),
        (PER_CHANNEL, "t = Softplus(v)", "not behind a convolution"),
    ],
)
def test_near_misses(constant: Array, activation: str, reason: str) -> None:
    graph = f"""g (float[2, 3, 8, 8] x) => (float y) {{
        v = Conv<pads = [1, 1, 1, 1]>(x, w) {activation} s = Mul(t, c) y = ReduceSum<keepdims = 0>(s)
    }}"""
    found = model(graph, w=W, c=constant)
    for node in list(found.graph)[:2]:
        node.outputs[0].shape, node.outputs[0].type = ir.Shape([2, 4, 8, 8]), ir.TensorType(ir.DataType.FLOAT)
    result = legalize(found)
    assert [skip.reason for skip in result.skips] == [reason]


def test_an_unknown_shape() -> None:
    found = model(
        "g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y) { t = Conv<pads = [1, 1, 1, 1]>(x, w) y = Mul(t, c) }",
        w=W,
        c=PER_CHANNEL,
    )
    assert legalize(found).skips[0].reason in {"not float32", "not four dimensions with a known number of channels"}

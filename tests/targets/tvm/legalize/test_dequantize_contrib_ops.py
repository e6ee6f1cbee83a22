from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.tvm.legalize.dequantize_contrib_ops import DequantizeContribOps
from tests.models import Array, assert_close, random, run

F = np.float32
HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n'
NUMBERS: dict[str, Array] = {
    "as": np.array(0.03, F),
    "az": np.array(117, np.uint8),
    "bs": np.array(0.02, F),
    "bz": np.array(90, np.uint8),
    "ys": np.array(0.05, F),
    "yz": np.array(130, np.uint8),
    "w": np.random.default_rng(3).integers(-40, 40, (5, 4)).astype(np.int8),
    "wt": np.random.default_rng(3).integers(-40, 40, (4, 5)).astype(np.int8),
    "ws": np.array([0.01, 0.02, 0.03, 0.04], F),
    "wz": np.array([1, 2, -3, 0], np.int8),
    "bias": random(4),
    "ints": np.array([100, -200, 3, 0], np.int32),
}


def net(text: str) -> ir.Model:
    proto = onnx.parser.parse_model(HEAD + text)
    used = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in NUMBERS.items() if n in used)
    return ir.from_proto(proto)


def dequantize(found: ir.Model) -> PassResult:
    result = DequantizeContribOps()(found)
    proto = ir.to_proto(found)
    onnx.checker.check_model(proto, full_check=True)
    assert not DequantizeContribOps()(found).modified
    return result


def feeds_of(found: ir.Model) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    for i, value in enumerate(found.graph.inputs):
        assert value.shape is not None and value.dtype is not None and value.name is not None
        shape = [d for d in value.shape if isinstance(d, int)]
        drawn = np.random.default_rng(i).integers(0, 256, shape)
        feeds[value.name] = random(*shape, seed=i) if value.dtype == ir.DataType.FLOAT else drawn.astype(np.uint8)
    return feeds


BIG = "2, 3, 16, 16"


@pytest.mark.parametrize(
    "text",
    [
        f"g (uint8[{BIG}] a, uint8[{BIG}] b) => (uint8[{BIG}] y) {{ y = com.microsoft.QLinearAdd(a, as, az, b, bs, bz, ys, yz) }}",
        f"g (uint8[{BIG}] a, uint8[16] b) => (uint8[{BIG}] y) {{ y = com.microsoft.QLinearAdd(a, as, az, b, bs, bz, ys, yz) }}",
        f"g (uint8[{BIG}] a, uint8[{BIG}] b) => (uint8[{BIG}] y) {{ y = com.microsoft.QLinearMul(a, as, az, b, bs, bz, ys, yz) }}",
        f"g (uint8[{BIG}] a) => (uint8[{BIG}] y) {{ y = com.microsoft.QLinearLeakyRelu<alpha = 0.2>(a, as, az, ys, yz) }}",
        f"g (uint8[{BIG}] a) => (uint8[{BIG}] y) {{ y = com.microsoft.QLinearSigmoid(a, as, az, bs, bz) }}",
        f"g (uint8[{BIG}] a) => (uint8[2, 3, 1, 1] y) {{ y = com.microsoft.QLinearGlobalAveragePool(a, as, az, bs, bz) }}",
        f"g (uint8[{BIG}] a, uint8[2, 1, 16, 16] b) => (uint8[2, 4, 16, 16] y) {{ y = com.microsoft.QLinearConcat<axis = 1>(ys, yz, a, as, az, b, bs, bz) }}",
        "g (uint8[3, 5] a) => (uint8[3, 4] y) { y = com.microsoft.QGemm<transB = 1, alpha = 0.5>(a, as, az, wt, ws, wz, ints, ys, yz) }",
    ],
)  # fmt: skip
def test_integers(text: str) -> None:
    found = net(text)
    feeds = feeds_of(found)
    wanted = run(found, feeds)[0]
    assert dequantize(found).counts == {"simplified": 1}
    assert all(node.domain == "" for node in found.graph)
    got = run(found, feeds)[0]
    differs = wanted.astype(int) - got.astype(int)
    assert wanted.dtype == got.dtype and np.abs(differs).max() <= 1  # in the middle of two steps either is right
    assert (differs != 0).mean() < 0.01


@pytest.mark.parametrize(
    "text",
    [
        "g (float[3, 5] x) => (float[3, 4] y) { y = com.microsoft.DynamicQuantizeMatMul(x, w, ws) }",
        "g (float[3, 5] x) => (float[3, 4] y) { y = com.microsoft.DynamicQuantizeMatMul(x, w, ws, wz, bias) }",
        "g (uint8[3, 5] x) => (float[3, 4] y) { y = com.microsoft.MatMulIntegerToFloat(x, w, as, ws) }",
        "g (uint8[3, 5] x) => (float[3, 4] y) { y = com.microsoft.MatMulIntegerToFloat(x, w, as, ws, az, wz, bias) }",
        "g (uint8[3, 5] x) => (float[3, 4] y) { y = com.microsoft.QGemm(x, as, az, w, ws, wz, ints) }",
    ],
)
def test_floats(text: str) -> None:
    found = net(text)
    feeds = feeds_of(found)
    wanted = run(found, feeds)
    assert dequantize(found).counts == {"simplified": 1}
    assert_close(wanted, run(found, feeds))


def test_channels_that_come_last() -> None:
    call = "com.microsoft.QLinearGlobalAveragePool<channels_last = 1>(a, as, az, bs, bz)"
    result = dequantize(net(f"g (uint8[2, 5, 5, 3] a) => (uint8[2, 1, 1, 3] y) {{ y = {call} }}"))
    assert not result.modified and [skip.reason for skip in result.skips] == ["the channels come last"]


def test_what_stands_in_another_domain() -> None:
    found = net("g (uint8[2, 3] a) => (uint8[2, 3] y) { y = other.QLinearSigmoid(a, as, az, bs, bz) }")
    found.graph.opset_imports["other"] = 1
    assert not DequantizeContribOps()(found).modified

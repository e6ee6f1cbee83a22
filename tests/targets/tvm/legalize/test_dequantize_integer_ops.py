from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.tvm.legalize.dequantize_integer_ops import DequantizeIntegerOps
from tests.models import Array, check, model, op_types, random, run, same_bits

F = np.float32
NAMES: dict[type, str] = {np.uint8: "uint8", np.int8: "int8"}
INTEGER = {"ConvInteger", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"}


def integers(*shape: int, dtype: type = np.uint8, seed: int = 0, most: int = 255) -> Array:
    low = max(int(np.iinfo(dtype).min), -most)
    found: Array = (
        np.random.default_rng(seed).integers(low, min(most, int(np.iinfo(dtype).max)) + 1, shape).astype(dtype)
    )
    return found


def dequantize(found: ir.Model) -> PassResult:
    result = DequantizeIntegerOps()(found)
    check(found)
    assert not DequantizeIntegerOps()(found).modified
    return result


def assert_same(found: ir.Model, feeds: dict[str, Array], count: int = 1) -> None:
    wanted = run(found, feeds)
    result = dequantize(found)
    assert result.counts == {"simplified": count} and not result.skips
    assert not set(op_types(found)) & INTEGER
    assert same_bits(wanted, run(found, feeds))


def conv(
    attributes: str = "",
    bias: bool = True,
    channels: int = 3,
    opset: int = 17,
    changed: Mapping[str, Array] | None = None,
) -> ir.Model:
    numbers: dict[str, Array] = {
        "w": integers(4, channels, 3, 3, dtype=np.int8, most=40, seed=1),
        "xs": np.array(0.02, F),
        "xz": np.array(117, np.uint8),
        "ws": np.array([0.01, 0.02, 0.013, 0.005], F),
        "wz": np.zeros(4, np.int8),
        "ys": np.array(0.09, F),
        "yz": np.array(121, np.uint8),
        **({"b": integers(4, dtype=np.int8, seed=2).astype(np.int32) * 7} if bias else {}),
        **(changed or {}),
    }
    kind, out = NAMES[numbers["xz"].dtype.type], NAMES[numbers["yz"].dtype.type]
    text = f"""g ({kind}[2, {channels}, 7, 6] x) => ({out}[n, o, h, w_] y)
        {{ y = QLinearConv{attributes}(x, xs, xz, w, ws, wz, ys, yz{", b" if bias else ""}) }}"""
    return model(text, opset, **numbers)


@pytest.mark.parametrize("attributes", ["", "<pads = [1, 1, 1, 1], strides = [2, 1]>", "<dilations = [2, 2]>"])
@pytest.mark.parametrize("bias", [True, False])
def test_conv(attributes: str, bias: bool) -> None:
    assert_same(conv(attributes, bias), {"x": integers(2, 3, 7, 6)})


@pytest.mark.parametrize("opset", [10, 13, 21])
def test_conv_in_operator_sets(opset: int) -> None:
    assert_same(conv(opset=opset), {"x": integers(2, 3, 7, 6)})


def test_conv_with_one_scale_and_zeros_that_are_not_zero() -> None:
    changed: dict[str, Array] = {"ws": np.array(0.01, F), "wz": np.array(3, np.int8)}
    assert_same(conv(changed=changed), {"x": integers(2, 3, 7, 6)})


def test_conv_of_signed_integers() -> None:
    changed: dict[str, Array] = {"xz": np.array(-5, np.int8), "yz": np.array(9, np.int8)}
    assert_same(conv(changed=changed), {"x": integers(2, 3, 7, 6, dtype=np.int8)})


def test_conv_saturates() -> None:
    found = conv(changed={"ys": np.array(0.001, F)})
    feeds = {"x": integers(2, 3, 7, 6)}
    assert set(np.unique(run(found, feeds)[0])) >= {0, 255}
    assert_same(found, feeds)


def test_conv_with_groups() -> None:
    assert_same(
        conv("<group = 2>", channels=4, changed={"w": integers(4, 2, 3, 3, dtype=np.int8, most=40)}),
        {"x": integers(2, 4, 7, 6)},
    )


def test_a_long_sum_is_cut_into_exact_parts() -> None:
    """The largest sums of 1,152 terms exceed 2**24; odd ones among them are no float32."""
    weight = np.full((4, 128, 3, 3), 127, np.int8)
    weight[:, ::2] -= integers(4, 64, 3, 3, most=1).astype(np.int8)
    changed: dict[str, Array] = {"w": weight, "xz": np.array(0, np.uint8), "ws": np.array(1, F), "xs": np.array(1, F)}
    found = conv(
        "",
        False,
        128,
        changed={**changed, "wz": np.array(0, np.int8), "ys": np.array(2.0**17, F), "yz": np.array(0, np.uint8)},
    )
    x = 255 - integers(2, 128, 7, 6, most=9)
    total = conv_sums(x, weight)
    assert total.max() > 2**24
    assert dequantize(found).modified
    assert op_types(found).count("Conv") == 3
    exact = found.graph[-2].inputs[0]
    assert exact is not None
    found.graph.outputs[:] = [exact]
    exact.type = ir.TensorType(ir.DataType.FLOAT)
    assert np.array_equal(run(found, {"x": x})[0], total.astype(np.float32))


def conv_sums(x: Array, weight: Array) -> Array:
    """A valid convolution in 64-bit integers."""
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64), weight.shape[2:], axis=(2, 3))
    sums: Array = np.einsum("nchwij,ocij->nohw", windows, weight.astype(np.int64))
    return sums


@pytest.mark.parametrize("zeros", ["", ", xz", ", xz, wz"])
def test_conv_integer(zeros: str) -> None:
    text = f"g (uint8[2, 3, 7, 6] x) => (int32[n, o, h, w_] y) {{ y = ConvInteger<pads = [1, 1, 1, 1]>(x, w{zeros}) }}"
    constants: dict[str, Array] = {"xz": np.array(9, np.uint8), "wz": np.array(2, np.uint8)}
    used = {name: array for name, array in constants.items() if name in zeros}
    assert_same(model(text, 17, w=integers(4, 3, 3, 3, seed=1), **used), {"x": integers(2, 3, 7, 6)})


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("columns", [False, True])
def test_matmul(kind: type, columns: bool) -> None:
    scale, zero = (
        (0.01 + np.arange(4, dtype=F) / 100, np.arange(4).astype(np.int8)) if columns else (F(0.02), np.int8(3))
    )
    name = NAMES[kind]
    found = model(
        f"g ({name}[2, 3, 6] a) => ({name}[2, 3, 4] y) {{ y = QLinearMatMul(a, as, az, b, bs, bz, ys, yz) }}",
        17,
        **{"as": np.array(0.03, F), "az": np.array(7, kind), "b": integers(6, 4, dtype=np.int8, most=40, seed=1)},
        bs=np.asarray(scale),
        bz=np.asarray(zero),
        ys=np.array(0.1, F),
        yz=np.array(20, kind),
    )
    assert_same(found, {"a": integers(2, 3, 6, dtype=kind)})


def test_scales_that_are_not_constant() -> None:
    found = conv()
    scale = found.graph.initializers.pop("xs")
    found.graph.inputs.append(scale)
    assert_same(found, {"x": integers(2, 3, 7, 6), "xs": np.array(0.02, F)})


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
@pytest.mark.parametrize("shift", [-9.0, 0.0, 0.5, 9.0])
def test_dynamic_quantization(shift: float, opset: int) -> None:
    found = model(
        "g (float[3, 5] x) => (uint8[3, 5] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear(x) }", opset
    )
    assert_same(found, {"x": random(3, 5) + F(shift)})


def test_dynamic_quantization_of_zeros() -> None:
    found = model("g (float[3, 5] x) => (uint8[3, 5] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear(x) }", 17)
    assert_same(found, {"x": np.zeros((3, 5), F)})


def test_dynamically_quantized_matmul() -> None:
    text = """g (float[n, 6] x) => (int32[n, 4] y, float s)
        { q, s, z = DynamicQuantizeLinear(x) y = MatMulInteger(q, w, z) }"""
    found = model(text, 17, w=integers(6, 4, dtype=np.int8, most=60))
    wanted = run(found, {"x": random(3, 6)})
    assert dequantize(found).modified and "MatMulInteger" in op_types(found)
    assert same_bits(wanted, run(found, {"x": random(3, 6)}))


def test_in_a_subgraph_with_shared_weights() -> None:
    found = model(
        """g (bool k, uint8[1, 3, 5, 5] x) => (int32[1, 4, 3, 3] y) { y = If (k) <
            then_branch = t () => (int32[1, 4, 3, 3] p) { p = ConvInteger(x, w) },
            else_branch = e () => (int32[1, 4, 3, 3] q) { q = ConvInteger(x, w, z) }> }""",
        17,
        w=integers(4, 3, 3, 3, seed=1),
        z=np.array(4, np.uint8),
    )
    feeds = [{"k": np.array(k), "x": integers(1, 3, 5, 5)} for k in (True, False)]
    wanted = [run(found, f) for f in feeds]
    assert dequantize(found).counts == {"simplified": 2}
    assert not {"w", "z"} & set(found.graph.initializers)
    for w, f in zip(wanted, feeds, strict=True):
        assert same_bits(w, run(found, f))


def fed(found: ir.Model, name: str) -> ir.Model:
    """``found`` with an initializer turned into an input."""
    found.graph.inputs.append(found.graph.initializers.pop(name))
    return found


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (fed(conv(), "w"), "the weights are not constant"),
        (fed(conv(), "wz"), "the weights are not constant"),
        (fed(conv(), "b"), "the bias is not constant"),
        (conv("<group = 4>", False, 4, changed={"w": np.full((4, 1, 300, 300), 127, np.int8)}), "a sum may exceed what float32 holds exactly"),
    ],
)  # fmt: skip
def test_what_is_left_alone(found: ir.Model, reason: str) -> None:
    result = DequantizeIntegerOps()(found)
    assert not result.modified and [skip.reason for skip in result.skips] == [reason]


def test_a_scale_for_each_row() -> None:
    numbers: dict[str, Array] = {
        "as": np.full((2, 1), 0.03, F),
        "az": np.zeros((2, 1), np.uint8),
        "b": integers(6, 4, seed=1),
        "bs": np.array(1, F),
        "bz": np.array(0, np.uint8),
        "ys": np.array(1, F),
        "yz": np.array(0, np.uint8),
    }
    found = model(
        "g (uint8[2, 6] a) => (uint8[2, 4] y) { y = QLinearMatMul(a, as, az, b, bs, bz, ys, yz) }", 21, **numbers
    )
    assert [skip.reason for skip in DequantizeIntegerOps()(found).skips] == ["a scale for each row"]

"""Products in every form: which become integer, with what accuracy, and why others do not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.passes.quantization.quantize_static import Options
from tests.models import Array, elements, model, op_types, random, run
from tests.passes.quantization.placement.static import quantized, samples

QGEMM, FLOAT_OUT = "com.microsoft::QGemm", "com.microsoft::MatMulIntegerToFloat"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("shapes", "call", "weight"),
    [
        ("float[1,8,16] x) => (float[1,8,16] y", "Conv<pads=[1,1]>(x, w)", (8, 8, 3)),
        ("float[1,8,6,6] x) => (float[1,8,6,6] y", "Conv<group=2, pads=[1,1,1,1]>(x, w)", (8, 4, 3, 3)),
        ("float[1,8,6,6] x) => (float[1,8,6,6] y", "Conv<group=8, pads=[1,1,1,1]>(x, w)", (8, 1, 3, 3)),
        ("float[1,8,6,6] x) => (float[1,16,6,6] y", "Conv<group=8, pads=[1,1,1,1]>(x, w)", (16, 1, 3, 3)),
        ("float[1,8,9,9] x) => (float[1,8,5,5] y", "Conv<strides=[2,2], auto_pad='SAME_UPPER'>(x, w)", (8, 8, 3, 3)),
        ("float[1,8,9,9] x) => (float[1,8,5,5] y", "Conv<dilations=[2,2]>(x, w)", (8, 8, 3, 3)),
        ("float[1,4,5,5,5] x) => (float[1,4,3,3,3] y", "Conv(x, w)", (4, 4, 3, 3, 3)),
    ],
)
def test_convolutions(shapes: str, call: str, weight: tuple[int, ...]) -> None:
    text = f"g ({shapes}) {{ y = {call} }}".replace("'", '"')
    found = model(text, 17, w=random(*weight))
    shape = found.graph.inputs[0].shape
    assert shape is not None
    done = quantized(found, samples(*shape.numpy()))
    assert done.operators["com.microsoft::QLinearConv"] == 1
    assert done.sqnr > 30


@pytest.mark.parametrize("bias", [None, (4,), (1,), (), (1, 4)])
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("per_channel", [True, False])
def test_gemm(bias: tuple[int, ...] | None, transposed: int, per_channel: bool) -> None:
    constants = {"w": random(4, 8) if transposed else random(8, 4)}
    if bias is not None:
        constants["c"] = random(*bias, seed=3)
    call = f"Gemm<transB={transposed}>(x, w{', c' if bias is not None else ''})"
    found = model(f"g (float[3,8] x) => (float[3,4] y) {{ y = {call} }}", 17, **constants)
    done = quantized(found, samples(3, 8), Options(per_channel=per_channel))
    assert done.operators[QGEMM] == 1
    assert done.sqnr > 30


@pytest.mark.parametrize(
    ("call", "bias", "reason"),
    [
        ("Gemm(x, w, c)", (4, 1), "the bias is not one number an output channel"),
        ("Gemm(x, w, c)", (4, 4), "the bias is not one number an output channel"),
        ("Gemm<alpha=0.5>(x, w, c)", (4,), "attributes without integer kernel"),
        ("Gemm<beta=0.5>(x, w, c)", (4,), "attributes without integer kernel"),
        ("Gemm<transA=1>(x, w, c)", (4,), "attributes without integer kernel"),
    ],
)
def test_gemm_left_alone(call: str, bias: tuple[int, ...], reason: str) -> None:
    found = model(f"g (float[4,4] x) => (float[4,4] y) {{ y = {call} }}", 17, w=random(4, 4), c=random(*bias))
    done = quantized(found, samples(4, 4))
    assert done.reasons == {"y": reason}
    assert not done.result.modified


@pytest.mark.parametrize(
    ("shapes", "call", "constants", "kernel"),
    [
        ("float[8] x) => (float[4] y", "MatMul(x, w)", {"w": (8, 4)}, FLOAT_OUT),
        ("float[2,3,8] x) => (float[2,3,4] y", "MatMul(x, w)", {"w": (8, 4)}, FLOAT_OUT),
        ("float[2,3,8] x) => (float[2,3,4] y", "Add(c, a)", {"w": (8, 4), "c": (4,)}, QGEMM),
        ("float[4,8] x) => (float[4,4] y", "Add(a, c)", {"w": (8, 4), "c": (4, 1)}, "QLinearMatMul"),
        ("float[4,8] x) => (float[4,4] y", "Add(a, c)", {"w": (8, 4), "c": (4, 4)}, "QLinearMatMul"),
        ("float[4,8] x) => (float[4,8] y", "Add(a, x)", {"w": (8, 8)}, "QLinearMatMul"),
        ("float[4,8] x) => (float[4,8] y", "Sum(a, x)", {"w": (8, 8)}, "QLinearMatMul"),
        ("float[2,4,8] x) => (float[2,4,8] y", "Add(a, x)", {"w": (8, 8)}, FLOAT_OUT),
        ("float[2,4,8] x) => (float[2,4,8] y", "Mul(a, c)", {"w": (8, 8), "c": ()}, FLOAT_OUT),
    ],
)
def test_matmul_with_what_follows(shapes: str, call: str, constants: dict[str, tuple[int, ...]], kernel: str) -> None:
    """An Add that the runtime would take into the product, and compute both in floats, gets a Q in front."""
    first = "" if call.startswith("MatMul") else "a = MatMul(x, w) "
    given = {name: random(*shape, seed=len(name)) for name, shape in constants.items()}
    found = model(f"g ({shapes}) {{ {first}y = {call} }}", 17, **given)
    shape = found.graph.inputs[0].shape
    assert shape is not None
    done = quantized(found, samples(*shape.numpy()))
    assert done.operators[kernel] == 1
    assert not {"MatMul", "Gemm"} & done.operators.keys()
    assert done.sqnr > 30


def test_a_convtranspose_stays_float_behind_an_island() -> None:
    found = model(
        "g (float[1,8,6,6] x) => (float[1,8,8,8] y) { a = Conv(x, v) y = ConvTranspose(a, w) }",
        17,
        v=random(8, 8, 1, 1),
        w=random(8, 8, 3, 3),
    )
    done = quantized(found, samples(1, 8, 6, 6))
    assert done.operators["ConvTranspose"] == 1 and done.operators["com.microsoft::QLinearConv"] == 1
    assert "w" in done.model.graph.initializers
    assert done.sqnr > 30


@pytest.mark.parametrize("dtype", ["double", "float16"])
def test_other_element_types_are_left_alone(dtype: str) -> None:
    kind = np.float64 if dtype == "double" else np.float16
    found = model(f"g ({dtype}[4,8] x) => ({dtype}[4,4] y) {{ y = MatMul(x, w) }}", 17, w=random(8, 4, dtype=kind))
    done = quantized(found, [random(4, 8, dtype=kind)] * 8)
    assert done.reasons == {"y": f"the weight is {dtype}, not float"}


def test_a_constant_input_is_left_alone() -> None:
    found = model(
        "g (float[1,8,1,1] x) => (float[1,8,1,1] y) { a = Conv(k, w) y = Add(a, x) }",
        17,
        k=random(1, 8, 1, 1),
        w=random(8, 8, 1, 1),
    )
    assert quantized(found, samples(1, 8, 1, 1)).reasons == {"a": "the input is constant or has a default"}


def test_products_in_subgraphs_are_left_alone() -> None:
    """The branch reads a value that is integer outside, and a weight of the outer graph that is quantized there."""
    found = model(
        """g (float[4,8] x) => (float[4,8] y, float[4,8] z) {
            a = MatMul(x, w) c = Cast<to=9>(one)
            y = If(c) <
                then_branch = t () => (float[4,8] p) { p = MatMul(a, w) },
                else_branch = e () => (float[4,8] q) { q = Identity(a) }>
            z = MatMul(a, w)
        }""",
        17,
        w=random(8, 8),
        one=np.asarray(1.0, np.float32),
    )
    done = quantized(found, samples(4, 8))
    assert done.reasons == {"p": "inside a subgraph"}
    assert done.result.counts["MatMul quantized"] == 2
    assert "w" in found.graph.initializers
    assert done.sqnr > 30


def test_a_shared_weight_is_stored_once() -> None:
    """The biases are not: their scale depends on the input."""
    found = model(
        "g (float[1,8,4,4] x) => (float[1,8,4,4] y) { a = Conv(x, w, b) y = Conv(a, w, b) }",
        17,
        w=random(8, 8, 1, 1),
        b=random(8),
    )
    done = quantized(found, samples(1, 8, 4, 4))
    stored = [
        v.const_value.dtype for v in found.graph.initializers.values() if v.const_value and v.const_value.size > 1
    ]
    assert stored.count(ir.DataType.INT8) == 1 + 1  # the weight, and its zero points
    assert stored.count(ir.DataType.INT32) == 2 * 2
    assert "w" not in found.graph.initializers and "b" not in found.graph.initializers
    assert done.sqnr > 30


def test_weights_of_constant_nodes_do_not_stay_behind() -> None:
    found = model(
        "g (float[1,4] x) => (float[1,1] y) { w = Constant<value=float[4,1] {1, 2, -3, 4}>() y = MatMul(x, w) }", 17
    )
    done = quantized(found, samples(1, 4))
    assert done.result.modified
    assert "Constant" not in op_types(found)


def test_a_weight_that_is_also_an_input_is_left_alone() -> None:
    found = model("g (float[1,4] x, float[4,4] w) => (float[1,4] y) { y = MatMul(x, w) }", 17, w=random(4, 4))
    assert quantized(found, samples(1, 4)).reasons == {"y": "the weight is not constant"}


@pytest.mark.parametrize("per_channel", [True, False])
def test_channels_without_weights_keep_their_bias(per_channel: bool) -> None:
    """Pruned ones on an image of 0 to 255: a step of the bias must not be a step of the input."""
    weight: Array = random(8, 8, 1, 1) * np.float32(0.003)
    weight[slice(2) if per_channel else slice(8)] = 0
    found = model("g (float[1,8,4,4] x) => (float[1,8,4,4] y) { y = Conv(x, w, b) }", 17, w=weight, b=random(8))
    x = [np.abs(array) * np.float32(80) for array in samples(1, 8, 4, 4)]
    want = run(found, {"x": x[0]})[0]
    assert quantized(found, x, Options(per_channel=per_channel)).sqnr > 30
    np.testing.assert_allclose(run(found, {"x": x[0]})[0][:, :2], want[:, :2], atol=0.03)
    np.testing.assert_allclose(run(found, {"x": x[0]}, optimize=True)[0][:, :2], want[:, :2], atol=0.03)


def test_a_bias_far_larger_than_the_products_keeps_its_value() -> None:
    weight: Array = random(8, 8, 1, 1) * np.float32(1e-6)
    found = model(
        "g (float[1,8,4,4] x) => (float[1,8,4,4] y) { y = Conv(x, w, b) }", 17, w=weight, b=random(8) * np.float32(1e6)
    )
    assert quantized(found, samples(1, 8, 4, 4)).sqnr > 40
    assert np.abs(elements(found, "y_bias_quantized")).max() <= 1.001 * 2**30

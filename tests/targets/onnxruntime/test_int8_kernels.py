"""Every row of the table of integer kernels, held to what ONNX Runtime makes of it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.errors import LoweringError
from tamis.compiler.machine import find_machine
from tamis.targets.onnxruntime.int8_kernels import int8_kernels
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tests.models import Array

MACHINE = find_machine("x86-64-avx2")
ROWS = {
    "Conv": "Conv(x, w4)",
    "MatMul": "MatMul(x, w2)",
    "Gemm": "Gemm(x2, w2)",
    "Add": "Add(x, x1)",
    "Mul": "Mul(x, x1)",
    "Concat": "Concat<axis=1>(x, x1)",
    "Sigmoid": "Sigmoid(x)",
    "HardSigmoid": "Add(x, c)",
    "LeakyRelu": "LeakyRelu(x)",
    "AveragePool": "AveragePool<kernel_shape=[2,2]>(x)",
    "GlobalAveragePool": "GlobalAveragePool(x)",
    "Where": "Where(mask, x, x1)",
    "MaxPool": "MaxPool<kernel_shape=[2,2]>(x)",
    "ReduceMax": "ReduceMax<axes=[1]>(x)",
    "ReduceMin": "ReduceMin<axes=[1]>(x)",
    "Resize": 'Resize<mode="nearest">(x, , factors)',
    "Reshape": "Reshape(x, flat)",
    "Transpose": "Transpose<perm=[0,2,3,1]>(x)",
    "Flatten": "Flatten(x)",
    "Slice": "Slice(x, one, three, one)",
    "Split": "Split<axis=1>(x, halves)",
    "Gather": "Gather(x, zero)",
    "DepthToSpace": "DepthToSpace<blocksize=2>(x)",
    "Tile": "Tile(x, twice)",
    "Expand": "Expand(x, wide)",
    "Squeeze": "Squeeze(x, zero)",
    "Unsqueeze": "Unsqueeze(x, zero)",
}
SIZES = {"x": "[1,8,8,8]", "x1": "[1,8,8,8]", "x2": "[4,8]"}


def between(call: str, source: str, same: bool) -> ir.Model:
    """DQ -> the operator -> Q, with floats at the edges."""
    others = [name for name in ("x1", "x2") if f"{name}" in call]
    inputs = ["x2"] if "x2" in others else ["x", *others]
    constants: dict[str, Array] = {
        "w4": np.ones((8, 8, 3, 3), np.int8), "w2": np.ones((8, 8), np.int8), "c": np.asarray(255, np.uint8),
        "factors": np.array([1, 1, 2, 2], np.float32), "flat": np.array([1, -1]), "one": np.array([1]),
        "three": np.array([3]), "halves": np.array([4, 4]), "zero": np.array([0]), "twice": np.array([1, 1, 2, 2]),
        "wide": np.array([2, 8, 8, 8]), "s": np.asarray(0.02, np.float32), "t": np.asarray(0.04, np.float32),
        "z": np.asarray(100, np.uint8), "n": np.asarray(0, np.int8), "mask": np.arange(8) > 3,
    }  # fmt: skip
    lines = []
    used = {"s", "z"}
    for name in inputs:
        lines.append(f"{name}q = QuantizeLinear({name}, s, z) {name}d = DequantizeLinear({name}q, s, z)")
    for name in ("w4", "w2", "c"):
        if name in call.replace("(", " ").replace(")", " ").replace(",", " ").split():
            lines.append(f"{name}d = DequantizeLinear({name}, s, {'z' if name == 'c' else 'n'})")
            used |= {name} | ({"n"} if name != "c" else set())
    head, _, tail = call.rpartition("(")
    arguments = [a.strip() for a in tail.rstrip(")").split(",")]
    read = [f"{a}d" if a in (*inputs, "w4", "w2", "c") else a for a in arguments]
    used |= {a for a in arguments if a in constants} | (set() if same else {"t"})
    outputs = "y, second" if source == "Split" else "y"
    lines.append(f"{outputs} = {head}({', '.join(read)})")
    lines.append(
        f"yq = QuantizeLinear(y, {'s' if same else 't'}, z) out = DequantizeLinear(yq, {'s' if same else 't'}, z)"
    )
    results = ["out"]
    if source == "Split":
        lines.append("aq = QuantizeLinear(second, s, z) also = DequantizeLinear(aq, s, z)")
        results.append("also")
    given = ", ".join(f"float{SIZES[name]} {name}" for name in inputs)
    made = ", ".join(f"float[] {name}" for name in results)
    return _unchecked(f"g ({given}) => ({made}) {{ {' '.join(lines)} }}", {k: constants[k] for k in used})


def _unchecked(text: str, constants: dict[str, Array]) -> ir.Model:
    """Outputs get the shapes that ONNX infers."""
    import onnx

    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in constants.items())
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def test_every_row_has_a_case() -> None:
    kernels = int8_kernels(MACHINE)
    assert kernels is not None and set(kernels.operators) == set(ROWS)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_row_runs_on_its_integer_kernel(name: str) -> None:
    kernels = int8_kernels(MACHINE)
    assert kernels is not None
    row = kernels.operators[name]
    found = OnnxRuntime().optimized_operators(between(ROWS[name], name, row.role == "moves"))
    assert found is not None
    assert sum(found.get(kernel, 0) for kernel in row.kernels) == 1
    inputs = 2 if "x1" in ROWS[name] else 1
    assert found["QuantizeLinear"] == inputs  # at the edge only: none is left behind the operator


@pytest.mark.parametrize(
    ("call", "opset"),
    [
        ("AveragePool<kernel_shape=[2,2], dilations=[2,2]>", 19),
        ("AveragePool<kernel_shape=[2,2], dilations=[1,1]>", 19),
    ],
)
def test_dilated_average_pools_make_a_model_that_cannot_be_opened(call: str, opset: int) -> None:
    """So the table has to keep them out; once this fails, it need not any more."""
    found = between(f"{call}(x)", "AveragePool", False)
    found.graph.opset_imports[""] = opset
    with pytest.raises(LoweringError, match="QLinearAveragePool"):
        OnnxRuntime().optimized_operators(found)


@pytest.mark.parametrize(
    "call", ["Softmax<axis=3>(x)", "Relu(x)", "Sub(x, x1)", "Tanh(x)", "ReduceMean<axes=[2,3]>(x)"]
)
def test_what_is_said_to_have_no_row(call: str) -> None:
    """Softmax has a kernel all the same, which is left out on purpose; the others are computed in floats."""
    found = OnnxRuntime().optimized_operators(between(call, call.split("(")[0], False))
    assert found is not None
    assert ("com.microsoft::QLinearSoftmax" in found) == call.startswith("Softmax")
    assert call.startswith("Softmax") or not any("QLinear" in name for name in found)


def test_no_table_with_a_gpu() -> None:
    assert int8_kernels(find_machine("nvidia-sm80")) is None

"""MACs by formula: the textbook's example to the last digit, and each operator against numbers worked out by hand."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from tamis.compiler.analysis.macs import macs_of
from tests.models import model, random

DEPTHWISE = 7_225_344
POINTWISE = 102_760_448
DENSE = 924_844_032


def test_the_textbook_example() -> None:
    separable = model(
        """g (float[1, 64, 112, 112] x, float[64, 1, 3, 3] H, float[128, 64, 1, 1] P) => (float[1, 128, 112, 112] y)
        <float[1, 64, 112, 112] h> {
            h = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 64>(x, H)
            y = Conv<kernel_shape = [1, 1]>(h, P)
        }"""
    )
    dense = model(
        """g (float[1, 64, 112, 112] x, float[128, 64, 3, 3] D) => (float[1, 128, 112, 112] y) {
            y = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, D)
        }"""
    )
    assert [macs_of(node) for node in separable.graph] == [DEPTHWISE, POINTWISE]
    assert [macs_of(node) for node in dense.graph] == [DENSE]
    assert DEPTHWISE + POINTWISE == 109_985_792
    assert round(DENSE / (DEPTHWISE + POINTWISE), 2) == 8.41


CASES = {
    "grouped convolution": ("float[2, 8, 5, 5] x, float[12, 4, 3, 3] w", "float[2, 12, 3, 3]", "Conv<group = 2>(x, w)", 2 * 12 * 9 * 4 * 9),
    "convolution in one dimension": ("float[1, 3, 10] x, float[4, 3, 2] w", "float[1, 4, 9]", "Conv(x, w)", 4 * 9 * 3 * 2),
    "convolution in three dimensions": (
        "float[1, 2, 4, 4, 4] x, float[3, 2, 2, 2, 2] w", "float[1, 3, 3, 3, 3]", "Conv(x, w)", 81 * 2 * 8,
    ),
    "a bias does not count": ("float[1, 3, 10] x, float[4, 3, 2] w, float[4] b", "float[1, 4, 9]", "Conv(x, w, b)", 216),
    "transposed convolution": (
        "float[1, 4, 5, 5] x, float[4, 3, 2, 2] w", "float[1, 6, 10, 10]", "ConvTranspose<group = 2, strides = [2, 2]>(x, w)",
        100 * 3 * 4,
    ),
    "quantized convolution": (
        "uint8[1, 3, 4, 4] x, float s, uint8 z, uint8[2, 3, 1, 1] w", "uint8[1, 2, 4, 4]",
        "QLinearConv(x, s, z, w, s, z, s, z)", 32 * 3,
    ),
    "integer convolution": ("uint8[1, 3, 4, 4] x, uint8[2, 3, 1, 1] w", "int32[1, 2, 4, 4]", "ConvInteger(x, w)", 32 * 3),
    "Gemm": ("float[3, 5] x, float[5, 7] w", "float[3, 7]", "Gemm(x, w)", 105),
    "Gemm of transposed": ("float[5, 3] x, float[7, 5] w", "float[3, 7]", "Gemm<transA = 1, transB = 1>(x, w)", 105),
    "MatMul with broadcast batches": ("float[2, 1, 3, 4] x, float[5, 4, 6] w", "float[2, 5, 3, 6]", "MatMul(x, w)", 180 * 4),
    "MatMul of vectors": ("float[4] x, float[4] w", "float", "MatMul(x, w)", 4),
    "MatMul of a vector and a matrix": ("float[4] x, float[4, 5] w", "float[5]", "MatMul(x, w)", 20),
    "integer MatMul": ("uint8[3, 4] x, uint8[4, 5] w", "int32[3, 5]", "MatMulInteger(x, w)", 60),
    "quantized MatMul": (
        "uint8[3, 4] x, float s, uint8 z, uint8[4, 5] w", "uint8[3, 5]", "QLinearMatMul(x, s, z, w, s, z, s, z)", 60,
    ),
    "Einsum": ("float[2, 3, 4] x, float[2, 4, 5] w", "float[2, 3, 5]", 'Einsum<equation = "bij, bjk -> bik">(x, w)', 120),
    "Einsum of one operand": ("float[3, 4] x", "float[4, 3]", 'Einsum<equation = "ij->ji">(x)', 0),
    "Einsum with an ellipsis": ("float[3, 4] x, float[4] w", "float[3]", 'Einsum<equation = "...j,j->...">(x, w)', None),
    "LSTM": (
        "float[6, 2, 3] x, float[1, 20, 3] w, float[1, 20, 5] r", "float[6, 1, 2, 5]", "LSTM<hidden_size = 5>(x, w, r)",
        6 * 2 * 20 * (3 + 5),
    ),
    "GRU in both directions": (
        "float[6, 2, 3] x, float[2, 15, 3] w, float[2, 15, 5] r", "float[6, 2, 2, 5]",
        'GRU<hidden_size = 5, direction = "bidirectional">(x, w, r)', 6 * 2 * 2 * 15 * 8,
    ),
    "elementwise": ("float[3, 4] x", "float[3, 4]", "Mul(x, x)", 0),
    "a size that is not known": ("float[N, 5] x, float[5, 7] w", "float[N, 7]", "MatMul(x, w)", None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_macs_of_an_operator(case: str) -> None:
    inputs, output, expression, macs = CASES[case]
    found = model(f"g ({inputs}) => ({output} y) {{ y = {expression} }}")
    assert macs_of(found.graph[0]) == macs


ATTENTION = '<ir_version: 11, opset_import: ["" : 23]>\ng ({}) => ({} y) {{ y = Attention{}({}) }}'


@pytest.mark.parametrize(
    ("inputs", "output", "attributes", "arguments", "macs"),
    [
        ("float[1, 2, 3, 4] q, float[1, 2, 5, 4] k", "float[1, 2, 3, 4]", "", "q, k, k", 2 * 3 * 5 * (4 + 4)),
        (
            "float[1, 3, 8] q, float[1, 5, 8] k", "float[1, 3, 8]", "<q_num_heads = 2, kv_num_heads = 2>", "q, k, k",
            3 * 5 * (8 + 8),
        ),
    ],
)  # fmt: skip
def test_attention(inputs: str, output: str, attributes: str, arguments: str, macs: int) -> None:
    assert macs_of(ir.from_onnx_text(ATTENTION.format(inputs, output, attributes, arguments)).graph[0]) == macs


CONTRIB = {
    "FusedMatMul": ("float[4, 3] x, float[4, 5] w", "float[3, 5]", "FusedMatMul<transA = 1>(x, w)", 60),
    "FusedMatMul with batches in between": (
        "float[3, 2, 4] x, float[2, 4, 5] w", "float[2, 3, 5]", "FusedMatMul<transBatchA = 1>(x, w)", 120,
    ),
    "FusedConv": ("float[1, 3, 4, 4] x, float[2, 3, 1, 1] w", "float[1, 2, 4, 4]", "FusedConv(x, w)", 96),
    "FusedGemm": ("float[3, 4] x, float[4, 5] w, float[5] b", "float[3, 5]", "FusedGemm(x, w, b)", 60),
    "MatMulNBits": (
        "float[3, 32] x, uint8[5, 1, 16] w, float[5] s", "float[3, 5]",
        "MatMulNBits<K = 32, N = 5, bits = 4, block_size = 32>(x, w, s)", 3 * 5 * 32,
    ),
    "Attention": (
        "float[1, 3, 8] x, float[8, 24] w, float[24] b", "float[1, 3, 8]", "Attention<num_heads = 2>(x, w, b)",
        3 * 8 * 24 + 3 * (24 + 24),
    ),
    "Gelu": ("float[3] x", "float[3]", "Gelu(x)", 0),
    "one without a formula": ("float[3] x", "float[3]", "Mystery(x)", None),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRIB)
def test_macs_outside_the_standard(case: str) -> None:
    inputs, output, expression, macs = CONTRIB[case]
    text = (
        '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n'
        f"g ({inputs}) => ({output} y) {{ y = com.microsoft.{expression} }}"
    )
    assert macs_of(ir.from_onnx_text(text).graph[0]) == macs


def test_an_initializer_without_a_declared_shape() -> None:
    found = model("g (float[3, 4] x) => (float[3, 5] y) { y = MatMul(x, w) }", w=random(4, 5))
    assert macs_of(found.graph[0]) == 60

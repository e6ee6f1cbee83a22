"""Find the 8-bit products of a model and tell which of their weights could saturate.

Machines whose 8-bit dot products clip pairs of products to int16 (x86 without VNNI) compute
``a0 w0 + a1 w1`` wrongly once it leaves the range, with ``a`` in 0..255 and ``w`` in two consecutive
rows of a column. Weights are *pair-safe* if that cannot happen: the positive parts of each pair add up
to at most 128 and the negative parts to at least -128, since 255 * 128 < 2**15.

Rows are in the order of ONNX Runtime's kernels: of a matrix ``B`` as stored; of a convolution
``(kernel dimensions..., input channel of the group)``, each group a matrix of its own; the last of an odd
number of rows is alone. Depthwise convolutions with one output a channel, ConvInteger, uint8 weights and
MatMulInteger of int8 by int8 are summed exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array

Array = np.ndarray[Any, np.dtype[Any]]
PAIR_LIMIT = 128

QDQ = ("Conv", "MatMul", "Gemm")
WEIGHT_INPUT = {
    ("", "QLinearConv"): 3,
    ("", "QLinearMatMul"): 3,
    ("", "MatMulInteger"): 1,
    ("com.microsoft", "QGemm"): 3,
    ("com.microsoft", "MatMulIntegerToFloat"): 1,
    ("com.microsoft", "DynamicQuantizeMatMul"): 1,
}
"""Operator -> input that holds its weights; its activation is input 0."""


@dataclass(frozen=True)
class IntegerProduct:
    """A node that multiplies 8-bit activations with constant int8 weights.

    Args:
        node: The node: ``QLinearConv``, ``MatMulInteger``, ..., or a float one between DequantizeLinear nodes.
        activation: Its 8-bit activation; the float one of ``DynamicQuantizeMatMul``, which quantizes it itself.
        weight: As stored, int8.
    """

    node: ir.Node
    activation: ir.Value
    weight: Array

    @property
    def is_conv(self) -> bool:
        """Whether it is a convolution."""
        return self.node.op_type in ("Conv", "QLinearConv")

    @property
    def group(self) -> int:
        """Groups of a convolution; 1 of a matrix product."""
        return self.node.attributes.get_int("group", 1) if self.is_conv else 1

    @property
    def saturates(self) -> bool:
        """Whether the kernel adds in pairs, where the machine does: not if every product is a depthwise one."""
        return not (self.is_conv and self.weight.shape[1] == 1 and self.weight.shape[0] == self.group)

    def matrices(self) -> Array:
        """Weights in the order of the kernel: ``(groups, K, N)``; a stack of matrices counts as groups."""
        if self.is_conv:
            return conv_matrices(self.weight, self.group)
        transposed = self.node.op_type in ("Gemm", "QGemm") and bool(self.node.attributes.get_int("transB", 0))
        weight = self.weight[:, None] if self.weight.ndim == 1 else self.weight.T if transposed else self.weight
        return weight.reshape(-1, *weight.shape[-2:])

    def unsafe_columns(self) -> int:
        """Output channels of which some pair could saturate."""
        if not self.saturates:
            return 0
        return int(np.count_nonzero(pair_extremes(self.matrices().astype(np.int32)) > PAIR_LIMIT))


def conv_matrices(weight: Array, group: int) -> Array:
    """Weights ``(M, C / group, kernel...)`` of a convolution as ``(group, K, M / group)``, K over (kernel..., channel)."""
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    spatial = range(3, grouped.ndim)
    return grouped.transpose(0, *spatial, 2, 1).reshape(group, -1, grouped.shape[1])


def conv_weight(matrices: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of ``conv_matrices``: ``(group, K, M / group)`` back to ``shape``."""
    group, _, outputs = matrices.shape
    channels, *kernel = shape[1:]
    parts = matrices.reshape(group, *kernel, channels, outputs)
    axes = range(1, 1 + len(kernel))
    return np.ascontiguousarray(parts.transpose(0, parts.ndim - 1, parts.ndim - 2, *axes).reshape(shape))


def pair_extremes(quantized: Array) -> Array:
    """Per column, the largest sum of positive parts, or of negative parts without sign, of rows 2j and 2j+1.

    Args:
        quantized: ``(..., K, N)``, of a type that holds the sums.

    Returns:
        ``(..., N)``.
    """
    positive, negative = pair_sums(np.maximum(quantized, 0)), pair_sums(np.minimum(quantized, 0))
    extremes: Array = np.maximum(positive.max(axis=-2), -negative.min(axis=-2))
    return extremes


def pair_sums(rows: Array) -> Array:
    """Sums of rows 2j and 2j+1 of ``(..., K, N)``; an odd last row is alone."""
    sums = rows[..., 0::2, :].copy()
    sums[..., : rows.shape[-2] // 2, :] += rows[..., 1::2, :]
    return sums


def integer_products(model: ir.Model) -> Iterator[IntegerProduct]:
    """The products of ``model`` with constant int8 weights, in all graphs, in order."""
    for graph in model.graphs():
        for node in graph:
            if node.op_identifier() not in model.functions and (found := _read(node)) is not None:
                yield found


def unsafe_products(model: ir.Model) -> list[IntegerProduct]:
    """Those whose weights are not pair-safe."""
    return [p for p in integer_products(model) if p.unsafe_columns()]


def _read(node: ir.Node) -> IntegerProduct | None:
    if node.domain == "" and node.op_type in QDQ:
        activation, weight = (_dequantized(node.inputs[i]) for i in (0, 1))
    elif (node.domain, node.op_type) in WEIGHT_INPUT:
        activation, weight = node.inputs[0], node.inputs[WEIGHT_INPUT[node.domain, node.op_type]]
    else:
        return None
    array = constant_array(weight)
    if activation is None or array is None or array.dtype != np.int8 or not array.size:
        return None
    if node.op_type == "MatMulInteger" and activation.dtype == ir.DataType.INT8:
        return None
    return IntegerProduct(node, activation, array)


def _dequantized(value: ir.Value | None) -> ir.Value | None:
    """The integers behind ``value``; None if no DequantizeLinear gives it."""
    producer = None if value is None else value.producer()
    return producer.inputs[0] if producer is not None and producer.op_type == "DequantizeLinear" else None

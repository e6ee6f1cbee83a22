"""Read MatMul and Gemm as ``x @ W + b`` with a constant weight matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.passes.quantization.rounding.int8_weights import MAX_ROWS


@dataclass(frozen=True)
class MatrixProduct:
    """``y = alpha x @ W + b``.

    Args:
        node: The MatMul or Gemm.
        transposed: The weight is stored ``(N, K)``.
        alpha: Factor of the product.
        bias: Added to the product; None if there is none.
        beta: Factor of ``bias``; 1 unless that is constant.
    """

    node: ir.Node
    transposed: bool = False
    alpha: float = 1.0
    bias: ir.Value | None = None
    beta: float = 1.0

    def weight(self) -> np.ndarray[Any, Any]:
        """``alpha W: (K, N)``, float32."""
        array = constant_array(self.node.inputs[1])
        assert array is not None
        return (array.T if self.transposed else array) * np.float32(self.alpha)


def read_product(node: ir.Node, min_elements: int) -> MatrixProduct | str:
    """``node`` as a product that can be quantized, or why it cannot."""
    tensor = constant_tensor(node.inputs[1])
    if tensor is None:
        return "weight is not constant"
    if tensor.dtype != ir.DataType.FLOAT:
        return "weight is not float32"
    if len(tensor.shape) != 2:
        return "weight is not a matrix"
    if tensor.size < min_elements:
        return "weight has fewer elements than min_elements"
    product = _read_gemm(node) if node.op_type == "Gemm" else MatrixProduct(node)
    if isinstance(product, str):
        return product
    weight = product.weight()
    if weight.shape[0] > MAX_ROWS:
        return "32-bit sums could overflow"
    return product if np.isfinite(weight).all() and weight.size else "weight is empty or not finite"


def _read_gemm(node: ir.Node) -> MatrixProduct | str:
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    if attributes.get("transA", 0):
        return "first input of Gemm is transposed"
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    beta = attributes.get("beta", 1.0)
    if bias is not None and beta != 1.0 and constant_tensor(bias) is None:
        return "bias of Gemm is scaled and not constant"
    return MatrixProduct(node, bool(attributes.get("transB", 0)), attributes.get("alpha", 1.0), bias, beta)

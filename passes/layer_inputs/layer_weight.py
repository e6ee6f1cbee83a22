"""The constant weight of a Conv, MatMul or Gemm as the matrices that the rows of its input are multiplied with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.integer_products import conv_matrices, conv_weight
from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.passes.layer_inputs.gram import Layer

Array = np.ndarray[Any, np.dtype[Any]]
OPERATORS = frozenset(("Conv", "MatMul", "Gemm"))


@dataclass(frozen=True)
class LayerWeight:
    """A constant weight as its node reads it.

    Args:
        node: A Conv, MatMul or Gemm.
        shape: As stored.
    """

    node: ir.Node
    shape: tuple[int, ...]

    @property
    def layer(self) -> Layer:
        """For ``collect_grams``."""
        return Layer(self.node, self.shape)

    @property
    def value(self) -> ir.Value:
        """The initializer."""
        value = self.node.inputs[1]
        assert value is not None
        return value

    @property
    def convolves(self) -> bool:
        """Whether the node is a convolution."""
        return self.node.op_type == "Conv"

    @property
    def transposed(self) -> bool:
        """Whether a matrix is stored ``(N, K)``."""
        return self.node.op_type == "Gemm" and bool(self.node.attributes.get_int("transB", 0))

    @property
    def form(self) -> tuple[str, int, bool]:
        """Nodes of one form read one initializer as the same matrices."""
        return "Conv" if self.convolves else "matrix", self.layer.groups, self.transposed

    def matrices(self) -> Array:
        """``(groups, K, N)``, the element type as stored; of a convolution K over (kernel..., channel of the group)."""
        array = constant_array(self.value)
        assert array is not None
        if self.convolves:
            return conv_matrices(array, self.layer.groups)
        return (array.T if self.transposed else array)[None]

    def stored(self, matrices: Array) -> Array:
        """The inverse of ``matrices``: ``(groups, K, N)`` in the shape in which the node reads it."""
        if self.convolves:
            return conv_weight(matrices, self.shape)
        return np.ascontiguousarray(matrices[0].T if self.transposed else matrices[0])


def read_weight(node: ir.Node) -> LayerWeight | str:
    """The weight of a Conv, MatMul or Gemm if it is a constant of finite float32 numbers, else why it is not."""
    tensor = constant_tensor(node.inputs[1] if len(node.inputs) > 1 else None)
    if tensor is None:
        return "weight is not constant"
    if tensor.dtype != ir.DataType.FLOAT:
        return "weight is not float32"
    shape = tuple(tensor.shape.numpy())
    if len(shape) < 3 if node.op_type == "Conv" else len(shape) != 2:
        return "weight is not a matrix"
    if not tensor.size or not np.isfinite(tensor.numpy()).all():
        return "weight is empty or not finite"
    return LayerWeight(node, shape)

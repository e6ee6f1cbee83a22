"""The floating-point form of integer operators: floats in, floats out, quantized again where their readers want that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.passes.quantization.dequantization.float_values import Floats, Scale

Made = ir.Value | str


class Operands:
    """The operands of one integer operator.

    Args:
        node: The operator.
        build: Makes nodes.
        floats: Makes floating-point values.
    """

    def __init__(self, node: ir.Node, build: Builder, floats: Floats) -> None:
        self.node = node
        self.build = build
        self._floats = floats
        self.attributes: dict[str, Any] = {name: attribute.value for name, attribute in node.attributes.items()}

    def at(self, index: int) -> ir.Value | None:
        """An input; None if it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def take(self, index: int, scale: int, zero: int, axis: int = 1) -> ir.Value:
        """The numbers behind input ``index``, whose scale and zero point are further inputs."""
        value, step = self.at(index), self.at(scale)
        assert value is not None and step is not None
        found = self._floats.find(value, Scale(step, self.at(zero), axis), self.node)
        self.build.before(self.node)
        if isinstance(found, ir.Value):
            return found
        zeros = [z] if (z := self.at(zero)) is not None else []
        return self.build.op("DequantizeLinear", value, step, *zeros)

    def weight(self, index: int, scale: int, zero: int, axis: int) -> ir.Value | None:
        """Like ``take``, for operands with several scales; None if their floats are not known."""
        value, step = self.at(index), self.at(scale)
        assert value is not None and step is not None
        found = self._floats.find(value, Scale(step, self.at(zero), axis), self.node)
        self.build.before(self.node)
        return found if isinstance(found, ir.Value) else None

    def op(
        self, op_type: str, *inputs: ir.Value | np.ndarray[Any, Any] | None, domain: str = "", **attributes: Any
    ) -> ir.Value:
        """A new node with the shape of the operator's output."""
        found = self.build.op(op_type, *inputs, domain=domain, **attributes)
        found.shape, found.type = self.node.outputs[0].shape, ir.TensorType(ir.DataType.FLOAT)
        return found

    def quantized(self, value: ir.Value, scale: int, zero: int) -> ir.Value:
        """``value``, quantized as the operator would."""
        zeros = [z] if (z := self.at(zero)) is not None else []
        return self.build.op("QuantizeLinear", value, self.at(scale), *zeros, like=self.node.outputs[0])


def _conv(operands: Operands) -> Made:
    weight = operands.weight(3, 4, 5, 0)
    if weight is None:
        return "the weights are not constant"
    inputs: list[ir.Value | np.ndarray[Any, Any]] = [operands.take(0, 1, 2), weight]
    if operands.at(8) is not None:
        bias, x_scale, w_scale = (constant_array(operands.at(i)) for i in (8, 1, 4))
        if bias is None or x_scale is None or w_scale is None:
            return "the bias or its scale is not constant"
        numbers = bias.astype(np.float64) * x_scale.astype(np.float64).reshape(()) * w_scale.astype(np.float64).ravel()
        inputs.append(numbers.astype(x_scale.dtype))
    return operands.quantized(operands.op("Conv", *inputs, **operands.attributes), 6, 7)


def _matmul(operands: Operands) -> Made:
    step = operands.at(4)
    single = step is not None and step.shape is not None and all(d == 1 for d in step.shape)
    second = operands.take(3, 4, 5) if single else operands.weight(3, 4, 5, -1)
    if second is None:
        return "a scale for each row or column of what is not constant"
    return operands.quantized(operands.op("MatMul", operands.take(0, 1, 2), second), 6, 7)


def _gemm(operands: Operands) -> Made:
    weight = operands.weight(3, 4, 5, 0 if operands.attributes.get("transB", 0) else 1)
    a_scale, b_scale = constant_array(operands.at(1)), constant_array(operands.at(4))
    if weight is None or a_scale is None or b_scale is None:
        return "the weights are not constant"
    inputs: list[ir.Value | np.ndarray[Any, Any]] = [operands.take(0, 1, 2), weight]
    if operands.at(6) is not None:
        bias = constant_array(operands.at(6))
        if bias is None:
            return "the bias is not constant"
        alpha = operands.attributes.get("alpha", 1.0)
        numbers = bias.astype(np.float64) * a_scale.astype(np.float64).reshape(()) * b_scale.astype(np.float64).ravel()
        inputs.append((numbers * alpha).astype(a_scale.dtype))
    product = operands.op("Gemm", *inputs, **operands.attributes)
    return product if operands.at(7) is None else operands.quantized(product, 7, 8)


def _binary(op_type: str) -> Callable[[Operands], Made]:
    def make(operands: Operands) -> Made:
        a, b = operands.take(0, 1, 2), operands.take(3, 4, 5)
        return operands.quantized(operands.op(op_type, a, b), 6, 7)

    return make


def _unary(op_type: str) -> Callable[[Operands], Made]:
    def make(operands: Operands) -> Made:
        attributes = dict(operands.attributes)
        if attributes.pop("channels_last", 0):
            return "the channels come last"
        attributes.pop("opset", None)
        return operands.quantized(operands.op(op_type, operands.take(0, 1, 2), **attributes), 3, 4)

    return make


def _concat(operands: Operands) -> Made:
    parts = [operands.take(i, i + 1, i + 2) for i in range(2, len(operands.node.inputs), 3)]
    return operands.quantized(operands.op("Concat", *parts, **operands.attributes), 0, 1)


def _where(operands: Operands) -> Made:
    a, b = operands.take(1, 2, 3), operands.take(4, 5, 6)
    return operands.quantized(operands.op("Where", operands.at(0), a, b), 7, 8)


def _dynamic_matmul(operands: Operands) -> Made:
    weight = operands.weight(1, 2, 3, -1)
    if weight is None:
        return "the weights are not constant"
    return _plus(operands, operands.op("MatMul", operands.at(0), weight), 4)


def _to_float(operands: Operands) -> Made:
    weight = operands.weight(1, 3, 5, -1)
    if weight is None:
        return "the weights are not constant"
    return _plus(operands, operands.op("MatMul", operands.take(0, 2, 4), weight), 6)


def _plus(operands: Operands, product: ir.Value, index: int) -> ir.Value:
    bias = operands.at(index)
    return product if bias is None else operands.op("Add", product, bias)


def _softmax(operands: Operands) -> Made:
    attributes = dict(operands.attributes)
    if attributes.pop("opset", 13) < 13 <= operands.build.opset:
        return "a softmax of several axes"
    return operands.quantized(operands.op("Softmax", operands.take(0, 1, 2), **attributes), 3, 4)


OPERATORS: dict[tuple[str, str], Callable[[Operands], Made]] = {
    ("", "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul,
    ("com.microsoft", "DynamicQuantizeMatMul"): _dynamic_matmul,
    ("com.microsoft", "MatMulIntegerToFloat"): _to_float,
    ("com.microsoft", "QGemm"): _gemm,
    ("com.microsoft", "QLinearAdd"): _binary("Add"),
    ("com.microsoft", "QLinearAveragePool"): _unary("AveragePool"),
    ("com.microsoft", "QLinearConcat"): _concat,
    ("com.microsoft", "QLinearConv"): _conv,
    ("com.microsoft", "QLinearGlobalAveragePool"): _unary("GlobalAveragePool"),
    ("com.microsoft", "QLinearLeakyRelu"): _unary("LeakyRelu"),
    ("com.microsoft", "QLinearMul"): _binary("Mul"),
    ("com.microsoft", "QLinearSigmoid"): _unary("Sigmoid"),
    ("com.microsoft", "QLinearSoftmax"): _softmax,
    ("com.microsoft", "QLinearWhere"): _where,
}
"""Domain and operator -> what makes its floating-point form."""

"""Write ONNX Runtime's own integer operators in those of ONNX.

::

    QLinearAdd(a, b)             ->  QuantizeLinear(DequantizeLinear(a) + DequantizeLinear(b))
    MatMulIntegerToFloat(a, b)   ->  Cast(MatMulInteger(a, b)) * (a_scale * b_scale) + bias
    DynamicQuantizeMatMul(x, b)  ->  the same, with x quantized on the way

QLinearMul, QLinearLeakyRelu, QLinearSigmoid, QLinearGlobalAveragePool, QLinearConcat and QGemm likewise. TVM goes by
names and does not know these.

*Refuses*: a scale or a zero point for each row; pools over channels that come last; element types other than 8-bit
integers and float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.node_pass import NodePass, replace
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.quantized_values import (
    DTYPES,
    dequantize,
    input_at,
    is_scalar,
    multiply,
    quantize,
    quantize_dynamically,
    requantize,
)

FLOAT = ir.DataType.FLOAT.value


class Options(PassOptions):
    """Options of ``dequantize-contrib-ops``."""


class DequantizeContribOps(NodePass[Options]):
    """Write the integer operators of the domain com.microsoft in operators that TVM imports.

    *Match*: the operators of ``REWRITES``.

    *Rewrite*: products of matrices stay products of integers; everything else is computed on the numbers that the
    integers stand for, and quantized again.

    *Preserves*: the function up to rounding. Where a result lies in the middle between two steps of its scale, ONNX
    Runtime's kernels may choose the other one.

    *References*: the contrib operators' definitions in ONNX Runtime, docs/ContribOperators.md.
    """

    name = "dequantize-contrib-ops"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    options_type = Options
    domain = "com.microsoft"
    op_types = frozenset(
        {"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm", "QLinearAdd", "QLinearConcat", "QLinearMul"}
        | {"QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearSigmoid"}
    )
    min_opset = 11

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        if any(v is not None and v.dtype not in {*DTYPES, ir.DataType.FLOAT, ir.DataType.INT32} for v in node.inputs):
            return "element types other than 8-bit integers and float32"
        made = REWRITES[node.op_type](node, build)
        if isinstance(made, str):
            build.undo()
            return made
        replace(node, made, build)
        return True


def _value(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None
    return value


def _binary(op_type: str) -> Callable[[ir.Node, Builder], ir.Value | str]:
    def rewrite(node: ir.Node, build: Builder) -> ir.Value | str:
        a = dequantize(build, _value(node, 0), _value(node, 1), input_at(node, 2))
        b = dequantize(build, _value(node, 3), _value(node, 4), input_at(node, 5))
        return quantize(build, build.op(op_type, a, b), _value(node, 6), input_at(node, 7), _value(node, 0))

    return rewrite


def _unary(op_type: str) -> Callable[[ir.Node, Builder], ir.Value | str]:
    def rewrite(node: ir.Node, build: Builder) -> ir.Value | str:
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        if attributes.pop("channels_last", 0):
            return "the channels come last"
        x = dequantize(build, _value(node, 0), _value(node, 1), input_at(node, 2))
        y = build.op(op_type, x, **attributes)
        return quantize(build, y, _value(node, 3), input_at(node, 4), _value(node, 0))

    return rewrite


def _concat(node: ir.Node, build: Builder) -> ir.Value | str:
    parts = [
        dequantize(build, _value(node, i), _value(node, i + 1), input_at(node, i + 2))
        for i in range(2, len(node.inputs), 3)
    ]
    joined = build.op("Concat", *parts, axis=node.attributes.get_int("axis", 0))
    return quantize(build, joined, _value(node, 0), input_at(node, 1), _value(node, 2))


def _to_float(node: ir.Node, build: Builder) -> ir.Value | str:
    a, b, a_scale, b_scale = (_value(node, i) for i in range(4))
    a_zero, b_zero, bias = (input_at(node, i) for i in (4, 5, 6))
    if not (is_scalar(a_scale) and is_scalar(a_zero)):
        return "a scale for each row"
    return _scaled(build, (a, b, a_zero, b_zero), (a_scale, b_scale), bias)


def _dynamic(node: ir.Node, build: Builder) -> ir.Value | str:
    x, b, b_scale = (_value(node, i) for i in range(3))
    b_zero, bias = input_at(node, 3), input_at(node, 4)
    a, a_scale, a_zero = quantize_dynamically(build, x)
    return _scaled(build, (a, b, a_zero, b_zero), (a_scale, b_scale), bias)


def _scaled(
    build: Builder,
    factors: tuple[ir.Value | None, ...],
    scales: tuple[ir.Value, ir.Value],
    bias: ir.Value | None,
) -> ir.Value:
    total = build.op("Cast", build.op("MatMulInteger", *factors), to=FLOAT)
    product = build.op("Mul", total, multiply(build, scales, None))
    return product if bias is None else build.op("Add", product, bias)


def _gemm(node: ir.Node, build: Builder) -> ir.Value | str:
    a, a_scale, b, b_scale = (_value(node, i) for i in (0, 1, 3, 4))
    if not (is_scalar(a_scale) and is_scalar(input_at(node, 2))):
        return "a scale for each row"
    if node.attributes.get_int("transA", 0):
        a = build.op("Transpose", a, perm=(1, 0))
    if node.attributes.get_int("transB", 0):
        b = build.op("Transpose", b, perm=(1, 0))
    total = build.op("MatMulInteger", a, b, input_at(node, 2), input_at(node, 5))
    if (bias := input_at(node, 6)) is not None:
        total = build.op("Add", total, bias)
    alpha = build.constant(np.array(node.attributes.get_float("alpha", 1.0), np.float32))
    y_scale = input_at(node, 7)
    scale = multiply(build, (alpha, a_scale, b_scale), y_scale)
    total = build.op("Cast", total, to=FLOAT)
    return build.op("Mul", total, scale) if y_scale is None else requantize(build, total, scale, input_at(node, 8), a)


REWRITES: dict[str, Callable[[ir.Node, Builder], ir.Value | str]] = {
    "DynamicQuantizeMatMul": _dynamic,
    "MatMulIntegerToFloat": _to_float,
    "QGemm": _gemm,
    "QLinearAdd": _binary("Add"),
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "QLinearLeakyRelu": _unary("LeakyRelu"),
    "QLinearMul": _binary("Mul"),
    "QLinearSigmoid": _unary("Sigmoid"),
}

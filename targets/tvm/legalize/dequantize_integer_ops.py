"""Write integer operators that TVM does not import as arithmetic that gives the same integers.

::

    QLinearConv(x, w)     ->  QuantizeLinear(Conv(x - x_zero, w - w_zero, bias) * (x_scale * w_scale / y_scale))
    ConvInteger(x, w)     ->  Cast(Conv(x - x_zero, w - w_zero))
    QLinearMatMul(a, b)   ->  QuantizeLinear(Cast(MatMulInteger(a, b)) * (a_scale * b_scale / y_scale))
    DynamicQuantizeLinear ->  its own definition, with a scale of 1 where the tensor is all zeros

The Conv is over float32 that hold integers: a sum whose terms do not exceed 2**24 together is exact. TVM computes
MatMulInteger in 32-bit integers.

*Refuses*: weights, zero points of weights or biases of a convolution that are not constant; sums of one group, or of one
input channel, that may exceed 2**24; a scale for each row; element types other than 8-bit integers and float32.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.node_pass import NodePass, replace
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.exact_sums import centred, centred_weight, exact_conv, largest_input
from tamis.targets.tvm.legalize.node_outputs import replace_outputs
from tamis.targets.tvm.legalize.quantized_values import (
    DTYPES,
    input_at,
    is_scalar,
    multiply,
    quantize_dynamically,
    requantize,
)

MIN_DYNAMIC_OPSET = 11
"""The first operator set with DynamicQuantizeLinear, and with a Clip whose bounds are inputs."""


class Options(PassOptions):
    """Options of ``dequantize-integer-ops``."""


class DequantizeIntegerOps(NodePass[Options]):
    """Write QLinearConv, ConvInteger, QLinearMatMul and DynamicQuantizeLinear in operators that TVM imports.

    *Match*: these operators; zero points of weights may be one for each output channel, scales too.

    *Rewrite*: the product of the centred integers, exact; then, as ONNX Runtime does it, one multiplication by the
    product of the scales, rounding to even and saturation. A convolution whose sums may exceed 2**24 is cut into groups
    of input channels, and the parts are added as 32-bit integers.

    *Shapes*: ``x: (N, I, ...)``, ``w: (O, I / groups, ...)``, zero points and scales of the weights ``()`` or ``(O)``.

    *Preserves*: the integers. ONNX Runtime's own kernels may saturate intermediate sums on machines without dot-product
    instructions, and then differ from these.

    *References*: onnxruntime/core/mlas/lib/quantize.cpp (MlasRequantizeOutput) for the order of the roundings.
    """

    name = "dequantize-integer-ops"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    options_type = Options
    op_types = frozenset({"ConvInteger", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"})
    min_opset = 10

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        made: ir.Value | str
        if node.op_type == "DynamicQuantizeLinear":
            return _quantize(node, build)
        if node.op_type == "QLinearMatMul":
            made = _matmul(node, build)
        elif node.op_type == "QLinearConv":
            made = _conv(node, build)
        else:
            made = _conv_integer(node, build)
        if isinstance(made, str):
            build.undo()
            return made
        replace(node, made, build)
        return True


def _quantize(node: ir.Node, build: Builder) -> bool | str:
    x = node.inputs[0]
    if x is None or x.dtype != ir.DataType.FLOAT:
        return "element types other than 8-bit integers and float32"
    replace_outputs(node, quantize_dynamically(build, x), build)
    return True


def _matmul(node: ir.Node, build: Builder) -> ir.Value | str:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs
    assert a is not None and b is not None and a_scale is not None and b_scale is not None and y_scale is not None
    if a.dtype not in DTYPES or b.dtype not in DTYPES or a_scale.dtype != ir.DataType.FLOAT:
        return "element types other than 8-bit integers and float32"
    if not (is_scalar(a_scale) and is_scalar(a_zero) and is_scalar(y_scale) and is_scalar(y_zero)):
        return "a scale for each row"
    if not is_scalar(b_scale) and (b_scale.shape is None or len(b_scale.shape) != 1):
        return "a scale for each matrix"
    total = build.op("MatMulInteger", a, b, a_zero, b_zero)
    scale = multiply(build, (a_scale, b_scale), y_scale)
    return requantize(build, build.op("Cast", total, to=ir.DataType.FLOAT.value), scale, y_zero, a)


def _conv(node: ir.Node, build: Builder) -> ir.Value | str:
    x, x_scale, x_zero, _, w_scale, _, y_scale, y_zero = node.inputs[:8]
    assert x is not None and x_scale is not None and w_scale is not None and y_scale is not None
    if not (is_scalar(x_scale) and is_scalar(y_scale) and is_scalar(y_zero)):
        return "a scale for each element"
    total = _product(node, x, x_zero, 3, 5, 8, build)
    if isinstance(total, str):
        return total
    weight = node.inputs[3]
    assert weight is not None and weight.shape is not None
    rank = 0 if is_scalar(w_scale) else len(weight.shape) - 2
    return requantize(build, total, multiply(build, (x_scale, w_scale), y_scale, rank), y_zero, x)


def _conv_integer(node: ir.Node, build: Builder) -> ir.Value | str:
    x = node.inputs[0]
    assert x is not None
    total = _product(node, x, input_at(node, 2), 1, 3, None, build)
    return total if isinstance(total, str) else build.op("Cast", total, to=ir.DataType.INT32.value)


def _product(
    node: ir.Node, x: ir.Value, zero: ir.Value | None, weight: int, weight_zero: int, bias: int | None, build: Builder
) -> ir.Value | str:
    """The convolution of centred integers; the last arguments are the indices of inputs."""
    w, w_zero = constant_array(node.inputs[weight]), constant_array(input_at(node, weight_zero))
    b = None if bias is None else constant_array(input_at(node, bias))
    if w is None or (input_at(node, weight_zero) is not None and w_zero is None):
        return "the weights are not constant"
    if bias is not None and input_at(node, bias) is not None and b is None:
        return "the bias is not constant"
    if x.dtype not in DTYPES or w.dtype.kind not in "iu" or not is_scalar(zero):
        return "element types other than 8-bit integers, or a zero point for each element"
    attributes: dict[str, Any] = {name: attribute.value for name, attribute in node.attributes.items()}
    centred_x = centred(x, zero, build)
    return exact_conv(centred_x, centred_weight(w, w_zero), largest_input(x, zero), b, attributes, build)

"""Read products of integers whose scales multiply the result: the float weights behind them, or why there are none.

::

    Cast(MatMulInteger(q, Wq, z, zW)) * (s * sW)   ->   x @ ((Wq - zW) * sW)        q, s, z = DynamicQuantizeLinear(x)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.quantization.dequantization.float_values import Scale

Array = np.ndarray[Any, Any]
INTEGER_PRODUCTS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}


@dataclass(frozen=True)
class Product:
    """An integer product with its scales.

    Args:
        node: MatMulInteger or ConvInteger.
        data: Its first input, with its scale.
        scale: As it was multiplied in.
        weight: Numbers of its second input.
    """

    node: ir.Node
    data: ir.Value
    scale: Scale
    weight: Array


def read_scaled(mul: ir.Node) -> Product | str | None:
    """The integer product that ``mul`` scales, or why it cannot be read; None if it scales none."""
    for index in (0, 1):
        product = _integer_product(mul.inputs[index])
        if product is not None:
            factor = mul.inputs[1 - index]
            return "the second input of the product is missing" if factor is None else _read(product, factor)
    return None


def _integer_product(value: ir.Value | None) -> ir.Node | None:
    cast = None if value is None else value.producer()
    if cast is None or cast.domain != "" or cast.op_type != "Cast" or cast.inputs[0] is None:
        return None
    if cast.attributes.get_int("to", 0) != ir.DataType.FLOAT.value:
        return None
    node = cast.inputs[0].producer()
    return node if node is not None and node.domain == "" and node.op_type in INTEGER_PRODUCTS else None


def _read(node: ir.Node, factor: ir.Value) -> Product | str:
    data, weight = node.inputs[0], constant_array(node.inputs[1])
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if weight is None or data is None:
        return "the weights are not constant"
    quantize = data.producer()
    if quantize is None or quantize.op_type not in ("DynamicQuantizeLinear", "QuantizeLinear"):
        return "the scale of the activation is not known"
    dynamic = quantize.op_type == "DynamicQuantizeLinear"
    scale = quantize.outputs[1] if dynamic else quantize.inputs[1]
    if scale is None:
        return "the scale of the activation is not known"
    rest = _without(factor, scale)
    if rest is None:
        return "the product is not scaled by the activation's scale and a constant"
    centred = _centred(node, weight)
    numbers = centred if isinstance(centred, str) else _scaled(node, centred, rest)
    return numbers if isinstance(numbers, str) else Product(node, data, Scale(scale, zero), numbers)


def _without(factor: ir.Value, scale: ir.Value) -> Array | None:
    """``factor / scale`` if that is constant."""
    if factor is scale:
        return np.ones((), np.float32)
    known, step = constant_array(factor), constant_array(scale)
    if known is not None:
        return None if step is None or step.size != 1 else known.astype(np.float64) / step.reshape(())
    mul = factor.producer()
    if mul is None or mul.op_type != "Mul" or mul.domain != "" or scale not in mul.inputs:
        return None
    return constant_array(mul.inputs[1] if mul.inputs[0] is scale else mul.inputs[0])


def _centred(node: ir.Node, weight: Array) -> Array | str:
    wide = weight.astype(np.float64)
    if len(node.inputs) < 4 or node.inputs[3] is None:
        return wide
    zero = constant_array(node.inputs[3])
    if zero is None:
        return "the zero point of the weights is not constant"
    spread = zero.astype(np.float64)
    if node.op_type == "ConvInteger" and zero.size > 1:
        spread = spread.reshape(-1, *(1,) * (weight.ndim - 1))
    return wide - (spread.reshape(()) if zero.size == 1 else spread)


def _scaled(node: ir.Node, weight: Array, scale: Array) -> Array | str:
    if scale.size == 1:
        found: Array = (weight * scale.reshape(())).astype(np.float32)
        return found
    if node.op_type == "MatMulInteger":
        if scale.shape[-1] != scale.size or scale.size != weight.shape[-1] or scale.ndim > max(weight.ndim, 2):
            return "a scale for each row"
        return (weight * scale.reshape(-1)).astype(np.float32)
    if scale.size != weight.shape[0] or scale.ndim < weight.ndim - 1 or scale.shape[1 - weight.ndim] != scale.size:
        return "a scale that is not per channel"
    return (weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.float32)

"""Read Conv, ConvTranspose, Gemm and MatMul as ``y = W x + b`` with constant ``W`` and ``b``, and write it back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.passes.fusion import affine as maths
from tamis.passes.fusion.affine import Affine, Array
from tamis.passes.fusion.affine_nodes import Channels

OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16})


@dataclass(frozen=True)
class Linear:
    """A linear node, its parameters in float64.

    Args:
        node: The node.
        weight: As stored, except for Gemm: ``(K, N)`` whatever ``transB``.
        bias: ``(C_out,)``; zeros if there is none. ``beta`` of Gemm is multiplied in.
        dtype: Element type of the stored parameters.
        has_bias: True if the node can hold a bias: not MatMul.
    """

    node: ir.Node
    weight: Array
    bias: Array
    dtype: np.dtype[np.generic]

    @property
    def has_bias(self) -> bool:
        return self.node.op_type != "MatMul"

    def outputs(self) -> Channels:
        """Channels of the output."""
        if self.node.op_type in ("Conv", "ConvTranspose"):
            return Channels(self.weight.ndim, 1, self.bias.size)
        return self._last_axis(self.node.outputs[0], self.bias.size)

    def inputs(self) -> Channels | str:
        """Channels of the first input, or why they are not on the expected axis."""
        if self.node.op_type == "Conv":
            return Channels(self.weight.ndim, 1, self.weight.shape[1] * groups(self.node))
        if self.node.op_type == "ConvTranspose":
            return Channels(self.weight.ndim, 1, self.weight.shape[0])
        if int_attribute(self.node, "transA", 0):
            return "first input of Gemm is transposed"
        return self._last_axis(self.node.inputs[0], self.weight.shape[0])

    def _last_axis(self, value: ir.Value | None, count: int) -> Channels:
        """Channels of an operand of a matrix product; of unknown rank, so few axes that what fits them fits any."""
        shape = None if value is None else value.shape
        rank = 2 if self.node.op_type == "Gemm" else 1 if shape is None else len(shape)
        return Channels(rank, rank - 1, count)

    def after(self, affine: Affine) -> Linear:
        """``affine(self(x))`` as one linear operator."""
        match self.node.op_type:
            case "Conv":
                weight, bias = maths.after_conv(self.weight, self.bias, affine)
            case "ConvTranspose":
                weight, bias = maths.after_conv_transpose(self.weight, self.bias, affine, groups(self.node))
            case _:
                weight, bias = maths.after_matmul(self.weight, self.bias, affine)
        return replace(self, weight=weight, bias=bias)

    def before(self, affine: Affine) -> Linear | str:
        """``self(affine(x))`` as one linear operator, or why there is none."""
        match self.node.op_type:
            case "Conv":
                if affine.shifts and not is_unpadded(self.node):
                    return "shift before a padded convolution"
                weight, bias = maths.before_conv(self.weight, self.bias, affine, groups(self.node))
            case "ConvTranspose":
                if affine.shifts:
                    return "shift before a transposed convolution"
                weight, bias = maths.before_conv_transpose(self.weight, self.bias, affine)
            case _:
                alpha = 1.0 if self.node.op_type == "MatMul" else float_attribute(self.node, "alpha", 1.0)
                scaled = Affine(affine.scale, affine.shift * alpha)
                weight, bias = maths.before_matmul(self.weight, self.bias, scaled)
        return replace(self, weight=weight, bias=bias)

    def stored(self) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.generic]], ...] | None:
        """Weight and bias as they will be stored, rounded once; None if either is not finite."""
        weight = self.weight
        if self.node.op_type == "Gemm" and int_attribute(self.node, "transB", 0):
            weight = weight.T
        with np.errstate(over="ignore", invalid="ignore"):
            arrays = tuple(np.ascontiguousarray(a).astype(self.dtype) for a in (weight, self.bias))
        return arrays if all(np.isfinite(a).all() for a in arrays) else None


def read_linear(node: ir.Node) -> Linear | str:
    """``node`` with its parameters, or why it cannot be changed."""
    weight, dtype = constant_array(node.inputs[1]), _dtype(node.inputs[1])
    if weight is None:
        return "weight is not constant"
    if dtype not in FLOATS:
        return "weight is not float16, float32 or float64"
    wide = weight.astype(np.float64)
    if node.op_type in ("Gemm", "MatMul"):
        if wide.ndim != 2:
            return "weight is not a matrix"
        wide = wide.T if int_attribute(node, "transB", 0) else wide
    channels = wide.shape[0]
    if node.op_type == "ConvTranspose":
        channels = wide.shape[1] * groups(node)
    elif node.op_type != "Conv":
        channels = wide.shape[1]
    bias = _read_bias(node, channels)
    return bias if isinstance(bias, str) else Linear(node, wide, bias, weight.dtype)


def _read_bias(node: ir.Node, channels: int) -> Array | str:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return np.zeros(channels)
    bias = constant_array(value)
    if bias is None:
        return "bias is not constant"
    if bias.size != 1 and (bias.size != channels or bias.shape[-1] != channels):
        return "bias is not per channel"
    beta = float_attribute(node, "beta", 1.0) if node.op_type == "Gemm" else 1.0
    return np.broadcast_to(bias.astype(np.float64).reshape(-1) * beta, channels)


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.dtype


def groups(node: ir.Node) -> int:
    """Attribute ``group`` of a convolution."""
    return int_attribute(node, "group", 1)


def is_unpadded(node: ir.Node) -> bool:
    """True if a convolution never reads beyond the border of its input."""
    attribute = node.attributes.get("auto_pad")
    auto_pad = "NOTSET" if attribute is None else attribute.as_string()
    if auto_pad == "VALID":
        return True
    if auto_pad == "NOTSET":
        pads = node.attributes.get("pads")
        return pads is None or not any(pads.as_ints())
    weight = constant_tensor(node.inputs[1])
    return weight is not None and all(size == 1 for size in tuple(weight.shape)[2:])


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def float_attribute(node: ir.Node, name: str, default: float) -> float:
    """A float attribute or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()

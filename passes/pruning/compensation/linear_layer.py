"""Layers that are linear in a constant weight, as matrices: how to read them, change them, and see what they multiply.

::

    y = x W + b        x: (groups, P, K)   W: (groups, K, N)   b: (groups, N)

K over (kernel..., channel of the group). A ConvTranspose is the Conv of its input with zeros between the elements; the
bias of a MatMul is that of the Add behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Skip
from tamis.compiler.rewriting.constants import constant_array, constant_tensor, set_constant
from tamis.compiler.rewriting.graph_edit import Names, sole_user
from tamis.passes.layer_inputs.layer_rows import draw_positions, layer_rows

Array = np.ndarray[Any, np.dtype[Any]]
CONVOLUTIONS = ("Conv", "ConvTranspose")
LAYERS = (*CONVOLUTIONS, "Gemm", "MatMul")


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A layer of a model.

    Args:
        node: With its weight at input 1.
        adder: The Add behind a MatMul that holds its bias, and the input of it that does; None if there is none.
    """

    node: ir.Node
    adder: tuple[ir.Node, int] | None = None

    @property
    def output(self) -> ir.Value:
        """What it gives, with the bias."""
        return (self.node if self.adder is None else self.adder[0]).outputs[0]

    @property
    def groups(self) -> int:
        """Matrices that the weight consists of."""
        return self.node.attributes.get_int("group", 1) if self.node.op_type in CONVOLUTIONS else 1

    @property
    def channels(self) -> int:
        """Output channels."""
        shape: tuple[int, ...] = self._weight().shape
        if self.node.op_type == "ConvTranspose":
            return shape[1] * self.groups
        return shape[0 if self.node.op_type == "Conv" or self._transposed() else 1]

    def matrices(self) -> Array:
        """``(groups, K, N)``, float64: the weight, times alpha of a Gemm."""
        weight = self._weight().astype(np.float64)
        if self.node.op_type == "ConvTranspose":  # (C, N, kernel...), turned over
            turned = np.flip(weight, tuple(range(2, weight.ndim))).reshape(self.groups, -1, *weight.shape[1:])
            return np.moveaxis(turned, (1, 2), (-2, -1)).reshape(self.groups, -1, weight.shape[1])
        if self.node.op_type == "Conv":
            last = np.moveaxis(weight, 1, -1)
            return last.reshape(self.groups, len(weight) // self.groups, -1).transpose(0, 2, 1)
        return self._alpha() * (weight.T if self._transposed() else weight)[None]

    def bias(self) -> Array:
        """``(groups, N)``, float64: what is added; zeros if nothing is."""
        shape = self.groups, self.channels // self.groups
        array = self._bias()
        if array is None:
            return np.zeros(shape)
        return self._beta() * np.broadcast_to(array.astype(np.float64).reshape(-1), (self.channels,)).reshape(shape)

    @property
    def shifts(self) -> bool:
        """Whether it has a bias, or can get one."""
        return self.node.op_type != "MatMul" or self.adder is not None

    def change(self, matrices: Array | None, bias: Array | None, names: Names) -> None:
        """Give it other matrices and another bias, None for what it has; both get the dtype of the weight.

        Other readers of the constants keep the old ones.
        """
        if matrices is not None:
            weight = self._stored(matrices)
            set_constant(self.node, 1, weight, names.fresh(f"{self.node.name}_weight"))
        if bias is not None:
            node, index = (self.node, 2) if self.adder is None else self.adder
            found = (bias.reshape(-1) / self._beta()).astype(self._weight().dtype)
            set_constant(node, index, found, names.fresh(f"{self.node.name}_bias"))

    def _stored(self, matrices: Array) -> Array:
        """The weight as the node reads it."""
        old = self._weight()
        if self.node.op_type == "ConvTranspose":
            split = matrices.reshape(self.groups, *old.shape[2:], -1, old.shape[1])
            turned = np.moveaxis(split, (-2, -1), (1, 2)).reshape(old.shape)
            weight = np.flip(turned, tuple(range(2, old.ndim)))
        elif self.node.op_type == "Conv":
            last = matrices.transpose(0, 2, 1).reshape(len(old), *old.shape[2:], old.shape[1])
            weight = np.moveaxis(last, -1, 1)
        else:
            weight = matrices[0].T / self._alpha() if self._transposed() else matrices[0] / self._alpha()
        return np.ascontiguousarray(weight.astype(old.dtype))

    def rows(self, array: Array, limit: int, seed: tuple[int, ...]) -> Array:
        """Rows ``(groups, P, K)`` of an input, at ``limit`` positions at most, by the seed."""
        shape = self._weight().shape
        rng = np.random.default_rng(seed)
        if self.node.op_type == "ConvTranspose":
            return layer_rows(*_as_conv(self.node, array, shape), limit, rng)
        return layer_rows(self.node, array, shape, limit, rng)

    def targets(self, array: Array, limit: int, seed: tuple[int, ...]) -> Array:
        """Rows ``(P, channels)`` of an output, at the positions where ``rows`` takes those of the input."""
        if self.node.op_type in CONVOLUTIONS:
            array = np.moveaxis(array, 1, -1)
        rows = array.reshape(-1, array.shape[-1])
        return rows[draw_positions(len(rows), limit, np.random.default_rng(seed))]

    def channel_axis(self, array: Array) -> int:
        """Which axis of an output the channels are."""
        return 1 if self.node.op_type in CONVOLUTIONS else array.ndim - 1

    def _weight(self) -> Array:
        found = constant_array(self.node.inputs[1])
        assert found is not None
        return found

    def _bias(self) -> Array | None:
        node, index = (self.node, 2) if self.adder is None else self.adder
        return constant_array(node.inputs[index]) if self.shifts and index < len(node.inputs) else None

    def _transposed(self) -> bool:
        return self.node.op_type == "Gemm" and bool(self.node.attributes.get_int("transB", 0))

    def _alpha(self) -> float:
        return self.node.attributes.get_float("alpha", 1.0) if self.node.op_type == "Gemm" else 1.0

    def _beta(self) -> float:
        return self.node.attributes.get_float("beta", 1.0) if self.node.op_type == "Gemm" else 1.0


def linear_layer(node: ir.Node) -> LinearLayer | Skip | None:
    """``node`` as a layer; why it cannot be refitted, or None if it has no constant weight."""
    weight = constant_tensor(node.inputs[1]) if node.op_type in LAYERS and len(node.inputs) > 1 else None
    if weight is None or node.domain != "":
        return None
    reason = _obstacle(node, weight)
    if reason is not None:
        return Skip(reason, str(node.name))
    return LinearLayer(node, _adder(node, weight.shape.numpy()[-1]) if node.op_type == "MatMul" else None)


def _obstacle(node: ir.Node, weight: ir.TensorProtocol) -> str | None:
    if weight.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16):
        return "a weight that is not of floats"
    if not np.isfinite(weight.numpy()).all():
        return "a weight that is not finite"
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and constant_tensor(bias) is None:
        return "a computed bias"
    if node.op_type == "MatMul":
        return None if len(weight.shape) == 2 else "a weight that is no matrix"
    if node.op_type == "Gemm":
        return _obstacle_of_gemm(node, weight, bias)
    simple = node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET" and "output_shape" not in node.attributes
    if node.op_type == "ConvTranspose" and not (simple and min(_borders(node, weight.shape.numpy()), default=0) >= 0):
        return "a ConvTranspose whose borders are not plain numbers"
    return None


def _obstacle_of_gemm(node: ir.Node, weight: ir.TensorProtocol, bias: ir.Value | None) -> str | None:
    if 0 in (node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)):
        return "a Gemm with a factor of 0"
    width = weight.shape.numpy()[0 if node.attributes.get_int("transB", 0) else 1]
    tensor = constant_tensor(bias)
    if tensor is not None and not _is_vector(tensor, width):
        return "a bias that is not one number a channel"
    return None


def _is_vector(tensor: ir.TensorProtocol, width: int) -> bool:
    """Whether it has one number for each of ``width`` channels, or one for all."""
    sizes = tensor.shape.numpy()
    return all(size == 1 for size in sizes[:-1]) and (not sizes or sizes[-1] in (1, width))


def _adder(node: ir.Node, width: int) -> tuple[ir.Node, int] | None:
    user = sole_user(node.outputs[0])
    if user is None or user.op_type != "Add" or user.domain != "":
        return None
    index = 1 if user.inputs[0] is node.outputs[0] else 0
    tensor = constant_tensor(user.inputs[index])
    return (user, index) if tensor is not None and len(tensor.shape) <= 1 and _is_vector(tensor, width) else None


def _as_conv(node: ir.Node, array: Array, shape: tuple[int, ...]) -> tuple[ir.Node, Array, tuple[int, ...]]:
    """A Conv, its input and the shape of its weight, that computes what a ConvTranspose does."""
    rank = array.ndim - 2
    strides = node.attributes.get_ints("strides", [1] * rank)
    sizes = [(n - 1) * s + 1 for n, s in zip(array.shape[2:], strides, strict=True)]
    spread = np.zeros((*array.shape[:2], *sizes), array.dtype)
    spread[(slice(None), slice(None), *(slice(None, None, s) for s in strides))] = array
    group = node.attributes.get_int("group", 1)
    attributes = [
        ir.AttrInt64("group", group),
        ir.AttrInt64s("pads", _borders(node, shape)),
        ir.AttrInt64s("dilations", node.attributes.get_ints("dilations", [1] * rank)),
    ]
    return ir.Node("", "Conv", [], attributes), spread, (shape[1] * group, shape[0] // group, *shape[2:])


def _borders(node: ir.Node, shape: Sequence[int]) -> list[int]:
    """Pads of the Conv that computes what a ConvTranspose does."""
    kernel = shape[2:]
    rank = len(kernel)
    pads = node.attributes.get_ints("pads", [0] * 2 * rank)
    dilations = node.attributes.get_ints("dilations", [1] * rank)
    extra = node.attributes.get_ints("output_padding", [0] * rank)
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    before = [r - p for r, p in zip(reach, pads[:rank], strict=True)]
    after = [r - p + e for r, p, e in zip(reach, pads[rank:], extra, strict=True)]
    return [*before, *after]

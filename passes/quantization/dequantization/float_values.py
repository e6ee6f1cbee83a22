"""The floating-point value that integers stand for: followed upwards to where they were quantized.

::

    x -> QuantizeLinear -> MaxPool -> Reshape -> q        float of q: Reshape(MaxPool(x))
    constant integers                                     (q - zero point) * scale

Where quantizers have dropped a ReLU because the zero point is the smallest integer, it is put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.rewrite_pass import Builder

Array = np.ndarray[Any, Any]
MOVERS = frozenset(
    {"DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "MaxPool", "Reshape"}
    | {"Slice", "SpaceToDepth", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)
"""Operators that give some of their first input's elements, whatever these stand for."""
NOT_NEGATIVE = frozenset({"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt"})
SIGN_OF_ALL = frozenset({"Add", "Concat", "Max", "Mean", "Min", "Mul", "Sum"})
"""Not negative if no input is."""
SIGN_OF_FIRST = MOVERS | {
    *(
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "LeakyRelu",
        "ReduceMax",
        "ReduceMean",
        "ReduceSum",
        "Resize",
    )
}
DEPTH = 64
"""Of a search for what is not negative."""
MOST_MOVES = 100
"""Data movements in a row that are followed."""


@dataclass(frozen=True)
class Scale:
    """``(q - zero) * scale``.

    Args:
        scale: Its value.
        zero: None stands for 0.
        axis: Of several scales.
        block: Elements along ``axis`` that share one; 0 for one an index.
    """

    scale: ir.Value
    zero: ir.Value | None
    axis: int = 1
    block: int = 0

    def equals(self, other: Scale) -> bool:
        """Whether both are known to stand for the same numbers."""
        if self.block != other.block:
            return False
        if self.scale is other.scale and self.zero is other.zero:
            return self.axis == other.axis or _is_single(self.scale)
        pairs = [(constant_array(s.scale), self.zero_array(s)) for s in (self, other)]
        (scale, zero), (scale_2, zero_2) = pairs
        if scale is None or scale_2 is None or zero is None or zero_2 is None:
            return False
        single = scale.size == scale_2.size == 1
        return (
            np.array_equal(scale.ravel(), scale_2.ravel())
            and _same(zero, zero_2)
            and (single or self.axis == other.axis)
        )

    @staticmethod
    def zero_array(scale: Scale) -> Array | None:
        """Zero points; 0 if left out, None if not constant."""
        return np.zeros(1, np.int32) if scale.zero is None else constant_array(scale.zero)

    def dequantize(self, integers: Array) -> Array | None:
        """The numbers that constant integers stand for; None if scale or zero point are not constant."""
        scale, zero = constant_array(self.scale), self.zero_array(self)
        if scale is None or zero is None:
            return None
        wide = integers.astype(np.float64)
        spread = [_spread(a.astype(np.float64), wide, self.axis, self.block) for a in (zero, scale)]
        found: Array = ((wide - spread[0]) * spread[1]).astype(scale.dtype)
        return found


def _is_single(value: ir.Value) -> bool:
    return value.shape is not None and all(d == 1 for d in value.shape)


def _same(a: Array, b: Array) -> bool:
    """Whether two lists of zero points are equal; one number stands for any number of them."""
    wide = a.astype(np.int64).ravel(), b.astype(np.int64).ravel()
    return (a.size == b.size or 1 in (a.size, b.size)) and bool((wide[0] == wide[1]).all())


def _spread(parameter: Array, integers: Array, axis: int, block: int) -> Array:
    """``parameter`` in a shape that broadcasts against ``integers``."""
    if parameter.size == 1:
        return parameter.reshape(())
    if block:
        found: Array = np.repeat(parameter, block, axis=axis)
        return np.take(found, range(integers.shape[axis]), axis=axis)
    if parameter.ndim > 1:
        return parameter
    shape = [1] * integers.ndim
    shape[axis] = -1
    return parameter.reshape(shape)


class Floats:
    """Floating-point values of one model, each made once.

    Args:
        build: Makes nodes and constants.
    """

    def __init__(self, build: Builder) -> None:
        self._build = build
        self._depth = 0
        self._made: dict[tuple[Any, ...], list[tuple[Scale, ir.Value]]] = {}

    def find(self, value: ir.Value, scale: Scale, reader: ir.Node) -> ir.Value | str:
        """The floating-point value that ``value`` stands for, or why there is none.

        Args:
            value: Integers.
            scale: As their reader has it.
            reader: Constants become initializers of its graph.
        """
        array = constant_array(value)
        key = (value, reader.graph) if array is not None else (value,)
        for known, made in self._made.get(key, ()):
            producer = made.producer()
            if known.equals(scale) and (made.is_initializer() or producer is None or producer.graph is not None):
                return made
        found = self._make(value, array, scale, reader)
        if isinstance(found, ir.Value):
            self._made.setdefault(key, []).append((scale, found))
        return found

    def _make(self, value: ir.Value, array: Array | None, scale: Scale, reader: ir.Node) -> ir.Value | str:
        if array is not None:
            numbers = scale.dequantize(array)
            if numbers is None:
                return "the scale of a constant is not constant"
            self._build.before(reader)
            return self._build.constant(numbers)
        node = value.producer()
        if node is None:
            return "its integers come from outside"
        if node.op_type == "QuantizeLinear" and node.domain in ("", "com.microsoft"):
            return self._quantized(node, scale)
        if node.op_type == "DynamicQuantizeLinear" and node.domain == "":
            x = node.inputs[0]
            same = scale.scale is node.outputs[1] and scale.zero is node.outputs[2] and x is not None
            return (
                x if same and x is not None else "its integers are read with another scale than they were written with"
            )
        if node.op_type in MOVERS and node.domain == "" and value is node.outputs[0]:
            return self._moved(node, scale)
        return f"its integers come from {node.op_type}"

    def _quantized(self, node: ir.Node, scale: Scale) -> ir.Value | str:
        """What ``node``, a QuantizeLinear, was given; with the ReLU that it stands for."""
        x, own = node.inputs[0], scale_of(node)
        assert x is not None
        if not own.equals(scale):
            return "its integers are read with another scale than they were written with"
        zero, step = own.zero_array(own), constant_array(own.scale)
        dtype = node.outputs[0].dtype or (ir.DataType.UINT8 if own.zero is None else own.zero.dtype)
        if zero is None or step is None or step.size != 1 or dtype is None or not dtype.is_integer():
            return x
        limits = (ir.DataType.INT8, -128, 127), (ir.DataType.UINT8, 0, 255), (ir.DataType.INT16, -(2**15), 2**15 - 1)
        low, high = next(((a, b) for kind, a, b in limits if kind == dtype), (0, 2**16 - 1))
        if int(zero.flat[0]) != low or _needs_no_relu(x):
            return x
        self._build.before(node)
        top = float(step.flat[0]) * (high - low)
        if abs(top - 6) > 0.003 or self._build.opset < 11:
            return self._build.op("Relu", x, like=x)
        bounds = [np.array(bound, step.dtype) for bound in (0, 6)]
        return self._build.op("Clip", x, *bounds, like=x)

    def _moved(self, node: ir.Node, scale: Scale) -> ir.Value | str:
        """``node``, which moves integers, over floats."""
        if not _is_single(scale.scale):
            return "its integers move along an axis of their scales"
        data, source = node.inputs[0], node.outputs[0]
        if data is None or len(node.outputs) > 1:
            return f"its integers come from {node.op_type}"
        if self._depth >= MOST_MOVES:
            return "its integers move too often"
        self._depth += 1
        found = self.find(data, scale, node)
        self._depth -= 1
        if isinstance(found, str):
            return found
        self._build.before(node)
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        made = self._build.op(node.op_type, found, *node.inputs[1:], like=found, **attributes)
        made.shape = source.shape
        return made


def scale_of(node: ir.Node) -> Scale:
    """Scale and zero point of QuantizeLinear or DequantizeLinear."""
    scale = node.inputs[1]
    assert scale is not None
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    return Scale(scale, zero, node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0))


def _needs_no_relu(value: ir.Value) -> bool:
    """Whether ``value`` certainly has no negative elements, or is given from outside."""
    node = None if constant_array(value) is not None else value.producer()
    while node is not None and node.op_type in MOVERS and node.domain == "" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return node is None or _is_not_negative(value, DEPTH)


def _is_not_negative(value: ir.Value | None, depth: int) -> bool:
    array = constant_array(value)
    if array is not None:
        return bool((array >= 0).all())
    node = None if value is None else value.producer()
    if node is None or node.domain != "" or not depth:
        return False
    if node.op_type == "Clip":
        low = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
        return node.attributes.get_float("min", -1.0) >= 0 if low is None else bool((low >= 0).all())
    if node.op_type in SIGN_OF_ALL:
        return all(_is_not_negative(v, depth // 2) for v in node.inputs)
    return node.op_type in NOT_NEGATIVE or (
        node.op_type in SIGN_OF_FIRST and _is_not_negative(node.inputs[0], depth - 1)
    )

"""How convolutions and pools take a border of their input over into their own padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.passes.fusion.linear_nodes import int_attribute
from tamis.passes.fusion.pad_nodes import Padding
from tamis.passes.fusion.windows import Window, read_window

COUNTS_PADDING = 7
"""Opset from which AveragePool can count its padding."""
CLIP_INPUTS = 11
"""Opset from which the bounds of Clip are inputs."""
NOT_NEGATIVE = frozenset({"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus"})
"""Operators whose results are 0 or above."""
NOT_ZERO = "the border is not 0"
CEILING = "ceil_mode"
FILLS = "the padding would fill a window"


def spatial_rank(reader: ir.Node) -> int | None:
    """Spatial axes of a convolution or a pool; None if they are not known."""
    kernel = _kernel(reader)
    return None if kernel is None else len(kernel)


def absorb(reader: ir.Node, padding: Padding, source: ir.Value, opset: int) -> dict[str, ir.Attr] | str:
    """Attributes with which ``reader`` reads ``source`` instead of the padded tensor, or why there are none."""
    kernel = _kernel(reader)
    assert kernel is not None
    window = read_window(reader, kernel)
    if isinstance(window, str):
        return window
    wider = replace(
        window,
        begins=tuple(a + b for a, b in zip(window.begins, padding.begins[2:], strict=True)),
        ends=tuple(a + b for a, b in zip(window.ends, padding.ends[2:], strict=True)),
    )
    problem = OPERATORS[reader.op_type](reader, padding, wider, source, opset)
    if problem is not None:
        return problem
    changed = {"pads": ir.AttrInt64s("pads", wider.pads)}
    if reader.op_type == "AveragePool":
        changed["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
    return changed


def _kernel(reader: ir.Node) -> Sequence[int] | None:
    given = reader.attributes.get_ints("kernel_shape")
    if given is not None or reader.op_type != "Conv":
        return given
    weight = reader.inputs[1]
    tensor = constant_tensor(weight)
    if tensor is not None:
        return tuple(tensor.shape.numpy())[2:]
    shape = None if weight is None else weight.shape
    return tuple(shape.numpy())[2:] if shape is not None and shape.is_static() else None


def _convolution(reader: ir.Node, padding: Padding, window: Window, source: ir.Value, opset: int) -> str | None:
    return None if padding.value == 0 else NOT_ZERO


def _average(reader: ir.Node, padding: Padding, window: Window, source: ir.Value, opset: int) -> str | None:
    if padding.value != 0:
        return NOT_ZERO
    if opset < COUNTS_PADDING:
        return f"opset below {COUNTS_PADDING}"
    if int_attribute(reader, "ceil_mode", 0):
        return CEILING
    own = window.pads != [*padding.begins[2:], *padding.ends[2:]]
    if own and not int_attribute(reader, "count_include_pad", 0):
        return "the average counts the border, but not padding of its own"
    filled = any(max(b, e) >= k for b, e, k in zip(window.begins, window.ends, window.kernel, strict=True))
    return FILLS if filled else None


def _maximum(reader: ir.Node, padding: Padding, window: Window, source: ir.Value, opset: int) -> str | None:
    if not padding.value <= (0.0 if _is_not_negative(source, opset) else -np.inf):
        return "the border may exceed what is in a window"
    if int_attribute(reader, "ceil_mode", 0):
        return CEILING
    if len(reader.outputs) > 1:
        return "indices would count from another corner"
    if set(window.dilations) != {1}:
        return "a dilated window may lie between the elements"
    filled = any(b + e >= k for b, e, k in zip(window.begins, window.ends, window.kernel, strict=True))
    return FILLS if filled else None


def _is_not_negative(value: ir.Value, opset: int) -> bool:
    """Whether the node before ``value`` gives nothing below 0."""
    node = value.producer()
    if node is None or node.domain != "":
        return False
    if node.op_type != "Clip":
        return node.op_type in NOT_NEGATIVE
    if opset < CLIP_INPUTS:
        return node.attributes.get_float("min", -np.inf) >= 0
    low = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    return low is not None and low.size == 1 and bool(low.flat[0] >= 0)


OPERATORS: dict[str, Callable[[ir.Node, Padding, Window, ir.Value, int], str | None]] = {
    "AveragePool": _average,
    "Conv": _convolution,
    "MaxPool": _maximum,
}
"""Operator -> why it cannot take a border over; the window is the one with the border."""

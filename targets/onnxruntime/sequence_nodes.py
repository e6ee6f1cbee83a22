"""Nodes over one axis of positions, written for the wide form of their tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.onnxruntime.sequence_form import Form

Twins = Mapping[ir.Value, ir.Value]
"""Value -> its wide form."""
Array = np.ndarray[Any, Any]
Widen = Callable[[ir.Node, Form, Twins, Builder], ir.Value | str]
"""Builds the wide node; gives its output, or why there is none. Nothing is built then."""

UNARY = frozenset(
    [
        "Abs",
        "Clip",
        "Elu",
        "Erf",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Log",
        "Neg",
        "Reciprocal",
        "Relu",
        "Sigmoid",
        "Softplus",
        "Sqrt",
        "Tanh",
    ]
)
BINARY = frozenset(["Add", "Div", "Mul", "Pow", "Sub"])
POOLS = frozenset(["AveragePool", "MaxPool"])
GLOBAL_POOLS = frozenset(["GlobalAveragePool", "GlobalMaxPool"])


def widen_node(node: ir.Node, form: Form, twins: Twins, build: Builder) -> ir.Value | str:
    """The wide form of what ``node`` computes, or why it has none.

    Args:
        node: A standard operator whose output has a known rank, batch and number of channels.
        form: Of its inputs.
        twins: Has its first input at least.
        build: Makes nodes before ``node``.
    """
    handler = _HANDLERS.get(node.op_type)
    if handler is None:
        return f"{node.op_type} is not known over two axes"
    if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return "a second output"
    if node.inputs[0] not in twins and node.op_type not in BINARY:
        return "only a parameter is computed"
    return handler(node, form, twins, build)


def _window(node: ir.Node, form: Form, kernel: list[int] | None) -> dict[str, Any] | None:
    """The attributes of a convolution or pool for the wide form; None if it moves along another axis, too."""
    attributes = {name: a.value for name, a in node.attributes.items()}
    attributes["kernel_shape"] = kernel
    if "pads" in attributes:
        attributes["pads"] = form.pads_along(attributes["pads"])
    for name in ("strides", "dilations"):
        if name in attributes:
            ones = [n if i == form.axis - 2 else 1 for i, n in enumerate(attributes[name])]
            attributes[name] = form.along(ones)
    return None if None in attributes.values() else attributes


def _conv(node: ir.Node, form: Form, twins: Twins, build: Builder) -> ir.Value | str:
    weight = constant_array(node.inputs[1])
    if weight is None:
        return "the weight is not constant"
    kernel = form.along(weight.shape[2:])
    attributes = _window(node, form, kernel)
    if kernel is None or attributes is None:
        return "it does not stay on one axis"
    wide = weight.reshape(*weight.shape[:2], *kernel)
    return build.op("Conv", _data(node, twins), wide, *node.inputs[2:], **attributes)


def _pool(node: ir.Node, form: Form, twins: Twins, build: Builder) -> ir.Value | str:
    attributes = _window(node, form, form.along(node.attributes["kernel_shape"].as_ints()))
    if attributes is None:
        return "it does not stay on one axis"
    return build.op(node.op_type, _data(node, twins), **attributes)


def _global_pool(node: ir.Node, form: Form, twins: Twins, build: Builder) -> ir.Value | str:
    if form.batch != 1:
        return "it would pool over the batch"
    return _copy(node, [_data(node, twins)], build)


def _batch_normalization(node: ir.Node, form: Form, twins: Twins, build: Builder) -> ir.Value | str:
    if len(node.outputs) > 1 or node.attributes.get_int("training_mode", 0) == 1:
        return "BatchNormalization in training mode"
    return _copy(node, [_data(node, twins), *node.inputs[1:]], build)


def _unary(node: ir.Node, form: Form, twins: Twins, build: Builder) -> ir.Value | str:
    if any(v in twins for v in node.inputs[1:] if v is not None):
        return "a bound is computed"
    return _copy(node, [_data(node, twins), *node.inputs[1:]], build)


def _binary(node: ir.Node, form: Form, twins: Twins, build: Builder) -> ir.Value | str:
    operands: list[ir.Value | Array] = []
    for value in node.inputs:
        assert value is not None
        if value in twins:
            if value.shape != node.outputs[0].shape:
                return "broadcasting"
            operands.append(twins[value])
            continue
        array = constant_array(value)
        shape = None if array is None else _operand_shape(array.shape, form, node.outputs[0])
        if array is None or shape is None:
            return "an operand is neither constant, scalar or per channel, nor widened"
        operands.append(array.reshape(shape))
    return _copy(node, operands, build)


def _operand_shape(shape: tuple[int, ...], form: Form, output: ir.Value) -> tuple[int, ...] | None:
    """The shape of a scalar or per-channel constant in the wide form; None if it is neither."""
    assert output.shape is not None
    channels = output.shape[1]
    if len(shape) > form.rank:
        return None
    if all(size == 1 for size in shape):
        return ()
    full = (1,) * (form.rank - len(shape)) + shape
    return (1, full[1], 1, 1) if full == (1, channels, *(1,) * (form.rank - 2)) else None


def _slice(node: ir.Node, form: Form, twins: Twins, build: Builder) -> ir.Value | str:
    numbers = [constant_array(v) for v in node.inputs[1:]]
    if len(numbers) < 3 or any(n is None for n in numbers):
        return "bounds that are not constant, or no axes"
    axes = None if numbers[2] is None else form.wide_axes([int(a) for a in numbers[2]])
    if axes is None:
        return "it does not stay on one axis"
    bounds = [n for i, n in enumerate(numbers) if n is not None and i != 2]
    wide = [*bounds[:2], np.array(axes, bounds[0].dtype), *bounds[2:]]
    return build.op("Slice", _data(node, twins), *wide)


def _pad(node: ir.Node, form: Form, twins: Twins, build: Builder) -> ir.Value | str:
    pads = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    if pads is None or len(node.inputs) > 3:
        return "pads that are not constant, or with axes"
    begin, end = pads[: form.rank], pads[form.rank :]
    axes = form.wide_axes([a for a in range(form.rank) if begin[a] or end[a]])
    if axes is None:
        return "it does not stay on one axis"
    wide = np.zeros(8, pads.dtype)
    for old, new in ((1, 1), (form.axis, form.wide_axis)):
        wide[new], wide[4 + new] = begin[old], end[old]
    return _copy(node, [_data(node, twins), wide, *node.inputs[2:]], build)


def _concat(node: ir.Node, form: Form, twins: Twins, build: Builder) -> ir.Value | str:
    axes = form.wide_axes([node.attributes["axis"].as_int()])
    if axes is None or any(v not in twins for v in node.inputs):
        return "an input is not widened, or another axis"
    return build.op("Concat", *(twins[v] for v in node.inputs if v is not None), axis=axes[0])


def _data(node: ir.Node, twins: Twins) -> ir.Value:
    first = node.inputs[0]
    assert first is not None
    return twins[first]


def _copy(node: ir.Node, inputs: list[Any], build: Builder) -> ir.Value:
    return build.op(node.op_type, *inputs, **{name: a.value for name, a in node.attributes.items()})


_HANDLERS: dict[str, Widen] = {
    "Conv": _conv,
    "BatchNormalization": _batch_normalization,
    "Slice": _slice,
    "Pad": _pad,
    "Concat": _concat,
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(POOLS, _pool),
    **dict.fromkeys(GLOBAL_POOLS, _global_pool),
}

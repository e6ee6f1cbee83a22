"""Operators that name axes, as they become when their input is not transposed yet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.passes.layout.permutation import Perm, identity, with_axes, without_axes
from tamis.passes.layout.turned import Place, Turned

UNKNOWN_AXES = "the axes are not constant"


def along_axis(default: int, place: Place) -> Turned | str:
    """One axis, and a result with the same axes; further inputs have nothing to do with axes."""
    return place.result(attributes=_axis(place.perm[place.axis(default)]))


def concat(place: Place) -> Turned | str:
    """Every input is transposed alike."""
    new = _axis(place.perm[place.axis(0)])
    return Turned((place.perm,) * len(place.node.inputs), (place.perm,), new)


def softmax(place: Place) -> Turned | str:
    """Before opset 13 everything from the axis on is one long axis."""
    if place.opset >= 13:
        return along_axis(-1, place)
    last = place.axes - 1
    if place.axis(1) != last or place.perm[last] != last:
        return f"{place.node.op_type} below opset 13 over several axes"
    return place.result()


def last_axis(place: Place) -> Turned | str:
    """LayerNormalization and the like over the last axis, which must stay the last."""
    last = place.axes - 1
    if place.axis(-1) != last or place.perm[last] != last:
        return "the normalized axis does not stay the last"
    if any(v.uses() or v.is_graph_output() for v in place.node.outputs[1:]):
        return "statistics are read"
    return place.result()


def arg_extreme(place: Place) -> Turned | str:
    """ArgMax and ArgMin."""
    axis = place.axis(0)
    output = place.perm if place.node.attributes.get_int("keepdims", 1) else without_axes(place.perm, {axis})
    return place.result(output, _axis(place.perm[axis]))


def gather(place: Place) -> Turned | str:
    """A scalar index drops the axis, a list of them keeps it."""
    indices, axis = place.rank(place.node.inputs[1]), place.axis(0)
    if indices not in (0, 1):
        return "indices with several axes, or an unknown number of them"
    output = place.perm if indices else without_axes(place.perm, {axis})
    return place.result(output, _axis(place.perm[axis]))


def quantization(place: Place) -> Turned | str:
    """QuantizeLinear and DequantizeLinear: per tensor or per axis."""
    if place.node.attributes.get_int("block_size", 0):
        return "scales of blocks"
    scale = place.rank(place.node.inputs[1])
    if scale == 0 or place.opset < 13 or _size_of(place.node.inputs[1]) == 1:
        return place.result()
    return "scales with an unknown number of axes" if scale != 1 else along_axis(1, place)


def _size_of(value: ir.Value | None) -> int | None:
    shape = None if value is None else value.shape
    return int(np.prod(shape.numpy())) if shape is not None and shape.is_static() else None


def reduction(place: Place) -> Turned | str:
    """ReduceSum and the like, over some axes or all."""
    axes, where = _axes(place.node, place.axes)
    if axes is None:
        return UNKNOWN_AXES
    keep = place.node.attributes.get_int("keepdims", 1)
    if not axes:
        if place.node.attributes.get_int("noop_with_empty_axes", 0):
            return place.result()
        return place.result(identity(place.axes) if keep else ())
    return _with_axes(place, axes, where, place.perm if keep else without_axes(place.perm, axes))


def squeeze(place: Place) -> Turned | str:
    """Axes of size 1 go."""
    axes, where = _axes(place.node, place.axes)
    if axes is None:
        return UNKNOWN_AXES
    if axes:
        return _with_axes(place, axes, where, without_axes(place.perm, axes))
    value = place.node.inputs[0]
    if where is not None or value is None or value.shape is None or not value.shape.is_static():
        return UNKNOWN_AXES
    return place.result(without_axes(place.perm, {i for i, size in enumerate(value.shape) if size == 1}))


def unsqueeze(place: Place) -> Turned | str:
    """New axes of size 1 come at the same places, whatever the order of the others."""
    given, _ = _axes(place.node, None)
    if given is None:
        return UNKNOWN_AXES
    rank = place.axes + len(given)
    return place.result(with_axes(place.perm, {axis % rank for axis in given}))


def slice_(place: Place) -> Turned | str:
    """Start, end and step go with their axis."""
    node = place.node
    if place.opset < 10:
        starts = node.attributes.get_ints("starts")
        axes = node.attributes.get_ints("axes") or (None if starts is None else range(len(starts)))
        if axes is None:
            return UNKNOWN_AXES
        return place.result(attributes={"axes": ir.AttrInt64s("axes", _mapped(axes, place.perm))})
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        given = constant_array(node.inputs[3])
        if given is None:
            return UNKNOWN_AXES
        return place.result(constants={3: np.array(_mapped(given.tolist(), place.perm), given.dtype)})
    count, starts_type = _size_of(node.inputs[1]), constant_tensor(node.inputs[1])
    if count is None or starts_type is None:
        return UNKNOWN_AXES
    return place.result(constants={3: np.array(_mapped(range(count), place.perm), starts_type.dtype.numpy())})


def _axes(node: ir.Node, rank: int | None) -> tuple[list[int] | None, int | str | None]:
    """The axes that a node names, counted from the front if the rank is given, and in which input or attribute."""
    attribute = node.attributes.get_ints("axes")
    if attribute is not None:
        found, where = list(attribute), "axes"
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant_array(node.inputs[1])
        if array is None:
            return None, 1
        return ([int(a) % rank if rank else int(a) for a in array.ravel()]), 1
    else:
        return [], None
    return [a % rank if rank else a for a in found], where


def _with_axes(place: Place, axes: Sequence[int], where: int | str | None, output: Perm) -> Turned:
    mapped = _mapped(axes, place.perm)
    if isinstance(where, int):
        return place.result(output, constants={where: np.array(mapped, np.int64)})
    return place.result(output, {"axes": ir.AttrInt64s("axes", mapped)})


def _axis(axis: int) -> dict[str, ir.Attr]:
    return {"axis": ir.AttrInt64("axis", axis)}


def _mapped(axes: Sequence[int], perm: Perm) -> list[int]:
    return [perm[axis % len(perm)] for axis in axes]

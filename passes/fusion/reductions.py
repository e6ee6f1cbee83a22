"""What a Reduce operator reduces, whether its axes are an attribute or an input."""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array


def kept_axes(node: ir.Node) -> tuple[int, ...] | None:
    """The axes of a Reduce operator, as they are written.

    Returns:
        None if they are not constant, are left out (which means all of them, or none), or if ``keepdims`` is 0, so that
        the result does not broadcast against the input.
    """
    keepdims = node.attributes.get("keepdims")
    if keepdims is not None and (keepdims.is_ref() or keepdims.as_int() != 1):
        return None
    attribute = node.attributes.get("axes")
    if attribute is not None:
        return None if attribute.is_ref() else tuple(attribute.as_ints()) or None
    array = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if array is None else tuple(int(axis) for axis in array.ravel()) or None


def reduces_last_axis(node: ir.Node, value: ir.Value) -> bool:
    """Whether ``node`` reduces the last axis alone, of something that has the shape of ``value``."""
    axes, shape = kept_axes(node), value.shape
    return axes == (-1,) or (shape is not None and axes == (len(shape) - 1,))


def trailing_dims(node: ir.Node, value: ir.Value) -> tuple[int, ...] | str:
    """The sizes of the dimensions that ``node`` reduces, if these are the last ones and known; else why not.

    Args:
        node: A Reduce operator.
        value: Has the shape of what it reduces.
    """
    axes = kept_axes(node)
    if axes is None:
        return "the axes are not constant, or not kept"
    if value.shape is None:
        return "the shape is not known"
    rank = len(value.shape)
    if sorted(axis % rank for axis in axes) != list(range(rank - len(axes), rank)):
        return "not over the last axes"
    dims = tuple(d for d in value.shape[rank - len(axes) :] if isinstance(d, int))
    if len(dims) < len(axes):
        return "the normalized dimensions are not known"
    return dims if all(dims) else "there is nothing to normalize"

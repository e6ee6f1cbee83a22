"""Operators that are given numbers for each axis, as they become when their input is not transposed yet."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.layout.permutation import Perm, turned_back, with_axes, without_axes
from tamis.passes.layout.turned import Place, Turned

Array = np.ndarray[Any, Any]


def pad(place: Place) -> Turned | str:
    """Amounts before and after each axis, or some axes that are named."""
    node = place.node
    if place.opset < 11:
        amounts = node.attributes.get_ints("pads")
        if amounts is None:
            return "no amounts"
        return place.result(attributes={"pads": ir.AttrInt64s("pads", _halves(list(amounts), place.perm))})
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        axes = constant_array(node.inputs[3])
        if axes is None:
            return "the axes are not constant"
        return place.result(constants={3: np.array([place.perm[a % place.axes] for a in axes.ravel()], axes.dtype)})
    array = constant_array(node.inputs[1])
    if array is None or array.size != 2 * place.axes:
        return "the amounts are not constant"
    return place.result(constants={1: np.array(_halves(array.ravel().tolist(), place.perm), array.dtype)})


def _halves(amounts: list[int], perm: Perm) -> list[int]:
    rank = len(perm)
    return turned_back(amounts[:rank], perm) + turned_back(amounts[rank:], perm)


def tile(place: Place) -> Turned | str:
    """A count for each axis."""
    array = constant_array(place.node.inputs[1])
    if array is None or array.size != place.axes:
        return "the repeats are not constant"
    return place.result(constants={1: np.array(turned_back(array.tolist(), place.perm), array.dtype)})


def expand(place: Place) -> Turned | str:
    """A size for each axis, aligned right."""
    array = constant_array(place.node.inputs[1])
    if array is None or array.size > place.axes:
        return "the shape is not constant, or has more axes"
    sizes = [1] * (place.axes - array.size) + array.tolist()
    return place.result(constants={1: np.array(turned_back(sizes, place.perm), array.dtype)})


def resize(place: Place) -> Turned | str:
    """Resize and Upsample of images, towards the order in which their axes are the last two: runtimes know that best."""
    node = place.node
    if node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return "a region of interest"
    named = node.attributes.get_ints("axes")
    if named is not None:
        scaled = {axis % place.axes for axis in named}
        new = place.result(attributes={"axes": ir.AttrInt64s("axes", [place.perm[a % place.axes] for a in named])})
        return new if _images(place, scaled) else "the resized axes do not become the last two"
    found = _sizes(node, place.opset)
    if found is None or found[1].size != place.axes:
        return "neither scales nor sizes are constant"
    index, array = found
    scaled = {i for i in range(place.axes) if not _unchanged(node, place.opset, array, i)}
    if not _images(place, scaled):
        return "the resized axes do not become the last two"
    return place.result(constants={index: np.array(turned_back(array.tolist(), place.perm), array.dtype)})


def _sizes(node: ir.Node, opset: int) -> tuple[int, Array] | None:
    """Position and elements of the scales or sizes of a Resize."""
    positions = (1,) if node.op_type == "Upsample" or opset < 11 else (2, 3)
    for index in positions:
        array = constant_array(node.inputs[index]) if len(node.inputs) > index else None
        if array is not None and array.size:
            return index, array
    return None


def _unchanged(node: ir.Node, opset: int, array: Array, axis: int) -> bool:
    if array.dtype.kind == "f":
        return bool(array[axis] == 1)
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    return shape is not None and shape[axis] == int(array[axis])


def _images(place: Place, scaled: set[int]) -> bool:
    return place.axes == 4 and all(place.perm[axis] >= 2 for axis in scaled)


def reshape(place: Place) -> Turned | str:
    """A Reshape that adds and removes axes of size 1 only."""
    value, wanted = place.node.inputs[0], constant_array(place.node.inputs[1])
    if wanted is None or value is None or value.shape is None:
        return "a Reshape between shapes that are not known"
    given = [size if isinstance(size, int) else None for size in value.shape]
    result = _result(given, wanted.ravel().tolist(), allow_zero=bool(place.node.attributes.get_int("allowzero", 0)))
    if result is None or not _same_sizes(_long(given), _long(result)):
        return "a Reshape that changes more than axes of size 1"
    perm = without_axes(place.perm, {i for i, size in enumerate(given) if size == 1})
    perm = with_axes(perm, {i for i, size in enumerate(result) if size == 1})
    sizes = [-1 if size is None else size for size in turned_back(result, perm)]
    return place.result(perm, constants={1: np.array(sizes, np.int64)})


def _result(given: list[int | None], wanted: list[int], *, allow_zero: bool) -> list[int | None] | None:
    """The sizes after a Reshape, with at most one unknown; None if any is zero, or more are unknown."""
    if given.count(None) > 1 or 0 in given or (0 in wanted and (allow_zero or 0 in wanted[len(given) :])):
        return None
    result = [given[i] if size == 0 else None if size == -1 else size for i, size in enumerate(wanted)]
    copied = sum(size == 0 and given[i] is None for i, size in enumerate(wanted))
    if -1 in wanted and copied == given.count(None):
        known = prod(size for size in result if size is not None)
        result[wanted.index(-1)] = prod(size for size in given if size is not None) // known
    return result if result.count(None) <= 1 else None


def _long(sizes: list[int | None]) -> list[int | None]:
    return [size for size in sizes if size != 1]


def _same_sizes(given: list[int | None], result: list[int | None]) -> bool:
    """True if all sizes are the same; a single unknown one must be, since there are as many elements."""
    if len(given) != len(result):
        return False
    pairs = list(zip(given, result, strict=True))
    return all(a == b or None in (a, b) for a, b in pairs) and sum(None in pair for pair in pairs) <= 1

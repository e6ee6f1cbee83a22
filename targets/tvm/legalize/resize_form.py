"""What a Resize or Upsample node does to each axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.targets.tvm.legalize.quantized_values import input_at
from tamis.targets.tvm.legalize.resize_weights import AxisMap

FIRST_IMPORTED = 11
"""The first operator set whose Resize TVM imports."""
NOT_IMPORTED = frozenset({"half_pixel_symmetric"})
"""Coordinate transformations that TVM does not know."""


@dataclass(frozen=True)
class ResizeForm:
    """A Resize with known sizes.

    Args:
        axes: Index of each axis that changes, and how.
        mode: nearest, linear or cubic.
        rounding: Of nearest.
        cubic_a: The attribute cubic_coeff_a.
        exclude_outside: The attribute of that name.
        antialias: The attribute of that name.
        imported: Whether TVM computes this form, and right.
    """

    axes: tuple[tuple[int, AxisMap], ...]
    mode: str
    rounding: str
    cubic_a: float
    exclude_outside: bool
    antialias: bool
    imported: bool


def read_resize(node: ir.Node, opset: int) -> ResizeForm | str:
    """What ``node`` does; or why that is not known."""
    x = node.inputs[0]
    if x is None or x.shape is None or not x.shape.is_static():
        return "sizes that are not known"
    shape = x.shape.numpy()
    old = node.op_type == "Upsample" or opset < FIRST_IMPORTED
    text = node.attributes.get_string
    coordinates = "asymmetric" if old else text("coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_crop_and_resize":
        return "it crops"
    maps = _maps(node, shape, coordinates, old)
    if isinstance(maps, str):
        return maps
    changed = tuple((i, axis) for i, axis in enumerate(maps) if axis.scale != 1 or axis.resized != axis.size)
    fractional = any(axis.scale * np.float32(axis.size) != axis.resized for axis in maps)
    extras = [name for name in ("antialias", "axes", "keep_aspect_ratio_policy") if name in node.attributes]
    plain = not old and not extras and not fractional and 3 <= len(shape) <= 5
    return ResizeForm(
        axes=changed,
        mode=text("mode", "nearest"),
        rounding="simple" if old else text("nearest_mode", "round_prefer_floor"),
        cubic_a=node.attributes.get_float("cubic_coeff_a", -0.75),
        exclude_outside=node.attributes.get_int("exclude_outside", 0) == 1,
        antialias=node.attributes.get_int("antialias", 0) == 1,
        imported=plain and coordinates not in NOT_IMPORTED and all(i > 1 for i, _ in changed),
    )


def _maps(node: ir.Node, shape: Sequence[int], coordinates: str, old: bool) -> list[AxisMap] | str:
    axes = [a % len(shape) for a in node.attributes.get_ints("axes", tuple(range(len(shape))))]
    sizes = None if old else constant_array(input_at(node, 3))
    scales = constant_array(input_at(node, 1 if old else 2))
    if "scales" in node.attributes:
        scales = np.array(node.attributes["scales"].as_floats(), np.float32)
    maps = [AxisMap(size, size, np.float32(1), coordinates) for size in shape]
    if scales is not None and scales.size == len(axes):
        for axis, scale in zip(axes, scales.astype(np.float32), strict=True):
            resized = int(scale * np.float32(shape[axis]))
            maps[axis] = AxisMap(shape[axis], resized, scale, coordinates)
    elif sizes is not None and sizes.size == len(axes):
        ratios = [np.float32(n) / np.float32(shape[a]) for a, n in zip(axes, sizes.tolist(), strict=True)]
        policy: dict[str, Callable[[Sequence[np.float32]], np.float32]] = {"not_larger": min, "not_smaller": max}
        choose = policy.get(node.attributes.get_string("keep_aspect_ratio_policy", "stretch"))
        for axis, size, ratio in zip(axes, sizes.tolist(), ratios, strict=True):
            scale = ratio if choose is None else choose(ratios)
            resized = size if choose is None else int(np.floor(scale * np.float32(shape[axis]) + np.float32(0.5)))
            maps[axis] = AxisMap(shape[axis], resized, scale, coordinates)
    else:
        return "neither scales nor sizes are constant"
    return maps if all(m.size > 0 and m.resized > 0 for m in maps) else "an empty tensor"

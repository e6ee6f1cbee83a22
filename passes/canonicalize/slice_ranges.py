"""Slices as ranges an axis: reading, joining and writing them.

Python's slices clamp negative and too large bounds exactly as the ONNX operator does, steps below 0 included, so
``range(size)[start:end:step]`` are the indices that a Slice takes, and slicing that again composes two Slices.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.rewrite_pass import Builder

INPUTS_OPSET = 10
"""From here on, starts, ends, axes and steps are inputs, not attributes."""
OPEN_END = np.iinfo(np.int64).max
"""An end that no tensor reaches."""
PAST_FRONT = np.iinfo(np.int64).min
"""An end before the first element, for steps below 0."""

Bounds = tuple[int, int, int]
"""Start, end, step, as a Slice has them."""
Ranges = dict[int, Bounds]
"""Axis, 0 or above, -> bounds; axes that are not named are taken whole."""


def size_of(value: ir.Value, axis: int) -> int | None:
    """The size of ``axis``, if it is known."""
    size = None if value.shape is None else value.shape[axis]
    return size if isinstance(size, int) else None


def read_slice(node: ir.Node, opset: int) -> Ranges | None:
    """The ranges of a Slice; None if they are not constant, or an axis cannot be told."""
    if opset >= INPUTS_OPSET:
        given = [constant_array(v) for v in node.inputs[1:]]
        if any(a is None and v is not None for a, v in zip(given, node.inputs[1:], strict=True)):
            return None
        parts = [None if a is None else [int(x) for x in a.ravel()] for a in given]
    else:
        attributes = [node.attributes.get_ints(name) for name in ("starts", "ends", "axes")]
        parts = [None if a is None else list(a) for a in attributes]
    starts, ends, axes, steps = (*parts, None, None)[:4]
    if starts is None or ends is None:
        return None
    found: Ranges = {}
    for i, axis in enumerate(axes if axes is not None else range(len(starts))):
        shape = node.inputs[0].shape if node.inputs[0] is not None else None
        if axis < 0 and shape is None:
            return None
        found[axis + len(shape) if axis < 0 and shape is not None else axis] = (
            starts[i],
            ends[i],
            steps[i] if steps is not None else 1,
        )
    return found if len(found) == len(starts) else None


def compose(first: Bounds, second: Bounds, size: int | None) -> Bounds | None:
    """The bounds of slicing by ``first``, then by ``second``.

    Args:
        first, second: Bounds on the same axis.
        size: Of that axis before both; without it, only bounds from 0 up and steps of 1 can be composed.
    """
    if size is not None:
        return bounds_of(range(size)[slice(*first)][slice(*second)])
    (a, b, step), (c, d, second_step) = first, second
    if min(a, b, c, d) < 0 or (step, second_step) != (1, 1):
        return None
    return min(a + c, OPEN_END), min(a + d, b, OPEN_END), 1


def bounds_of(indices: range) -> Bounds:
    """The bounds by which a Slice takes just ``indices``, which lie within its axis."""
    if not indices:
        return 0, 0, 1
    end = indices.stop if indices.stop >= 0 else PAST_FRONT
    return indices.start, end, indices.step


def is_whole(bounds: Bounds, size: int | None) -> bool:
    """True if ``bounds`` take all of an axis, in order."""
    if size is None:
        return bounds[0] == 0 and bounds[1] == OPEN_END and bounds[2] == 1
    return range(size)[slice(*bounds)] == range(size)


def write_slice(source: ir.Value, ranges: Mapping[int, Bounds], build: Builder) -> ir.Value:
    """A Slice of ``source``, or ``source`` if ``ranges`` take all of it."""
    kept = {axis: b for axis, b in sorted(ranges.items()) if not is_whole(b, size_of(source, axis))}
    if not kept:
        return source
    starts, ends, steps = zip(*kept.values(), strict=True)
    if build.opset < INPUTS_OPSET:
        return build.op("Slice", source, starts=starts, ends=ends, axes=tuple(kept))
    arrays = [np.array(part, np.int64) for part in (starts, ends, tuple(kept))]
    if any(step != 1 for step in steps):
        arrays.append(np.array(steps, np.int64))
    return build.op("Slice", source, *arrays)

"""Nodes whose attributes became inputs in later operator sets, written for the operator set of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.rewrite_pass import Builder

INPUTS_SINCE = 13
"""From this operator set on, Split, Squeeze, Unsqueeze and ReduceSum get sizes and axes as inputs."""
SPLIT_COUNTS_SINCE = 18
"""From this operator set on, a Split into equal parts is told how many."""
REDUCTION_INPUTS_SINCE = 18
"""From this operator set on, the other reductions get their axes as an input."""
SLICE_INPUTS_SINCE = 10
"""From this operator set on, Slice gets its bounds as inputs."""


def split(build: Builder, value: ir.Value, sizes: Sequence[int], axis: int) -> tuple[ir.Value, ...]:
    """Parts of ``value`` of the given sizes along ``axis``; ``value`` itself if there is one part only."""
    if len(sizes) == 1:
        return (value,)
    if len(set(sizes)) == 1 and build.opset >= INPUTS_SINCE:
        count: dict[str, Any] = {"num_outputs": len(sizes)} if build.opset >= SPLIT_COUNTS_SINCE else {}
        first = build.op("Split", value, axis=axis, **count)  # ONNX Runtime wants long lists of sizes within the file
    elif build.opset < INPUTS_SINCE:
        first = build.op("Split", value, axis=axis, split=list(sizes))
    else:
        first = build.op("Split", value, np.array(sizes, np.int64), axis=axis)
    return build.outputs(first, len(sizes))


def unsqueeze(build: Builder, value: ir.Value, axis: int) -> ir.Value:
    """``value`` with an axis of size 1 at ``axis`` of the result."""
    if build.opset < INPUTS_SINCE:
        return build.op("Unsqueeze", value, axes=[axis])
    return build.op("Unsqueeze", value, np.array([axis]))


def reduce(build: Builder, op_type: str, value: ir.Value, axes: Sequence[int], *, keepdims: bool = True) -> ir.Value:
    """A reduction of ``value`` over ``axes``."""
    since = INPUTS_SINCE if op_type == "ReduceSum" else REDUCTION_INPUTS_SINCE
    if build.opset < since:
        return build.op(op_type, value, axes=list(axes), keepdims=int(keepdims))
    return build.op(op_type, value, np.array(axes, np.int64), keepdims=int(keepdims))


def cut(build: Builder, value: ir.Value, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int]) -> ir.Value:
    """A Slice of ``value`` with steps of 1."""
    if build.opset < SLICE_INPUTS_SINCE:
        return build.op("Slice", value, starts=list(starts), ends=list(ends), axes=list(axes))
    return build.op("Slice", value, *(np.array(part, np.int64) for part in (starts, ends, axes)))

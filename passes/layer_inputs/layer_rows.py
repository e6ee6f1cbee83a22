"""The input of a Conv, MatMul or Gemm as the rows that it multiplies with its weight matrix, at sampled positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

Array = np.ndarray[Any, np.dtype[Any]]


def layer_rows(
    node: ir.Node, array: Array, weight_shape: tuple[int, ...], limit: int, rng: np.random.Generator, *, fill: float = 0
) -> Array:
    """Rows ``x`` of ``y = x @ W``.

    Args:
        node: A Conv or QLinearConv, else a matrix product.
        array: Its first input: ``(B, C, spatial...)`` or ``(..., K)``.
        weight_shape: Of the weight as stored, ``(M, C / group, kernel...)`` of a convolution.
        limit: At most so many positions, drawn without repetition and kept in order; all if there are no more.
        rng: Draws them.
        fill: Value of the borders of a convolution; a quantized zero is the zero point.

    Returns:
        ``(groups, P, K)``, of a convolution K over (kernel..., channel of the group); groups is 1 of a matrix product.
    """
    if node.op_type not in ("Conv", "QLinearConv"):
        if node.op_type == "Gemm" and bool(node.attributes.get_int("transA", 0)):
            array = array.T
        rows = array.reshape(-1, array.shape[-1])
        return rows[draw_positions(len(rows), limit, rng)][None]
    kernel = weight_shape[2:]
    group = node.attributes.get_int("group", 1)
    strides = node.attributes.get_ints("strides", [1] * len(kernel))
    dilations = node.attributes.get_ints("dilations", [1] * len(kernel))
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _pads(node, array.shape[2:], extents, strides)
    padded = np.pad(array, [(0, 0), (0, 0), *pads], constant_values=fill)
    axes = tuple(range(2, padded.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(padded, extents, axis=axes)
    steps = (
        slice(None),
        slice(None),
        *(slice(None, None, s) for s in strides),
        *(slice(None, None, d) for d in dilations),
    )
    windows = np.moveaxis(windows[steps], 1, len(kernel) + 1)
    chosen = np.unravel_index(
        draw_positions(int(np.prod(windows.shape[: len(kernel) + 1])), limit, rng), windows.shape[: len(kernel) + 1]
    )
    taken = windows[chosen]  # (P, C, kernel...)
    grouped = taken.reshape(len(taken), group, -1, *kernel)
    order = (1, 0, *range(3, grouped.ndim), 2)
    return np.ascontiguousarray(grouped.transpose(order).reshape(group, len(taken), -1))


def draw_positions(count: int, limit: int, rng: np.random.Generator) -> Array:
    """Which of ``count`` rows are taken: ``limit`` of them in order, each with the same chance; all if there are no more."""
    return np.arange(count) if count <= limit else np.sort(rng.choice(count, limit, replace=False))


def _pads(node: ir.Node, sizes: tuple[int, ...], extents: list[int], strides: Any) -> list[tuple[int, int]]:
    """Borders before and after each spatial axis."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    rank = len(extents)
    if mode == "NOTSET":
        pads = node.attributes.get_ints("pads", [0] * (2 * rank))
        return [(pads[i], pads[rank + i]) for i in range(rank)]
    if mode == "VALID":
        return [(0, 0)] * rank
    found = []
    for size, extent, stride in zip(sizes, extents, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        first = total // 2 if mode == "SAME_UPPER" else -(-total // 2)
        found.append((first, total - first))
    return found

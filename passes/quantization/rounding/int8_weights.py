"""Round weights of matrix products and convolutions to 8 bits, on plain arrays.

What makes weights *pair-safe*, so that machines that add pairs of products in 16 bits do not clip them,
is told in ``compiler/analysis/integer_products.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.compiler.analysis.integer_products import PAIR_LIMIT, conv_matrices, conv_weight, pair_extremes

Array = np.ndarray[Any, np.dtype[Any]]
MAX_ROWS = (2**31 - 1) // (255 * 128)
"""More products than this could overflow the 32-bit sum."""


@dataclass(frozen=True)
class Int8Weight:
    """``weight ~ scale * (quantized - zero_point)``.

    Args:
        quantized: ``(K, N)``, a stack of those, or the weight of a convolution; int8 or uint8.
        scale: One an output channel (``(N,)``, of a stack ``(groups, N)``) or ``()``, float32, positive.
        zero_point: Like ``scale``, of the type of ``quantized``; None stands for 0.
    """

    quantized: Array
    scale: Array
    zero_point: Array | None = None


def quantize_int8(weight: Array, *, per_channel: bool, pair_safe: bool) -> Int8Weight:
    """Symmetric int8 in -127..127.

    Args:
        weight: ``(K, N)`` or ``(groups, K, N)``, float; K in the order in which the kernel adds.
        per_channel: One scale a column, else one in all.
        pair_safe: Enlarge scales until no pair can saturate: by the root of the worst pair's excess, repeatedly.
    """
    wide = weight.astype(np.float64)
    scale = _positive(np.abs(wide).max(axis=-2 if per_channel else None) / 127)
    while True:
        quantized = np.clip(np.rint(wide / (scale[..., None, :] if per_channel else scale)), -127, 127)
        worst = pair_extremes(quantized)
        worst = worst if per_channel else worst.max()
        if not pair_safe or np.all(worst <= PAIR_LIMIT):
            return Int8Weight(quantized.astype(np.int8), scale)
        scale = (scale * np.sqrt(np.maximum(worst, PAIR_LIMIT) / PAIR_LIMIT)).astype(np.float32)


def quantize_conv(weight: Array, *, group: int, per_channel: bool, pair_safe: bool) -> Int8Weight:
    """Symmetric int8 of the weight ``(M, C / group, kernel...)`` of a convolution, scale ``(M,)`` or ``()``.

    Weights of depthwise convolutions with one output a channel are always safe and never enlarged.
    """
    depthwise = weight.shape[1] == 1 and weight.shape[0] == group
    found = quantize_int8(conv_matrices(weight, group), per_channel=per_channel, pair_safe=pair_safe and not depthwise)
    scale = found.scale.reshape(-1) if per_channel else found.scale
    return Int8Weight(conv_weight(found.quantized, weight.shape), scale)


def quantize_uint8(weight: Array, *, per_channel: bool) -> Int8Weight:
    """Asymmetric uint8 over the range of the weights, which is widened to hold 0; its products never saturate."""
    wide = weight.astype(np.float64)
    axis = 0 if per_channel else None
    low, high = np.minimum(wide.min(axis=axis), 0), np.maximum(wide.max(axis=axis), 0)
    scale = _positive((high - low) / 255)
    zero_point = np.clip(np.rint(-low / scale), 0, 255)
    quantized = np.clip(np.rint(wide / scale) + zero_point, 0, 255)
    return Int8Weight(quantized.astype(np.uint8), scale, zero_point.astype(np.uint8))


def _positive(scale: Array) -> Array:
    """Scales as float32; 1 where all weights are so small that the scale would vanish."""
    rounded = np.asarray(scale).astype(np.float32)
    return np.where(rounded > 0, rounded, np.float32(1))

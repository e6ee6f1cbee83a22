"""Round weight matrices to 8 bits, on plain arrays.

Machines whose 8-bit dot products clip pairs of products to int16 (x86 without VNNI) compute
``a0 w0 + a1 w1`` wrongly once it leaves the range, with ``a`` in 0..255 and ``w`` in two consecutive
rows of a column. Weights are *pair-safe* if that cannot happen: the positive parts of each pair add up
to at most 128 and the negative parts to at least -128, since 255 * 128 < 2**15.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
PAIR_LIMIT = 128
MAX_ROWS = (2**31 - 1) // (255 * 128)
"""More products than this could overflow the 32-bit sum."""


@dataclass(frozen=True)
class Int8Weight:
    """``weight ~ scale * (quantized - zero_point)``.

    Args:
        quantized: ``(K, N)``, int8 or uint8.
        scale: ``(N,)`` or ``()``, float32, positive.
        zero_point: Like ``scale``, of the type of ``quantized``; None stands for 0.
    """

    quantized: Array
    scale: Array
    zero_point: Array | None = None


def quantize_int8(weight: Array, *, per_channel: bool, pair_safe: bool) -> Int8Weight:
    """Symmetric int8 in -127..127.

    Args:
        weight: ``(K, N)``, float.
        per_channel: One scale a column, else one in all.
        pair_safe: Enlarge scales until no pair can saturate: by the root of the worst pair's excess, repeatedly.
    """
    wide = weight.astype(np.float64)
    scale = _positive(np.abs(wide).max(axis=0 if per_channel else None) / 127)
    while True:
        quantized = np.clip(np.rint(wide / scale), -127, 127)
        worst = pair_extremes(quantized)
        worst = worst if per_channel else worst.max()
        if not pair_safe or np.all(worst <= PAIR_LIMIT):
            return Int8Weight(quantized.astype(np.int8), scale)
        scale = (scale * np.sqrt(np.maximum(worst, PAIR_LIMIT) / PAIR_LIMIT)).astype(np.float32)


def quantize_uint8(weight: Array, *, per_channel: bool) -> Int8Weight:
    """Asymmetric uint8 over the range of the weights, which is widened to hold 0; its products never saturate."""
    wide = weight.astype(np.float64)
    axis = 0 if per_channel else None
    low, high = np.minimum(wide.min(axis=axis), 0), np.maximum(wide.max(axis=axis), 0)
    scale = _positive((high - low) / 255)
    zero_point = np.clip(np.rint(-low / scale), 0, 255)
    quantized = np.clip(np.rint(wide / scale) + zero_point, 0, 255)
    return Int8Weight(quantized.astype(np.uint8), scale, zero_point.astype(np.uint8))


def pair_extremes(quantized: Array) -> Array:
    """Per column, the largest sum of positive parts, or of negative parts without sign, of rows 2j and 2j+1."""
    rows = quantized if len(quantized) % 2 == 0 else np.vstack([quantized, np.zeros_like(quantized[:1])])
    positive = np.maximum(rows, 0)[0::2] + np.maximum(rows, 0)[1::2]
    negative = np.minimum(rows, 0)[0::2] + np.minimum(rows, 0)[1::2]
    extremes: Array = np.maximum(positive.max(axis=0), -negative.min(axis=0))
    return extremes


def _positive(scale: Array) -> Array:
    """Scales as float32; 1 where all weights are so small that the scale would vanish."""
    rounded = np.asarray(scale).astype(np.float32)
    return np.where(rounded > 0, rounded, np.float32(1))

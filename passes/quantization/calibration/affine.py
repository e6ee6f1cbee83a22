"""The affine map between numbers and integers, on plain arrays, with the bits of the ONNX operators.

``q = saturate(round(x / scale) + zero_point)`` and ``x ~ (q - zero_point) * scale``, rounding half to even.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = np.ndarray[Any, np.dtype[Any]]
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
"""The smallest scale that is not denormal: units flush smaller ones to 0."""
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Affine:
    """One scale and zero point for a tensor, or one for each index of an axis.

    Args:
        scale: float32, ``()`` or ``(N,)``; positive and not denormal.
        zero_point: Of the quantized type, shaped like ``scale``.
        axis: Axis of length N; None for one scale in all.
    """

    scale: Array
    zero_point: Array
    axis: int | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The quantized type."""
        return self.zero_point.dtype

    def quantize(self, x: Array) -> Array:
        """The integers that QuantizeLinear gives for float32 ``x``; NaN becomes the smallest one, as on x86.

        QuantizeLinear does not write int32: biases are rounded in double precision.
        """
        scale, zero = (self._along(a, x.ndim) for a in (self.scale, self.zero_point))
        limits = np.iinfo(self.dtype)
        wide = np.float64 if self.dtype.itemsize > 2 else np.float32
        with np.errstate(over="ignore", invalid="ignore"):
            steps = x.astype(wide) / scale.astype(wide)
        offset = zero.astype(np.int64)
        steps = np.fmin(np.fmax(steps, (limits.min - offset).astype(wide)), (limits.max - offset).astype(wide))
        quantized: Array = (np.rint(steps).astype(np.int64) + offset).astype(self.dtype)
        return quantized

    def dequantize(self, quantized: Array) -> Array:
        """The float32 numbers that DequantizeLinear gives."""
        scale, zero = (self._along(a, quantized.ndim) for a in (self.scale, self.zero_point))
        steps = (quantized.astype(np.int64) - zero.astype(np.int64)).astype(np.float32)
        with np.errstate(over="ignore"):
            values: Array = steps * scale
        return values

    def round_trip(self, x: Array) -> Array:
        """What becomes of ``x`` by quantizing it and back; float32."""
        return self.dequantize(self.quantize(x))

    def _along(self, array: Array, rank: int) -> Array:
        if self.axis is None:
            return array
        shape = [1] * rank
        shape[self.axis] = array.size
        return array.reshape(shape)


def affine_of_range(
    low: npt.ArrayLike, high: npt.ArrayLike, dtype: npt.DTypeLike, *, symmetric: bool, axis: int | None = None
) -> Affine:
    """The map whose integers cover ``low`` to ``high``, and 0 exactly.

    Args:
        low, high: Numbers, or arrays ``(N,)`` with one range for each index of ``axis``; finite. They are widened to
            hold 0.
        dtype: int8, uint8, int16, uint16 or int32.
        symmetric: Zero point in the middle: 0 for signed types, of which the smallest integer is then not used (int8:
            -127 to 127), and 2**(bits - 1) for unsigned ones.
        axis: Of the ranges, if there are several.

    Returns:
        Scale 1 where the range is only 0. A range too small for a scale that is not denormal gets the smallest one.
    """
    kind = np.dtype(dtype)
    least, most = (int(limit) for limit in (np.iinfo(kind).min, np.iinfo(kind).max))
    below = np.clip(np.asarray(low, np.float64), -LARGEST, 0)
    above = np.clip(np.asarray(high, np.float64), 0, LARGEST)
    middle = (least + most + 1) // 2
    width = np.maximum(-below, above) / (most - middle) if symmetric else (above - below) / (most - least)
    scale = np.maximum(np.where(width > 0, width, 1.0), SMALLEST_SCALE).astype(np.float32)
    zero = np.full(scale.shape, middle, kind)
    if not symmetric:
        zero = np.clip(np.rint(least - below / scale.astype(np.float64)), least, most).astype(kind)
    return Affine(np.asarray(scale), np.asarray(zero), axis)

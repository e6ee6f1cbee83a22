"""Which elements along one axis a Resize reads for each element that it gives, and by what they are weighted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
F32 = np.float32


@dataclass(frozen=True)
class AxisMap:
    """How one axis is resized.

    Args:
        size: Of the input.
        resized: Size of the output.
        scale: As given, or ``resized / size``.
        coordinates: The attribute coordinate_transformation_mode.
    """

    size: int
    resized: int
    scale: np.float32
    coordinates: str

    def original(self) -> Array | None:
        """Where each element lies in the input, computed in float32 as ONNX Runtime does; None for unknown modes."""
        at = np.arange(self.resized, dtype=F32)
        centred = (at + F32(0.5)) / self.scale - F32(0.5)
        match self.coordinates:
            case "asymmetric":
                return at / self.scale
            case "half_pixel":
                return centred
            case "pytorch_half_pixel":
                return centred if self.resized > 1 else np.zeros(1, F32)
            case "tf_half_pixel_for_nn":
                return (at + F32(0.5)) / self.scale
            case "align_corners":
                return at * F32(self.size - 1) / F32(self.resized - 1) if self.resized > 1 else np.zeros(1, F32)
            case "half_pixel_symmetric":
                adjustment = F32(self.resized) / (self.scale * F32(self.size))
                return F32(self.size / 2) * (F32(1) - adjustment) + centred
        return None


ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - F32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + F32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


def nearest(axis: AxisMap, rounding: str) -> Array | None:
    """The index that each element is read from; ``simple`` is the rule of operator sets before 11."""
    x = axis.original()
    if x is None:
        return None
    if rounding == "simple":
        rounding = "ceil" if axis.scale < 1 else "floor"
    return np.clip(ROUNDINGS[rounding](x), 0, axis.size - 1).astype(np.int64)


def linear(axis: AxisMap) -> Array | None:
    """``(resized, size)``: two weights a row."""
    x = axis.original()
    if x is None:
        return None
    x = np.clip(x, 0, F32(axis.size - 1))
    low = np.floor(x).astype(np.int64)
    return _rows(axis.size, np.stack([low, low + 1], 1), np.stack([1 - (x - low), x - low], 1))


def cubic(axis: AxisMap, a: float, *, exclude_outside: bool) -> Array | None:
    """``(resized, size)``: four weights a row; what lies outside counts as the border, or not at all."""
    x = axis.original()
    if x is None:
        return None
    low = np.floor(x).astype(np.int64)
    indices = low[:, None] + np.arange(-1, 3)
    weights = _cubic_filter(x[:, None].astype(np.float64) - indices, a)
    if exclude_outside:
        weights = weights * ((indices >= 0) & (indices < axis.size))
        weights = weights / weights.sum(axis=1, keepdims=True)
    return _rows(axis.size, indices, weights)


def _rows(size: int, indices: Array, weights: Array) -> Array:
    found = np.zeros((len(indices), size))
    np.add.at(found, (np.arange(len(indices))[:, None], np.clip(indices, 0, size - 1)), weights)
    return found


def _cubic_filter(distance: Array, a: float) -> Array:
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))

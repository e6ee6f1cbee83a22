"""Which input element a nearest-neighbour Resize takes for each output element, computed as the operator defines it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
INTERIOR = 3
"""A length whose middle is not clamped at the ends, for maps that repeat."""


def _half_pixel(x: Array, scale: int, length: int) -> Array:
    return (x + 0.5) / scale - 0.5


def _pytorch_half_pixel(x: Array, scale: int, length: int) -> Array:
    return _half_pixel(x, scale, length) if len(x) > 1 else np.zeros_like(x)


def _asymmetric(x: Array, scale: int, length: int) -> Array:
    return x / scale


def _half_pixel_for_nn(x: Array, scale: int, length: int) -> Array:
    return (x + 0.5) / scale


def _align_corners(x: Array, scale: int, length: int) -> Array:
    return np.zeros_like(x) if len(x) == 1 else x * (length - 1) / (len(x) - 1)


COORDINATES: dict[str, Callable[[Array, int, int], Array]] = {
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel,  # for whole factors, nothing is cut off that symmetry would have to share
    "pytorch_half_pixel": _pytorch_half_pixel,
    "tf_half_pixel_for_nn": _half_pixel_for_nn,
}
ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
}


def repeats_elements(coordinates: str, rounding: str, factor: int, length: int | None) -> bool:
    """True if output element i is input element floor(i / factor), for every i.

    Args:
        coordinates: The attribute ``coordinate_transformation_mode``.
        rounding: The attribute ``nearest_mode``.
        factor: How many times longer the axis becomes.
        length: Of the axis of the input; None if it is not known. Coordinates then advance by 1 every ``factor``
            elements, so that the middle of a short axis stands for all, except with ``align_corners``.

    Both float32, with which runtimes compute, and float64 must give that.
    """
    if coordinates not in COORDINATES or rounding not in ROUNDINGS:
        return False
    if length is None and coordinates == "align_corners":
        return False
    size = INTERIOR if length is None else length
    wanted = np.floor_divide(np.arange(size * factor), factor)
    for precision in (np.float32, np.float64):
        found = ROUNDINGS[rounding](COORDINATES[coordinates](np.arange(size * factor, dtype=precision), factor, size))
        if not np.array_equal(found if length is None else np.clip(found, 0, size - 1), wanted):
            return False
    return True

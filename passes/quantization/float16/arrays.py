"""Round arrays to float16 and tell what that loses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

LARGEST = 65504.0
"""Largest finite float16."""


@dataclass(frozen=True)
class Rounded:
    """An array in float16.

    Args:
        array: The rounded elements.
        overflows: True if a finite element became infinite.
        vanished: Elements that became zero.
    """

    array: np.ndarray[Any, np.dtype[np.float16]]
    overflows: bool
    vanished: int

    @property
    def refusal(self) -> str | None:
        """Why the rounded array may not stand in for the original; None if it may.

        A single number that vanishes is usually a guard against division by zero; of a weight, small
        elements may vanish.
        """
        if self.overflows:
            return "constant is outside the range of float16"
        if self.vanished and self.array.size == 1:
            return "constant vanishes in float16"
        return None


def round_float16(array: np.ndarray[Any, Any]) -> Rounded:
    """``array`` of float32, to nearest even."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = array.astype(np.float16)
    overflows = bool(np.any(np.isinf(rounded) & np.isfinite(array)))
    return Rounded(rounded, overflows, int(np.count_nonzero((rounded == 0) & (array != 0))))

"""How many directions of a layer stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class RankRule:
    """Chooses ranks, multiples of ``multiple`` but where all directions stay.

    Args:
        energy: Least part of the output's energy that stays, if no ``ratio`` is given.
        ratio: Multiplications of the new layers over those of the old one, at most.
        multiple: Channel counts that are fast.
    """

    energy: float
    ratio: float | None = None
    multiple: int = 8

    def by_energy(self, gains: Array, whole: float, most: int, share: float = 1.0) -> int:
        """The least rank that loses at most ``share`` of what may be lost; ``most`` if none does.

        Args:
            gains: Energy that each direction adds, in their order.
            whole: Energy of all.
            most: Number of directions that can differ from zero.
            share: Part of the loss that is this choice's.
        """
        wanted = (1 - (1 - self.energy) * share) * whole * (1 - 1e-9)
        enough = np.flatnonzero(np.cumsum(gains[:most]) >= wanted)
        rank = int(enough[0]) + 1 if len(enough) else most
        return min(-(-rank // self.multiple) * self.multiple, most)

    def fitting(self, size: float, most: int) -> int:
        """``size`` rounded down to a multiple, at least one of them, at most ``most``."""
        return min(max(int(size) // self.multiple, 1) * self.multiple, most)

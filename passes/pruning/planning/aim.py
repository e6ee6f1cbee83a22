"""What to ask a cost model for so that a measurement gives the goal, although the model is off.

A model that is off by a factor is corrected by it. Where time falls in steps (a kernel that changes at some width), that
alone swings between too much and too little; so the next part always lies between the parts that turned out too small
and too large, at the latest in their geometric mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Aim:
    """Parts to ask for, one after the other.

    Args:
        goal: What is to be measured, as a part of the whole.
        part: To ask for; at first, as if the model were right.
    """

    goal: float
    part: float
    _enough: float = field(default=0.0, init=False)
    """Largest part that was asked for and gave no more than the goal."""
    _too_little: float = field(default=1.0, init=False)
    """Smallest part that was asked for and gave more than the goal; the whole certainly does."""

    def correct(self, measured: float) -> None:
        """Take into account what asking for ``part`` gave."""
        if measured > self.goal:
            self._too_little = min(self._too_little, self.part)
        else:
            self._enough = max(self._enough, self.part)
        self.part *= self.goal / measured
        if not self._enough < self.part < self._too_little:
            self.part = math.sqrt(self._enough * self._too_little)

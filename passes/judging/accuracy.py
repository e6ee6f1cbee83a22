"""Whether a candidate holds the accuracy budget, with a margin for what the labelled samples cannot tell.

A search looks at many candidates and keeps a fast one that holds, so what it keeps is likely to look better on its samples
than it is. A candidate holds if::

    drop + min(standard error of the drop, max_drop / 2) <= max_drop

With one standard error, five of six candidates on the limit hold on other samples like these. Where the standard error is more
than half of the budget, the samples are too few to tell a drop of that size at all; then half of the budget must be left,
and also where the metric has no value on a part of the samples, so that there is no standard error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from tamis.compiler.judge import Judge
from tamis.compiler.paired_drop import Drop
from tamis.compiler.verify import DEFAULT_MIN_SQNR

MOST = 0.5
"""Largest margin, as a part of the budget."""


@dataclass(frozen=True)
class Accuracy:
    """What one look at a candidate showed.

    Args:
        excess: By how much the budget is broken, margin included, in parts of it; it holds at 0 and below.
        drop: Of the task metric; None without labelled samples, or where noise alone breaks the budget.
        margin: What must be left of the budget.
    """

    excess: float
    drop: Drop | None = None
    margin: float = 0.0


class AccuracyLook:
    """Looks at candidates.

    Args:
        judge: Knows the budget.
        reference: The model in float.
        seed: Of the order in which samples are looked at.
    """

    def __init__(self, judge: Judge, reference: ir.Model, seed: int) -> None:
        self._judge = judge
        self._drop_of = None if judge.max_drop is None else judge.drop_meter(reference, seed)

    def __call__(self, model: ir.Model) -> Accuracy:
        """Noise first, since it takes few runs; the task metric only if that holds."""
        floor = DEFAULT_MIN_SQNR if self._judge.min_sqnr is None else self._judge.min_sqnr
        sqnr = self._judge.sqnr_db(model)
        if math.isnan(sqnr) or sqnr == -math.inf:
            return Accuracy(math.inf)
        noise = (floor - sqnr) / DEFAULT_MIN_SQNR
        max_drop = self._judge.max_drop
        if self._drop_of is None or max_drop is None or noise > 0:
            return Accuracy(noise)
        drop = self._drop_of(model, max_drop)
        margin = margin_of(drop, max_drop)
        excess = (drop.value + margin - max_drop) / (max_drop or 1.0)
        return Accuracy(math.inf if math.isnan(excess) else max(noise, excess), drop, margin)


def margin_of(drop: Drop, max_drop: float) -> float:
    """What must be left of ``max_drop``: one standard error, at most half of it."""
    most = MOST * max_drop
    return most if drop.error is None else min(drop.error, most)

"""What pruning is to reach: a part of the time, the multiply-accumulates or the bytes, or the fastest within a drop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from tamis.compiler.judge import Judge
from tamis.passes.pruning.allocation.cost import Cost
from tamis.passes.pruning.allocation.latency_cost import measure_latency
from tamis.passes.pruning.allocation.macs_cost import MacsCost
from tamis.passes.pruning.allocation.size_cost import SizeCost
from tamis.passes.pruning.axes.axis_graph import AxisGraph

Kind = Literal["latency", "macs", "size"]
SLACK = 1.03
"""A measured latency may be above its goal by this factor; rough measurements are no more certain."""


@dataclass(frozen=True)
class Goal:
    """A part of what the model costs as it is.

    Args:
        kind: Of the cost.
        part: Above 0, below 1.
    """

    kind: Kind
    part: float

    def by(self, fraction: float) -> Goal:
        """The goal of a first step, ``fraction`` of the whole way; parts multiply."""
        return Goal(self.kind, self.part**fraction)

    def shortfall(self, reached: float) -> str | None:
        """What to say if ``reached`` is too much; None if it is not."""
        if reached <= self.part * (SLACK if self.kind == "latency" else 1.0 + 1e-9):
            return None
        return f"wanted {self.kind} at {self.part:.2f} of the model as given, got {reached:.2f}"


def cost_of(
    kind: Kind,
    graph: AxisGraph,
    model: ir.Model,
    judge: Judge | None,
    *,
    multiple: int,
    seed: int,
    progress: Callable[[float, str], None],
) -> Cost:
    """What widths cost, in the unit of a goal.

    Args:
        kind: Of the cost; ``latency`` needs a judge that measures.
        graph: Of ``model``.
        model: As it is, whole.
        judge: Measures.
        multiple, seed, progress: See ``measure_latency``.
    """
    if kind == "macs":
        return MacsCost(graph)
    if kind == "size":
        return SizeCost(graph)
    assert judge is not None
    return measure_latency(graph, model, judge, multiple=multiple, seed=seed, progress=progress)

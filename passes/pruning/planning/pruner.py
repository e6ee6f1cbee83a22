"""Take units out of a model and repair what is left, as often as wanted, against the model as it was at first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds, Skip
from tamis.passes.pruning.axes.axis_graph import VIEWS, AxisGraph
from tamis.passes.pruning.axes.remove import remove
from tamis.passes.pruning.compensation.merge import merge
from tamis.passes.pruning.compensation.refit import refit
from tamis.passes.pruning.compensation.survivors import Survivors, compose, survivors

Compensation = Literal["refit", "merge", "none"]
Cut = Mapping[str, Sequence[int]]
"""Name of a group -> the units that go."""


@dataclass
class Pruner:
    """A model that is pruned in place.

    Args:
        model: With names for all nodes.
        reference: The model as it was at first.
        compensation: How what is left is repaired.
        samples: Calibration samples; needed by ``refit``.
        max_samples, positions, seed: See ``refit``.
        progress: Gets (fraction done, a note).
    """

    model: ir.Model
    reference: ir.Model
    compensation: Compensation
    samples: Callable[[], Iterable[Feeds]] | None
    max_samples: int
    positions: int
    seed: int
    progress: Callable[[float, str], None]
    merged: int = field(default=0, init=False)
    refitted: int = field(default=0, init=False)
    skips: tuple[Skip, ...] = field(default=(), init=False)
    """What the last repair left alone."""
    _left: dict[str, Survivors] = field(default_factory=dict, init=False)

    def graph(self) -> AxisGraph:
        """Of the model as it is."""
        return AxisGraph(self.model, VIEWS)

    def cut(self, units: Cut) -> None:
        """Take units out, and repair.

        Args:
            units: Of the groups of ``graph()``.
        """
        graph = self.graph()
        removal = {graph.group(name): np.asarray(gone, np.int64) for name, gone in units.items() if len(gone)}
        if self.compensation == "merge":
            self.merged += merge(graph, removal)
        left = survivors(remove(graph, removal), self.model.graph)
        self._left = compose(self._left, left)
        if self.compensation == "refit":
            assert self.samples is not None
            done = refit(
                self.model,
                self.reference,
                self._left,
                self.samples,
                positions=self.positions,
                max_samples=self.max_samples,
                seed=self.seed,
                progress=self.progress,
            )
            self.refitted, self.skips = done.layers, done.skips

    def copy(self) -> Pruner:
        """The same with a copy of the model."""
        fresh = Pruner(
            self.model.clone(),
            self.reference,
            self.compensation,
            self.samples,
            self.max_samples,
            self.positions,
            self.seed,
            self.progress,
        )
        fresh._left = dict(self._left)
        return fresh

    def sizes_only(self, units: Cut) -> ir.Model:
        """A copy with units taken out and nothing repaired: as fast as the repaired one."""
        copy = self.model.clone()
        graph = AxisGraph(copy, VIEWS)
        remove(graph, {graph.group(name): np.asarray(gone, np.int64) for name, gone in units.items() if len(gone)})
        return copy

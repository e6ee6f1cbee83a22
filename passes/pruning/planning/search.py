"""Search for the units that go: allocate, take out, measure, correct, until a goal is reached.

A latency goal is reached by measurement: what an allocation really takes, from end to end, corrects the predictions, and
the next allocation aims accordingly, always between what was too much and what was too little. With several steps, each goes the same part of the way, and the importance of units
is taken anew from the repaired model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import onnx_ir as ir

from tamis.compiler.graph_pass import PassContext, Skip
from tamis.compiler.judge import Judge
from tamis.compiler.progress import Progress
from tamis.passes.pruning.allocation.allocate import Method, allocate
from tamis.passes.pruning.allocation.cost import Cost
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.importance.curve import Curve
from tamis.passes.pruning.importance.scores import score_groups
from tamis.passes.pruning.planning.aim import Aim
from tamis.passes.pruning.planning.goal import SLACK, Goal, Kind, cost_of
from tamis.passes.pruning.planning.pruner import Cut, Pruner
from tamis.passes.pruning.planning.renamed_cost import RenamedCost
from tamis.passes.pruning.planning.trials import scaled_by_trials

ROUNDS = 4
"""Allocations that are measured for one goal."""
CLOSE = 0.9
"""What takes less than this part of a latency goal takes more out than was asked for."""
POINTS = 24
"""Allocations on the way to the smallest model, for the search within a drop."""

Importance = Literal["obs", "l2", "l1", "act", "fpgm", "random"]


@dataclass(frozen=True)
class Found:
    """What goes.

    Args:
        cuts: One a step.
        predicted: What the cost model says of the result, as part of the whole.
        measured: Time of the result over that of the model as given; None where it was not measured.
        predictions: Predicted and measured parts of all allocations that were measured.
    """

    cuts: tuple[Cut, ...]
    predicted: float
    measured: float | None = None
    predictions: tuple[tuple[float, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For the tuning database."""
        return {
            "cuts": [{name: list(map(int, units)) for name, units in cut.items()} for cut in self.cuts],
            "predicted": self.predicted,
            "measured": self.measured,
            "predictions": [list(pair) for pair in self.predictions],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Found:
        """The inverse of ``to_json``."""
        predictions = tuple((float(a), float(b)) for a, b in stored["predictions"])
        return cls(tuple(stored["cuts"]), stored["predicted"], stored["measured"], predictions)


@dataclass(frozen=True)
class _Tried:
    """An allocation, with what is predicted and measured of it, as parts of the whole."""

    cut: Cut
    loss: float
    predicted: float
    measured: float


@dataclass
class Search:
    """A search over one model, which it prunes.

    Args:
        pruner: Of the model.
        context: Of the pass.
        eligible: Which groups of a graph may lose units.
        importance, method, multiple, min_keep: See the options of ``prune-channels``.
        trials: Whether losses are scaled to what arrives at the outputs.
        quiet: No progress bars.
    """

    pruner: Pruner
    context: PassContext
    eligible: Callable[[AxisGraph], list[Group]]
    importance: Importance
    method: Method
    multiple: int
    min_keep: float
    trials: bool
    quiet: bool
    skips: list[Skip] = field(default_factory=list)
    _predictions: list[tuple[float, float]] = field(default_factory=list, init=False)

    def reach(self, goal: Goal, steps: int) -> Found:
        """Prune to ``goal`` in so many steps."""
        first = self.pruner.graph()
        whole = self._cost(goal.kind, first)
        cuts: list[Cut] = []
        predicted, measured = 1.0, None
        for step in range(1, steps + 1):
            graph = first if step == 1 else self.pruner.graph()
            cost = RenamedCost(whole, first.groups, graph.groups)
            curves = self._curves(graph)
            done = cost.whole({}) / whole.whole({})
            cut, predicted, measured = self._aim(goal.by(step / steps), curves, cost, done, steps)
            cuts.append(cut)
            self.pruner.cut(cut)
        return Found(tuple(cuts), predicted, measured, tuple(self._predictions))

    def within(self, max_drop: float, kind: Kind, drop: Callable[[Pruner], float]) -> Found:
        """Prune as far as the task metric drops by at most ``max_drop``; ``drop`` measures it."""
        graph = self.pruner.graph()
        cost = self._cost(kind, graph)
        curves = self._curves(graph)
        path = allocate(
            list(curves), curves, cost, 0.0, method=self.method, multiple=self.multiple, min_keep=self.min_keep
        ).path
        ends = sorted({round(len(path) * (i + 1) / POINTS) for i in range(POINTS)} - {0})
        best: Cut = {}
        predicted = 1.0
        low, high = 0, len(ends)  # ends[:low] hold the limit, ends[high:] do not
        with Progress("fastest within the drop", quiet=self.quiet) as progress:
            while low < high:
                middle = (low + high) // 2
                taken = {block.group: block.removed for block in path[: ends[middle]]}
                cut = _units(taken, curves)
                trial = self.pruner.copy()
                trial.cut(cut)
                found = drop(trial)
                progress.update(1 - (high - low) / len(ends), f"{path[ends[middle] - 1].predicted:.2f}: {found:.4f}")
                if found <= max_drop:
                    low, best, predicted = middle + 1, cut, path[ends[middle] - 1].predicted
                else:
                    high = middle
        if not best:
            return Found((), 1.0)
        self.pruner.cut(best)
        return Found((best,), predicted, self._measured(self.pruner.model) if kind == "latency" else None)

    def _aim(
        self, goal: Goal, curves: Mapping[Group, Curve], cost: Cost, done: float, steps: int
    ) -> tuple[Cut, float, float | None]:
        """Units to take out, with what is predicted and measured of the result, as parts of the whole.

        Where the method comes from too little straight to much more than the goal, the same part of each group is tried, too:
        the least loss counts, whatever found it.
        """
        tried: list[_Tried] = []
        for method in dict.fromkeys((self.method, "uniform")):
            tried += self._rounds(method, goal, curves, cost, done, steps)
            if goal.kind != "latency" or any(goal.part * CLOSE <= t.measured <= goal.part * SLACK for t in tried):
                break
        if not tried:
            return {}, done, None
        fits = [t for t in tried if t.measured <= goal.part * SLACK]
        best = min(fits, key=lambda t: t.loss) if fits else min(tried, key=lambda t: t.measured)
        return best.cut, best.predicted, best.measured if goal.kind == "latency" else None

    def _rounds(
        self, method: Method, goal: Goal, curves: Mapping[Group, Curve], cost: Cost, done: float, steps: int
    ) -> list[_Tried]:
        """Allocations of one method on the way to a goal; where nothing is measured, one, as predicted."""
        aim = Aim(goal.part, min(goal.part / done, 1.0))
        tried: list[_Tried] = []
        for _ in range(ROUNDS if goal.kind == "latency" else 1):
            allocation = allocate(
                list(curves),
                curves,
                cost,
                aim.part,
                method=method,
                multiple=self.multiple,
                min_keep=self.min_keep ** (1 / steps),
            )
            cut = _units(allocation.removed, curves)
            predicted = allocation.predicted * done
            if goal.kind != "latency":
                return [_Tried(cut, allocation.loss, predicted, predicted)]
            if not cut or any(cut == before.cut for before in tried):
                break
            measured = self._measured(self.pruner.sizes_only(cut))
            self._predictions.append((predicted, measured))
            tried.append(_Tried(cut, allocation.loss, predicted, measured))
            if goal.part / SLACK <= measured <= goal.part * SLACK:
                break
            aim.correct(measured)
        return tried

    def _cost(self, kind: Kind, graph: AxisGraph) -> Cost:
        with Progress("cost of widths", quiet=self.quiet) as progress:
            return cost_of(
                kind,
                graph,
                self.pruner.model,
                self.context.judge,
                multiple=self.multiple,
                seed=self.context.seed,
                progress=progress.update,
            )

    def _curves(self, graph: AxisGraph) -> dict[Group, Curve]:
        """Losses of the units of each group."""
        with Progress("importance", quiet=self.quiet) as progress:
            scores = score_groups(
                graph,
                self.eligible(graph),
                self.importance,
                self.context.samples,
                positions=self.pruner.positions,
                seed=self.context.seed,
                progress=progress.update,
            )
        self.skips += [skip for skip in scores.skips if skip not in self.skips]
        if not self.trials or self.context.samples is None:
            return scores.curves
        with Progress("trials of groups", quiet=self.quiet) as progress:
            return scaled_by_trials(
                self.pruner.model,
                scores.curves,
                self.context.samples,
                positions=self.pruner.positions,
                seed=self.context.seed,
                progress=progress.update,
            )

    def _measured(self, pruned: ir.Model) -> float:
        """Time of a model over that of the model as given."""
        judge = self.context.judge
        assert isinstance(judge, Judge)
        return 1 / judge.rough_speedup(self.pruner.reference, pruned).speedup


def _units(removed: Mapping[Group, int], curves: Mapping[Group, Curve]) -> Cut:
    return {group.name: curves[group].first(count).tolist() for group, count in removed.items() if count}

"""Take whole channels, heads and hidden units out of a model until it is as fast or as small as wanted.

::

    W1: (32, C, 3, 3), b1: (32,)  ->  W1[kept], b1[kept]       what makes the channels
    W2: (M, 32, 3, 3)             ->  least squares of Y on X[kept]      what reads them

*Refuses*: goals that need calibration samples, labelled data or a target that measures where there are none. Left alone:
channels that are tied to something without a rule, to graph inputs or outputs, or to an axis that is normalized or reduced
over (``tamis analyze --pruning`` lists them with the reasons); groups that ``include`` and ``exclude`` leave out.
"""

from __future__ import annotations

from typing import Any, Literal

import onnx_ir as ir
from pydantic import Field, JsonValue, model_validator

from tamis.compiler.analysis.subject import name_nodes
from tamis.compiler.digest import model_digest, samples_digest
from tamis.compiler.graph_pass import Contract, Detail, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.progress import Progress
from tamis.passes.judging.accuracy import margin_of
from tamis.passes.pruning.allocation.allocate import Method
from tamis.passes.pruning.axes.axis_graph import VIEWS, AxisGraph
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.importance.scores import FROM_DATA
from tamis.passes.pruning.planning.goal import Goal, Kind
from tamis.passes.pruning.planning.pruner import Compensation, Pruner
from tamis.passes.pruning.planning.search import Found, Importance, Search
from tamis.passes.pruning.weight_selection import selection

KIND = "prune"
SEARCH = "3"
"""Of the search; a change of it makes stored decisions void."""
DEFAULT_MULTIPLE = 8
"""Where there is no target to ask."""


class Options(PassOptions):
    """Options of ``prune-channels``: one goal, and how it is reached."""

    latency: float | None = Field(
        None, gt=0, lt=1, description="Goal: time on the target, as part of what it takes now."
    )
    macs: float | None = Field(None, gt=0, lt=1, description="Goal: multiply-accumulates, as part of those now.")
    size: float | None = Field(None, gt=0, lt=1, description="Goal: bytes of weights, as part of those now.")
    max_drop: float | None = Field(
        None, ge=0, description="Goal: the fastest model whose task metric drops by at most this."
    )
    importance: Importance = Field(
        "obs",
        description="Which units go first: those whose readers lose least after repair (obs), with the least weights times "
        "activations (act), the least weights (l1, l2), nearest to the geometric median (fpgm), or by lot (random).",
    )
    compensation: Compensation = Field(
        "refit",
        description="Repair of what is left: least squares against the outputs of the layers as given (refit), removed "
        "channels merged into similar ones without data (merge), or none.",
    )
    allocation: Method = Field(
        "greedy",
        description="How many units of each group go: by least loss for what is saved, block by block (greedy) or all at "
        "once (knapsack), or the same part of each (uniform).",
    )
    sensitivity: Literal["measured", "equal"] = Field(
        "measured", description="Whether losses of groups are weighed by what arrives at the outputs, or count alike."
    )
    steps: int = Field(1, ge=1, le=32, description="Steps to the goal; importance is taken anew after each.")
    min_keep: float = Field(0.25, ge=0, le=1, description="Part of each group that stays at least.")
    multiple: int | None = Field(
        None, ge=1, description="Channels stay a multiple of this; without, of what the target's kernels like."
    )
    include: tuple[str, ...] = Field(("*",), description="Groups that may lose units, by globs of their names.")
    exclude: tuple[str, ...] = Field((), description="Groups that stay whole, by globs of their names.")
    max_samples: int = Field(128, ge=1, description="Calibration samples that the repair looks at.")
    positions: int = Field(256, ge=1, description="Rows of a sample and layer that are looked at.")

    @model_validator(mode="after")
    def _one_goal(self) -> Options:
        goals = [name for name in ("latency", "macs", "size", "max_drop") if getattr(self, name) is not None]
        if len(goals) != 1:
            raise ValueError(f"give one goal: latency, macs, size or max_drop; found {' and '.join(goals) or 'none'}")
        if self.max_drop is not None and self.steps > 1:
            raise ValueError("steps go with latency, macs or size; max_drop looks for the goal itself")
        return self


class PruneChannels(GraphPass[Options]):
    """Remove channels, heads and hidden units, and repair the layers that read them.

    *Match*: groups of the axis graph: slices of weights that only go together, through convolutions, products, recurrent
    layers, element-wise operators, residual sums, concatenations, reshapes and attention.

    *Rewrite*: the units with the least loss for the time that they cost go, in blocks that fill the vectors of the
    target's kernels; every weight that makes, scales or reads them is sliced, and what stays is fitted to the outputs of
    the layers as given, layer by layer. How much each group loses follows from times measured on the target.

    *Shapes*: ``W: (C_out, C_in / groups, *k)`` loses rows and columns; inputs and outputs of the graph keep theirs.

    *Preserves*: names and types; values within the accuracy budget. The result is dense: no kernel needs to know of it.

    *Units*: goals are parts of what the model costs when the step begins.

    *References*: Kurtic et al., ZipLM, 2023 (2302.04089), and Frantar and Alistarh, OBC, 2022 (2208.11580), for importance
    and repair; He et al., Channel Pruning, 2017 (1707.06168), section 3.1; Yang et al., NetAdapt, 2018 (1804.03230), for
    allocation by measured latency; Fang et al., DepGraph, 2023 (2301.12900).
    """

    name = "prune-channels"
    stage = Stage.PRUNE
    contract = Contract.LOSSY
    speed_motivated = True
    options_type = Options

    def wants_samples(self) -> bool:
        return self.options.compensation == "refit" or self.options.importance in FROM_DATA

    def requires(self, model: ir.Model, context: PassContext) -> None:
        if self.wants_samples() and context.samples is None:
            raise self.refuse(
                "there is no calibration data",
                expected="'data: calibration' in the recipe",
                fix="add some hundred samples, or use importance: l2 and compensation: merge",
            )
        if self.options.latency is not None and (context.judge is None or not context.judge.measures):
            raise self.refuse(
                "latency cannot be measured on the target",
                expected="a target and runtime that single steps can be timed on",
                found="none" if context.target is None else f"target {context.target.name}",
                fix="give macs or size as the goal",
            )
        if self.options.max_drop is not None and (context.judge is None or context.judge.evaluation is None):
            raise self.refuse(
                "the drop cannot be measured",
                expected="labelled samples: 'data: evaluation' in the recipe",
                fix="add them, or give latency, macs or size as the goal",
            )

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        name_nodes(model)
        graph = AxisGraph(model, VIEWS)
        skips = [Skip(reason, frozen.name) for frozen in graph.frozen for reason in frozen.reasons]
        if not self._eligible(graph):
            missed = "nothing can be pruned: every group is frozen or left out" if self._goal() else None
            return PassResult(model, modified=False, skips=tuple(skips), missed=missed)
        whole = {group.name: group.units for group in graph.groups}
        reference = model.clone()
        with Progress("repairing", quiet=context.judge is None or context.judge.quiet) as progress:
            pruner = Pruner(
                model,
                reference,
                self.options.compensation,
                context.samples,
                self.options.max_samples,
                self.options.positions,
                context.seed,
                progress.update,
            )
            found = self._decide(pruner, context, skips)
        if not any(found.cuts):
            missed = "no group can lose units" if self._goal() else None
            return PassResult(model, modified=False, skips=tuple(skips), missed=missed)
        left = {group.name: group.units for group in AxisGraph(model, VIEWS).groups}
        removed: dict[str, int] = {}
        for cut in found.cuts:
            for name, units in cut.items():
                removed[name] = removed.get(name, 0) + len(units)
        counts = {
            "units removed": sum(removed.values()),
            "groups narrowed": len(removed),
            "layers refitted": pruner.refitted,
            "units merged": pruner.merged,
        }
        details = tuple(
            Detail(name, f"{left.get(name, whole[name] - gone)} of {whole[name]} units", "least loss for what it saves")
            for name, gone in removed.items()
        )
        details += tuple(
            Detail(
                "the model",
                f"{measured:.2f} of its time",
                "measured after an allocation",
                {"predicted": p, "measured": measured},
            )
            for p, measured in found.predictions
        )
        goal = self._goal()
        reached = found.predicted if found.measured is None else found.measured
        missed = goal.shortfall(reached) if goal else None
        return PassResult(
            model, modified=True, counts=counts, skips=(*skips, *pruner.skips), details=details, missed=missed
        )

    def _decide(self, pruner: Pruner, context: PassContext, skips: list[Skip]) -> Found:
        """Search, or do again what was found for this model on this target; ``pruner`` has pruned afterwards."""
        judge = context.judge
        searched = False

        def search() -> dict[str, JsonValue]:
            nonlocal searched
            searched = True
            found = self._search(pruner, context, skips)
            return found.to_json()

        if judge is None:
            return Found.from_json(search())
        workload = {
            "model": model_digest(pruner.model),
            "options": self.options.model_dump_json(),
            "samples": "none" if context.samples is None else samples_digest(context.samples())[0],
            "budget": str(judge.baseline),
            "seed": str(context.seed),
            "search": SEARCH,
        }
        found = Found.from_json(judge.decide(KIND, workload, search))
        if not searched:
            for cut in found.cuts:
                pruner.cut(cut)
        return found

    def _search(self, pruner: Pruner, context: PassContext, skips: list[Skip]) -> Found:
        judge = context.judge
        search = Search(
            pruner,
            context,
            self._eligible,
            self.options.importance,
            self.options.allocation,
            self._multiple(context),
            self.options.min_keep,
            self.options.sensitivity == "measured",
            judge is None or judge.quiet,
            skips,
        )
        goal = self._goal()
        if goal is not None:
            return search.reach(goal, self.options.steps)
        limit = self.options.max_drop
        meter = None if judge is None else judge.drop_meter(pruner.reference, context.seed)
        assert judge is not None and limit is not None and meter is not None

        def drop(trial: Pruner) -> float:
            """With the margin that the labelled samples leave uncertain; see ``passes/judging/accuracy.py``."""
            found = meter(trial.model, limit)
            return found.value + margin_of(found, limit)

        kind: Kind = "latency" if judge.measures else "macs"
        return search.within(limit, kind, drop)

    def _goal(self) -> Goal | None:
        kinds: tuple[Kind, ...] = ("latency", "macs", "size")
        parts: dict[Kind, Any] = {kind: getattr(self.options, kind) for kind in kinds}
        return next((Goal(kind, part) for kind, part in parts.items() if part is not None), None)

    def _multiple(self, context: PassContext) -> int:
        if self.options.multiple is not None:
            return self.options.multiple
        target = context.target
        return DEFAULT_MULTIPLE if target is None else target.runtime.channel_multiple(target.machine)

    def _eligible(self, graph: AxisGraph) -> list[Group]:
        """Groups that may lose units."""
        options = self.options
        return [
            group
            for group in graph.groups
            if group.units > 1 and selection(group.name, options.include, options.exclude) is None
        ]

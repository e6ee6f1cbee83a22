"""Run the steps of one target: pass, IR check, contract, accuracy, latency guard; undo what does not hold.

A step works on a clone that shares all weights with the model before it, so undoing is dropping the
clone. Nothing here knows what a pass does.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from tamis.compiler.bisect import first_divergence
from tamis.compiler.digest import structure_signature
from tamis.compiler.errors import ContractViolationError, PassError, PostconditionError, TamisError
from tamis.compiler.evaluate import Evaluation
from tamis.compiler.graph_pass import Contract, Feeds, GraphPass, PassContext, PassResult, Skip
from tamis.compiler.guard import guard
from tamis.compiler.manifest import SkipRecord, StepRecord
from tamis.compiler.phases import Phases
from tamis.compiler.progress import Progress
from tamis.compiler.recipe import AccuracyBudget
from tamis.compiler.target import Target
from tamis.compiler.tuning_database import TuningDatabase
from tamis.compiler.verify import Verdict, Verifier, check_ir

NODES_NAMED = 3
"""How many nodes of a skip reason are named in the manifest."""


@dataclass
class Outcome:
    """What the steps made of a model.

    Args:
        model: The model after the steps that were kept.
        records: One a step.
        broken: Lossy steps that were undone because they broke the accuracy budget -> by how much.
        timings: Step -> raw measurements of its guard.
    """

    model: ir.Model
    records: list[StepRecord] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)


class Undone(Exception):
    """A step does not stay. ``budget`` tells whether the accuracy budget is the reason."""

    def __init__(self, reason: str, *, budget: bool = False) -> None:
        super().__init__(reason)
        self.budget = budget


@dataclass
class Pipeline:
    """The steps of one target and their judges.

    Args:
        target: The machine and runtime to measure on.
        context: What the passes may know.
        verifier: Holds each step to its contract.
        feeds: The inputs that the guard measures with.
        accuracy: The accuracy budget, if any.
        evaluation: Labelled samples, if any.
        baseline: The task metric of the model as given; None without labelled samples.
        database: Remembers the guard's verdicts.
        phases: Where the time went.
        quiet: No progress bars.
    """

    target: Target
    context: PassContext
    verifier: Verifier
    feeds: Feeds
    accuracy: AccuracyBudget | None
    evaluation: Evaluation | None
    baseline: float | None
    database: TuningDatabase
    phases: Phases
    quiet: bool = False

    def run(self, model: ir.Model, steps: tuple[GraphPass[Any], ...]) -> Outcome:
        """Apply the steps in order.

        Raises:
            ContractViolationError: A step broke its contract; names the pass, the input and the first wrong node.
            PostconditionError: A step left invalid IR, or says falsely that it changed nothing.
            PassError: A pass failed in an unforeseen way.
        """
        outcome = Outcome(model)
        with Progress("compiling", quiet=self.quiet) as progress:
            for i, step in enumerate(steps):
                progress.update(i / len(steps), step.name)
                self._step(outcome, step, f"step {i + 1} ({step.name})")
        return outcome

    def _step(self, outcome: Outcome, step: GraphPass[Any], where: str) -> None:
        before = outcome.model
        with self.phases.phase("clone"):
            candidate = before.clone()
        judged: dict[str, Any] = {}
        result: PassResult | None = None
        try:
            result = self._apply(step, before, candidate, where)
            if result.modified:
                self._judge(step, before, candidate, where, judged, outcome)
                outcome.model = candidate
            verdict, reason = ("kept" if result.modified else "unchanged"), None
        except Undone as undone:
            verdict, reason = "undone", str(undone)
            if undone.budget and step.options.on_violation == "error":
                outcome.broken[where] = reason
        outcome.records.append(
            StepRecord(
                name=step.name,
                contract=step.contract.value,
                verdict=verdict,
                reason=reason,
                counts={k: v for k, v in result.counts.items() if v} if result else {},
                skips=_skips(result.skips) if result else (),
                nodes_before=count_nodes(before),
                nodes_after=count_nodes(outcome.model),
                **judged,
            )
        )

    def _apply(self, step: GraphPass[Any], before: ir.Model, candidate: ir.Model, where: str) -> PassResult:
        skip = step.options.on_violation == "skip"
        try:
            with self.phases.phase(f"pass {step.name}"):
                result = step(candidate, self.context)
            with self.phases.phase("check IR"):
                if result.modified:
                    check_ir(candidate, where)
                elif structure_signature(before) != structure_signature(candidate):
                    raise PostconditionError(
                        "the pass changed the model but reports modified=False",
                        where=where,
                        fix="report this defect of the pass",
                    )
        except TamisError as error:
            if skip:
                raise Undone(str(error)) from error
            raise
        except Exception as error:
            if skip:
                raise Undone(f"the pass failed: {type(error).__name__}: {error}") from error
            raise PassError(
                "the pass failed",
                where=where,
                found=f"{type(error).__name__}: {error}",
                fix="report this defect of the pass; 'on_violation: skip' leaves it out",
            ) from error
        return result

    def _judge(
        self,
        step: GraphPass[Any],
        before: ir.Model,
        candidate: ir.Model,
        where: str,
        judged: dict[str, Any],
        outcome: Outcome,
    ) -> None:
        """Contract, accuracy budget and guard, in the order of their cost; raises Undone if the step must go."""
        with self.phases.phase("verify"):
            verdict = self.verifier.check(candidate, step.contract)
        if step.contract is Contract.LOSSY:
            judged["sqnr_db"] = verdict.sqnr_db
        else:
            judged |= {"tolerance_needed": verdict.tolerance_needed, "adversarial_needed": verdict.adversarial_needed}
        if not verdict.ok:
            self._violation(step, before, candidate, where, verdict)
        if step.contract is Contract.LOSSY:
            self._accuracy(candidate, judged)
        if step.speed_motivated and step.options.guard == "measure":
            with self.phases.phase("guard"):
                guarded = guard(before, candidate, step.contract, self.feeds, self.target, self.database)
            outcome.timings[where] = {"reused": guarded.reused, **guarded.record}
            if not guarded.keep:
                raise Undone(guarded.reason)
        self.verifier.accept(verdict)

    def _violation(
        self, step: GraphPass[Any], before: ir.Model, candidate: ir.Model, where: str, verdict: Verdict
    ) -> None:
        if step.contract is Contract.LOSSY and verdict.over_budget:
            raise Undone(verdict.detail, budget=True)
        at = (
            "the model does not run any more"
            if verdict.refused
            else self._first_wrong(step, before, candidate, verdict)
        )
        if step.options.on_violation == "skip":
            raise Undone(f"broke its contract: {verdict.detail}; {at}")
        raise ContractViolationError(
            f"the pass broke its contract '{step.contract.value}' on input {verdict.case!r}; {at}",
            where=where,
            expected=verdict.expected,
            found=verdict.detail,
            fix="report this defect of the pass; 'on_violation: skip' leaves it out",
        )

    def _first_wrong(self, step: GraphPass[Any], before: ir.Model, candidate: ir.Model, verdict: Verdict) -> str:
        with self.phases.phase("bisect"):
            found = first_divergence(before, candidate, verdict.feeds, self.verifier.load, contract=step.contract)
        return found.describe() if found else "no single node: the outputs differ only together"

    def _accuracy(self, candidate: ir.Model, judged: dict[str, Any]) -> None:
        if self.evaluation is None or self.baseline is None:
            return
        with self.phases.phase("evaluate"):
            runner = self.target.runtime.load_model(candidate)
            score = self.evaluation.score(runner, quiet=self.quiet)
        judged["metric"] = score
        allowed = self.accuracy.max_drop if self.accuracy else None
        drop = self.evaluation.drop(self.baseline, score)
        if allowed is not None and not drop <= allowed:
            raise Undone(
                f"{self.evaluation.metric} would drop by {drop:.4g} (from {self.baseline:.4f} to {score:.4f}), "
                f"wanted at most {allowed:g}",
                budget=True,
            )


def count_nodes(model: ir.Model) -> int:
    """Nodes of the graph with all its subgraphs and functions."""
    return sum(1 for _ in model.graph.all_nodes()) + sum(len(f) for f in model.functions.values())


def _skips(skips: tuple[Skip, ...]) -> tuple[SkipRecord, ...]:
    nodes: dict[str, list[str]] = collections.defaultdict(list)
    for skip in skips:
        nodes[skip.reason].append(skip.node)
    return tuple(
        SkipRecord(reason=reason, count=len(found), nodes=tuple(found[:NODES_NAMED]))
        for reason, found in sorted(nodes.items())
    )

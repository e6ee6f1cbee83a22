"""Run the steps of one target: pass, IR check, contract, accuracy, latency guard; undo what does not hold.

A step works on a clone that shares all weights with the model before it, so undoing is dropping the
clone. The guard measures consecutive lossless steps together, and each alone only if together they are slower.
Nothing here knows what a pass does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from tamis.compiler.bisect import first_divergence
from tamis.compiler.digest import structure_signature
from tamis.compiler.errors import ContractViolationError, PassError, PostconditionError, TamisError
from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassResult
from tamis.compiler.guard import guard
from tamis.compiler.incremental.checkpoints import Checkpoints
from tamis.compiler.judge import Judge
from tamis.compiler.manifest import StepRecord, detail_records, skip_records
from tamis.compiler.outcome import Outcome, Together
from tamis.compiler.phases import Phases
from tamis.compiler.progress import Progress
from tamis.compiler.runnable import load_for_scores
from tamis.compiler.verify import Verdict, Verifier, check_ir


class Undone(Exception):
    """A step does not stay. ``budget`` tells whether the accuracy budget is the reason."""

    def __init__(self, reason: str, *, budget: bool = False) -> None:
        super().__init__(reason)
        self.budget = budget


@dataclass
class Pipeline:
    """The steps of one target and their judges.

    Args:
        context: What the passes may know.
        verifier: Holds each step to its contract.
        judge: Tells accuracy and speed on the target.
        phases: Where the time went.
        checkpoints: What is known of these steps from earlier compiles.
        quiet: No progress bars.
    """

    context: PassContext
    verifier: Verifier
    judge: Judge
    phases: Phases
    checkpoints: Checkpoints = field(default_factory=lambda: Checkpoints(None))
    quiet: bool = False
    _spare: ir.Model | None = field(default=None, init=False)
    """A clone of the current model that a step left as it was."""
    _signed: tuple[ir.Model, int] | None = field(default=None, init=False)
    """The model whose signature was taken last, and that."""

    def run(self, model: ir.Model, steps: tuple[GraphPass[Any], ...]) -> Outcome:
        """Apply the steps in order, from the last checkpoint on.

        Raises:
            ContractViolationError: A step broke its contract; names the pass, the input and the first wrong node.
            PostconditionError: A step left invalid IR, or says falsely that it changed nothing.
            PassError: A pass failed in an unforeseen way.
        """
        done, outcome, together = self._resume(model)
        with Progress("compiling", quiet=self.quiet) as progress:
            for i, step in enumerate(steps[done:], done):
                progress.update(i / len(steps), step.name)
                if step.contract is Contract.LOSSY:
                    self._settle(outcome, steps[:i], together)
                    together = None
                elif together is None and self._is_guarded(step):
                    together = Together(i, outcome.model, len(outcome.records))
                before = outcome.model
                self._step(outcome, step, _where(i, step), guarded=step.contract is Contract.LOSSY)
                if together is not None and outcome.model is not before:
                    together.changed += self._is_guarded(step)
                self._save(i + 1, outcome, together)
            self._settle(outcome, steps, together)
            if together is not None:
                self._save(len(steps), outcome, None)
        return outcome

    def _resume(self, model: ir.Model) -> tuple[int, Outcome, Together | None]:
        """How many steps an earlier compile has taken, and what they came to."""
        with self.phases.phase("checkpoints"):
            found = self.checkpoints.latest(model)
            if found is None:
                return 0, Outcome(model), None
            self.verifier.accept_model(found.outcome.model)
        return found.done, found.outcome, found.together

    def _save(self, done: int, outcome: Outcome, together: Together | None) -> None:
        with self.phases.phase("checkpoints"):
            self.checkpoints.save(done, outcome, together)

    def _settle(self, outcome: Outcome, steps: tuple[GraphPass[Any], ...], together: Together | None) -> None:
        """Measure the last steps, from ``together.first`` on; if they are slower, take them again one by one."""
        if together is None or not together.changed:
            return
        where = f"steps {together.first + 1} to {len(steps)}"
        with self.phases.phase("guard"):
            found = guard(together.model, outcome.model, Contract.CLOSE, self.judge)
        outcome.timings[where] = {"reused": found.reused, **found.record}
        if found.keep:
            return
        outcome.model, self._spare = together.model, None
        del outcome.records[together.records :]
        self.verifier.accept_model(together.model)
        for i, step in enumerate(steps[together.first :], together.first):
            self._step(outcome, step, _where(i, step), guarded=True)

    def _step(self, outcome: Outcome, step: GraphPass[Any], where: str, *, guarded: bool) -> None:
        before = outcome.model
        with self.phases.phase("clone"):
            candidate, self._spare = self._spare or before.clone(), None
        judged: dict[str, Any] = {}
        result: PassResult | None = None
        try:
            result = self._apply(step, before, candidate, where)
            if result.modified:
                self._judge(step, before, candidate, where, judged, outcome, guarded=guarded)
                outcome.model = candidate
            else:
                self._spare = candidate
            verdict, reason = ("kept" if result.modified else "unchanged"), result.missed
            if result.missed:
                outcome.short[where] = result.missed
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
                skips=skip_records(result.skips) if result else (),
                details=detail_records(result.details) if result else (),
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
                elif self._signature(before) != structure_signature(candidate):
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

    def _signature(self, model: ir.Model) -> int:
        if self._signed is None or self._signed[0] is not model:
            self._signed = (model, structure_signature(model))
        return self._signed[1]

    def _judge(
        self,
        step: GraphPass[Any],
        before: ir.Model,
        candidate: ir.Model,
        where: str,
        judged: dict[str, Any],
        outcome: Outcome,
        *,
        guarded: bool,
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
        if guarded and self._is_guarded(step):
            with self.phases.phase("guard"):
                found = guard(before, candidate, step.contract, self.judge)
            outcome.timings[where] = {"reused": found.reused, **found.record}
            if not found.keep:
                raise Undone(found.reason)
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
        noisy = step.contract is Contract.LOSSY and not verdict.refused and math.isfinite(verdict.sqnr_db)
        cure = (
            "ask the step for less, or say in budget.accuracy how much may be lost"
            if noisy
            else "report this defect of the pass"
        )
        raise ContractViolationError(
            f"the pass broke its contract '{step.contract.value}' on input {verdict.case!r}; {at}",
            where=where,
            expected=verdict.expected,
            found=verdict.detail,
            fix=f"{cure}; 'on_violation: skip' leaves the step out",
        )

    def _first_wrong(self, step: GraphPass[Any], before: ir.Model, candidate: ir.Model, verdict: Verdict) -> str:
        with self.phases.phase("bisect"):
            found = first_divergence(before, candidate, verdict.feeds, self.verifier.load, contract=step.contract)
        return found.describe() if found else "no single node: the outputs differ only together"

    def _is_guarded(self, step: GraphPass[Any]) -> bool:
        """Whether the step must prove its speed: it was made for speed, and this target can time single steps."""
        return self.judge.measures and step.speed_motivated and step.options.guard == "measure"

    def _accuracy(self, candidate: ir.Model, judged: dict[str, Any]) -> None:
        judge = self.judge
        if judge.evaluation is None or judge.baseline is None:
            return
        with self.phases.phase("evaluate"):
            score = judge.evaluation.score(load_for_scores(candidate, judge.target.runtime), quiet=self.quiet)
        judged["metric"] = score
        drop = judge.evaluation.drop(judge.baseline, score)
        if judge.max_drop is not None and not drop <= judge.max_drop:
            raise Undone(
                f"{judge.evaluation.metric} would drop by {drop:.4g} (from {judge.baseline:.4f} to {score:.4f}), "
                f"wanted at most {judge.max_drop:g}",
                budget=True,
            )


def _where(index: int, step: GraphPass[Any]) -> str:
    return f"step {index + 1} ({step.name})"


def count_nodes(model: ir.Model) -> int:
    """Nodes of the graph with all its subgraphs and functions."""
    return sum(1 for _ in model.graph.all_nodes()) + sum(len(f) for f in model.functions.values())

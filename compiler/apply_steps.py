"""Take the steps of one target, each judged, after a look at whether its runtime can run what they leave."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tamis.compiler.adversarial import adversarial_feeds
from tamis.compiler.errors import LoweringError, TamisError
from tamis.compiler.graph_pass import Contract, Feeds, GraphPass
from tamis.compiler.judge import Judge
from tamis.compiler.phases import Phases
from tamis.compiler.pipeline import Outcome, Pipeline
from tamis.compiler.prepare import Prepared, TargetPlan
from tamis.compiler.runnable import load_for_scores, load_unoptimized
from tamis.compiler.target import Target
from tamis.compiler.tuning_database import TuningDatabase
from tamis.compiler.verify import LABELLED_MIN_SQNR, Verifier

VERIFY_SAMPLES = 8
NODES_NAMED = 5
"""Nodes that an error lists."""


@dataclass(frozen=True)
class Applied:
    """A model after the steps of a target.

    Args:
        outcome: The model and what the steps did.
        verifier: Knows the outputs of the model as given, and of the model now.
        samples: Of the user, or seeded random ones.
        baseline: The task metric of the model as given; None without labelled samples.
    """

    outcome: Outcome
    verifier: Verifier
    samples: list[Feeds]
    baseline: float | None


def apply_steps(
    made: Prepared, plan: TargetPlan, database: TuningDatabase, phases: Phases, *, quiet: bool = False
) -> Applied:
    """The recipe's steps and the runtime's legalization, each judged.

    Raises:
        LoweringError: The runtime lacks an operator of the model that they leave; every node is named.
        TamisError: See ``Pipeline.run``.
    """
    target = plan.target
    if lacking := unsupported_after_steps(made, plan):
        raise _unsupported(lacking, target)
    samples = made.samples(VERIFY_SAMPLES)
    accuracy = made.recipe.budget.accuracy
    with phases.phase("reference"):
        verifier = Verifier(
            load_unoptimized,
            made.model,
            samples,
            adversarial_feeds(made.spec, made.recipe.seed),
            min_sqnr=_min_sqnr(made),
        )
    baseline = None
    if made.evaluation is not None:
        with phases.phase("evaluate"):
            baseline = made.evaluation.score(load_for_scores(made.model, target.runtime), quiet=quiet)
    judge = Judge(target, verifier, samples[0], accuracy, made.evaluation, baseline, database, quiet)
    pipeline = Pipeline(replace(made.context(target), judge=judge), verifier, judge, phases, quiet)
    outcome = pipeline.run(made.model, _steps(plan))
    if lacking := target.runtime.unsupported(outcome.model, target.machine):
        raise _unsupported(lacking, target)
    return Applied(outcome, verifier, samples, baseline)


def _min_sqnr(made: Prepared) -> float | None:
    """The limit of the recipe, dB. Where labelled samples judge, the outputs need only stay above noise."""
    accuracy = made.recipe.budget.accuracy
    if accuracy is None or accuracy.min_sqnr is not None:
        return None if accuracy is None else accuracy.min_sqnr
    return LABELLED_MIN_SQNR if accuracy.max_drop is not None and made.evaluation is not None else None


def _steps(plan: TargetPlan) -> tuple[GraphPass[Any], ...]:
    return (*plan.steps, *plan.target.runtime.legalize_passes(plan.target.machine))


def unsupported_after_steps(made: Prepared, plan: TargetPlan) -> list[str]:
    """What the runtime lacks, one line a node, found before any work by taking the steps without judging them.

    A runtime that takes any model, and single steps, is not asked: its own check comes after the steps.
    """
    target = plan.target
    if target.runtime.measures_steps:
        return []
    model = made.model.clone()
    try:
        for step in _steps(plan):
            if step.contract is not Contract.LOSSY:
                step(model, made.context(target))
    except TamisError:
        return []  # the pipeline meets the same failure, and knows what the recipe wants done then
    return target.runtime.unsupported(model, target.machine)


def _unsupported(lines: list[str], target: Target) -> LoweringError:
    more = f" and {len(lines) - NODES_NAMED} more" if len(lines) > NODES_NAMED else ""
    return LoweringError(
        f"runtime {target.runtime.name} cannot run {len(lines)} nodes",
        where=f"target {target.name}",
        found="; ".join(lines[:NODES_NAMED]) + more,
        fix="choose another runtime for the target; 'tamis plan' lists every node",
    )

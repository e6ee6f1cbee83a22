"""Take the steps of one target, each judged, after a look at whether its runtime can run what they leave."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from tamis.compiler.adversarial import adversarial_feeds
from tamis.compiler.digest import model_digest
from tamis.compiler.errors import LoweringError, TamisError
from tamis.compiler.graph_pass import Contract, Feeds, GraphPass
from tamis.compiler.incremental.checkpoints import Checkpoints, step_keys
from tamis.compiler.incremental.code_digest import code_digest
from tamis.compiler.judge import Judge
from tamis.compiler.outcome import Outcome
from tamis.compiler.pipeline import Pipeline
from tamis.compiler.prepare import Prepared, TargetPlan
from tamis.compiler.recipe import FILE_KINDS
from tamis.compiler.runnable import load_for_scores, load_unoptimized
from tamis.compiler.session import Session
from tamis.compiler.target import Target
from tamis.compiler.verify import LABELLED_MIN_SQNR, Verifier
from tamis.compiler.versions import all_versions

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


def apply_steps(made: Prepared, plan: TargetPlan, session: Session) -> Applied:
    """The recipe's steps and the runtime's legalization, each judged, but for those that the cache has.

    Raises:
        LoweringError: The runtime lacks an operator of the model that they leave; every node is named.
        TamisError: See ``Pipeline.run``.
    """
    target, phases = plan.target, session.phases
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
            baseline = made.evaluation.score(load_for_scores(made.model, target.runtime), quiet=session.quiet)
    judge = Judge(target, verifier, samples[0], accuracy, made.evaluation, baseline, session.database, session.quiet)
    steps = _steps(plan)
    keys = step_keys(_depends_on(made, target), steps) if session.store else ()
    checkpoints = Checkpoints(session.store, keys)
    context = replace(made.context(target), judge=judge)
    pipeline = Pipeline(context, verifier, judge, phases, checkpoints, session.quiet)
    outcome = pipeline.run(made.model, steps)
    if lacking := target.runtime.unsupported(outcome.model, target.machine):
        raise _unsupported(lacking, target)
    return Applied(outcome, verifier, samples, baseline)


def _depends_on(made: Prepared, target: Target) -> dict[str, JsonValue]:
    """All that the outcome of a step may depend on, but for the steps themselves."""
    recipe, runtime = made.recipe, target.runtime
    accuracy, paths = recipe.budget.accuracy, dict.fromkeys(FILE_KINDS, True)
    return {
        "model": model_digest(made.model),
        "inputs": [[t.name, t.dtype.name, list(t.shape), list(t.bounds or ())] for t in made.spec.tensors],
        "dims": {name: list(bounds) for name, bounds in made.spec.dims.items()},
        "data": recipe.data.model_dump(mode="json", exclude={"calibration": paths, "evaluation": paths}),
        "calibration": made.calibration.digest() if made.calibration else None,
        "evaluation": made.evaluation.samples.digest() if made.evaluation else None,
        "accuracy": accuracy.model_dump(mode="json") if accuracy else None,
        "seed": recipe.seed,
        "machine": target.machine.model_dump(mode="json"),
        "runtime": [runtime.name, runtime.options.model_dump(mode="json"), dict(runtime.fingerprint(target.machine))],
        "link": target.link.model_dump(mode="json"),
        "versions": {**all_versions()},
        "code": code_digest(),
    }


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

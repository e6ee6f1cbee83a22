"""``tamis plan``: what a compile would do, as data."""

from __future__ import annotations

from typing import Any

from tamis.compiler.apply_steps import unsupported_after_steps
from tamis.compiler.graph_pass import Contract, GraphPass
from tamis.compiler.prepare import Prepared, TargetPlan, prepare
from tamis.compiler.recipe_file import LoadedRecipe


def make_plan(loaded: LoadedRecipe) -> dict[str, Any]:
    """Resolve everything that ``compile`` resolves before it starts, and describe it.

    Raises:
        TamisError: The usage errors of a compile, all but an unavailable target, which is shown.
    """
    made = prepare(loaded, need_targets=False)
    return {
        "recipe": loaded.origin,
        "model": str(made.path),
        "nodes": sum(1 for _ in made.model.graph.all_nodes()),
        "inputs": [
            {"name": t.name, "dtype": t.dtype.name, "shape": _shape(made, t.shape), "bounds": t.bounds}
            for t in made.spec.tensors
        ],
        "calibration_samples": len(made.calibration) if made.calibration else 0,
        "evaluation_samples": len(made.evaluation.samples) if made.evaluation else 0,
        "metric": made.evaluation.metric if made.evaluation else None,
        "targets": [_target(made, p) for p in made.plans],
        "budget": made.recipe.budget.model_dump(exclude_none=True, mode="json"),
    }


def _shape(made: Prepared, shape: tuple[int | str, ...]) -> list[str]:
    return [f"{d} in {made.spec.dims[d][0]}..{made.spec.dims[d][1]}" if isinstance(d, str) else str(d) for d in shape]


def _target(made: Prepared, plan: TargetPlan) -> dict[str, Any]:
    return {
        "name": plan.target.name,
        "machine": plan.target.machine.name,
        "runtime": " or ".join(p.target.runtime.name for p in plan.candidates) or plan.target.runtime.name,
        "link": plan.target.link.kind,
        "unavailable": plan.target.runtime.unavailable(plan.target.machine),
        "unsupported": [line for one in plan.candidates or (plan,) for line in unsupported_after_steps(made, one)],
        "tune": plan.section.tune.model_dump(exclude_none=True) if plan.section.tune else None,
        "steps": [
            {
                "name": step.name,
                "contract": step.contract.value,
                "kept_if": kept_if(step),
                "options": step.options.model_dump(mode="json", exclude_defaults=True),
            }
            for step in plan.steps
        ],
    }


def kept_if(step: GraphPass[Any]) -> str:
    """What must hold for the step to stay, in words."""
    proof = {
        Contract.EXACT: "same bits",
        Contract.CLOSE: "within rounding",
        Contract.LOSSY: "within the accuracy budget",
    }[step.contract]
    if not step.speed_motivated or step.options.guard == "off":
        return proof
    return f"{proof} and {'measured faster' if step.contract is Contract.LOSSY else 'not measured slower'}"

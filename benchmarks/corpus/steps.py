"""The steps of a recipe on one model, in the order and with the checks of the compiler."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import onnx_ir as ir

from tamis.compiler.digest import structure_signature
from tamis.compiler.errors import PostconditionError
from tamis.compiler.graph_pass import Contract, GraphPass, PassContext
from tamis.compiler.prepare import TargetPlan, plan_target
from tamis.compiler.recipe_file import load_recipe
from tamis.compiler.target import Target
from tamis.compiler.verify import check_ir

RECIPE = "lossless"
HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
Steps = tuple[GraphPass[Any], ...]
Stage = tuple[GraphPass[Any], ir.Model]


class StepFailure(Exception):
    """A step raised, or left what the compiler would refuse; names the step."""


@cache
def plan() -> TargetPlan:
    """The recipe for the machine at hand."""
    recipe = load_recipe(RECIPE).recipe
    return plan_target(recipe.targets[0], recipe)


def host() -> Target:
    """The machine at hand with its first runtime."""
    return plan().target


def legalization() -> Steps:
    """The passes of the runtime, which come after those of the recipe."""
    return tuple(host().runtime.legalize_passes(host().machine))


@cache
def steps() -> Steps:
    """All that a compile applies: the passes of the recipe, then those of the runtime."""
    lossy = [step.name for step in plan().steps if step.contract is Contract.LOSSY]
    if lossy:
        raise AssertionError(f"recipe {RECIPE} has lossy steps: {lossy}")
    return (*plan().steps, *legalization())


def contract_here(step: GraphPass[Any], model: ir.Model) -> Contract:
    """What ``step`` can be held to on ``model``.

    With 16-bit floating-point values ``exact`` is judged as ``close``: ONNX Runtime has few kernels for them, also with
    its optimizations off it computes neighbours in 32 bits without rounding in between, and a node that does nothing
    makes two others neighbours by going away.
    """
    tensors = (v.dtype for graph in model.graphs() for v in (*graph.inputs, *graph.initializers.values()))
    casts = (a.value for node in model.graph.all_nodes() if (a := node.attributes.get("to")) is not None)
    halves = HALVES.intersection(tensors) or HALVES.intersection(casts)
    return Contract.CLOSE if halves and step.contract is Contract.EXACT else step.contract


def stages(model: ir.Model, chosen: Sequence[GraphPass[Any]], context: PassContext) -> list[Stage]:
    """The model after each step that changed it, the step first; ``model`` stays as it is.

    Raises:
        StepFailure: See there.
    """
    found: list[Stage] = []
    for step in chosen:
        candidate = model.clone()
        try:
            modified = _apply(step, model, candidate, context)
        except Exception as error:
            raise StepFailure(f"{step.name}: {type(error).__name__}: {error}") from error
        if modified:
            found.append((step, candidate))
            model = candidate
    return found


def _apply(step: GraphPass[Any], before: ir.Model, candidate: ir.Model, context: PassContext) -> bool:
    result = step(candidate, context)
    if not result.modified:
        if structure_signature(before) != structure_signature(candidate):
            raise PostconditionError("the pass changed the model but reports modified=False")
        return False
    check_ir(candidate, step.name)
    edges = [[v.name for v in side] for side in (candidate.graph.inputs, candidate.graph.outputs)]
    wanted = [v.name for v in before.graph.inputs if not v.is_initializer()]
    if not set(wanted) <= set(edges[0]) or [v.name for v in before.graph.outputs] != edges[1]:
        raise PostconditionError("the pass changed the inputs or outputs of the graph", found=str(edges))
    if step(candidate.clone(), context).modified:
        raise PostconditionError("a second run of the pass changes the model again")
    return True

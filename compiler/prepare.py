"""Everything that is decided before any work is done: the model, its inputs, samples, targets and steps.

``tamis plan`` stops here; ``tamis compile`` goes on from here. All usage errors of a compile come from here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from tamis.compiler.adversarial import random_feeds
from tamis.compiler.data_source import Samples, open_samples
from tamis.compiler.errors import PreconditionError, RecipeError, TargetUnavailableError
from tamis.compiler.evaluate import Evaluation
from tamis.compiler.graph_pass import Contract, Feeds, GraphPass, PassContext
from tamis.compiler.input_spec import InputSpec
from tamis.compiler.link import HERE, Link
from tamis.compiler.machine import find_machine
from tamis.compiler.machine_data import Machine
from tamis.compiler.model_file import load_model
from tamis.compiler.recipe import AUTO, Budget, DataSource, Recipe, RpcLink, TargetSection
from tamis.compiler.recipe_file import LoadedRecipe
from tamis.compiler.registry import pass_class, runtime_class
from tamis.compiler.resolve_inputs import resolve_inputs
from tamis.compiler.target import Target

RANDOM_SAMPLES = 4


@dataclass(frozen=True)
class TargetPlan:
    """One target with its steps.

    Args:
        target: Machine, runtime, link.
        section: As in the recipe.
        steps: The passes with their options, in order.
        candidates: With ``runtime: auto``, one plan a runtime of the machine, of which ``target`` is the first.
    """

    target: Target
    section: TargetSection
    steps: tuple[GraphPass[Any], ...]
    candidates: tuple[TargetPlan, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A compile, ready to start.

    Args:
        path: The model file.
        model: Loaded, weights mapped lazily.
        spec: The graph inputs with all shapes decided.
        calibration: Samples for passes and verification; None if the recipe has none.
        evaluation: Labelled samples with their metric; None if the recipe has none.
        plans: One a target.
    """

    recipe: Recipe
    path: Path
    model: ir.Model
    spec: InputSpec
    calibration: Samples | None
    evaluation: Evaluation | None
    plans: tuple[TargetPlan, ...]

    def samples(self, count: int) -> list[Feeds]:
        """The first ``count`` samples of the user: calibration, else evaluation; seeded random ones if there is no data."""
        source = self.calibration or (self.evaluation.samples if self.evaluation else None)
        if source is None:
            return list(random_feeds(self.spec, self.recipe.seed, min(count, RANDOM_SAMPLES)))
        return list(itertools.islice(source, count))

    def context(self, target: Target) -> PassContext:
        """What the passes may know."""
        calibration = self.calibration
        stream: Callable[[], Iterator[Feeds]] | None = None if calibration is None else calibration.__iter__
        return PassContext(self.spec, target, stream, self.recipe.seed)


def prepare(loaded: LoadedRecipe, *, need_targets: bool = True) -> Prepared:
    """Load and check everything that a compile needs.

    Args:
        need_targets: Refuse targets that cannot be used here (a plan shows them instead).

    Raises:
        RecipeError: The recipe names no model, or inputs that the model does not have.
        ModelError: The model cannot be read.
        DataError: Samples do not fit the inputs.
        PreconditionError: A step needs data that the recipe does not give.
        TargetUnavailableError: A target cannot be used here.
    """
    recipe = loaded.recipe
    plans = tuple(plan_target(section, recipe) for section in recipe.targets)
    if need_targets:
        for plan in itertools.chain.from_iterable(p.candidates or (p,) for p in plans):
            if reason := plan.target.runtime.unavailable(plan.target.machine):
                raise TargetUnavailableError(reason, where=f"target {plan.target.name}")
    if recipe.model is None:
        raise RecipeError("names no model", where=loaded.origin, fix="add 'model: FILE.onnx' or give it with --model")
    path = loaded.folder / recipe.model
    model = load_model(path)
    calibration = _open(recipe.data.calibration, loaded.folder, model)
    evaluation = _evaluation(recipe.data.evaluation, loaded, model)
    source = calibration or (evaluation.samples if evaluation else None)
    spec = resolve_inputs(model, recipe.inputs, next(iter(source)) if source else None)
    _check_budget(recipe.budget, evaluation, loaded.origin)
    _check_latency(recipe.budget, plans)
    if calibration is None:
        _check_samples(plans)
    return Prepared(recipe, path, model, spec, calibration, evaluation, plans)


def plan_target(section: TargetSection, recipe: Recipe) -> TargetPlan:
    """The machine, the runtime and the steps of one target of a recipe."""
    machine = find_machine(section.machine)
    if section.runtime != AUTO:
        return _plan(section, machine, section.runtime or machine.runtimes[0], section.options, recipe)
    candidates = tuple(_plan(section, machine, n, section.options.get(n, {}), recipe) for n in machine.runtimes)
    return replace(candidates[0], candidates=candidates)


def _plan(
    section: TargetSection, machine: Machine, runtime: str, options: Mapping[str, Any], recipe: Recipe
) -> TargetPlan:
    steps = []
    for step in section.passes if section.passes is not None else recipe.passes:
        cls = pass_class(step.name)
        steps.append(cls(cls.options_type.model_validate(step.options)))
    found = runtime_class(runtime)
    target = Target(section.label, machine, found(found.options_type.model_validate(options), _link(section)))
    return TargetPlan(target, section, tuple(steps))


def _link(section: TargetSection) -> Link:
    if section.link is None:
        return HERE
    if isinstance(section.link, RpcLink):
        return Link(kind="rpc", address=section.link.rpc, key=section.link.key)
    return Link(kind=section.link)


def _open(source: DataSource | None, folder: Path, model: ir.Model) -> Samples | None:
    if source is None:
        return None
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    return open_samples(source, folder, inputs)


def _evaluation(source: DataSource | None, loaded: LoadedRecipe, model: ir.Model) -> Evaluation | None:
    samples = _open(source, loaded.folder, model)
    if source is None or samples is None:
        return None
    if source.metric is None:
        raise RecipeError(
            "evaluation data without a metric",
            where=loaded.origin,
            fix="add 'metric: NAME' under data.evaluation; 'tamis list metrics' has the names",
        )
    return Evaluation(samples, source.metric)


def _check_budget(budget: Budget, evaluation: Evaluation | None, origin: str) -> None:
    if budget.accuracy and budget.accuracy.max_drop is not None and evaluation is None:
        raise PreconditionError(
            "budget.accuracy.max_drop needs labelled data",
            where=origin,
            fix="add data.evaluation with a metric, or use budget.accuracy.min_sqnr",
        )


def _check_latency(budget: Budget, plans: Iterable[TargetPlan]) -> None:
    for plan in plans:
        if budget.latency and not plan.target.link.measures:
            raise PreconditionError(
                f"budget.latency cannot be judged over link {plan.target.link.kind!r}",
                where=f"target {plan.target.name}",
                expected="a link that measures: here, or {rpc: host:port}",
                fix="drop the budget, or reach the machine itself",
            )


def _check_samples(plans: Iterable[TargetPlan]) -> None:
    for step in (step for plan in plans for step in plan.steps if step.wants_samples()):
        raise PreconditionError(
            "there are no calibration samples",
            where=f"pass {step.name}",
            expected="some hundred inputs that are like those of the application",
            fix="add data: {calibration: ...} to the recipe, or give --calibration",
        )


def is_lossy(plan: TargetPlan) -> bool:
    """Whether any step of the plan may change the function."""
    return any(step.contract is Contract.LOSSY for step in plan.steps)

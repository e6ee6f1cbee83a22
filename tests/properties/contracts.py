"""Passes held to their promises on one graph, the way a compile does it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from benchmarks.corpus.steps import contract_here, host, legalization, plan
from tamis.compiler.adversarial import adversarial_feeds, random_feeds
from tamis.compiler.compare_outputs import Outputs
from tamis.compiler.digest import structure_signature
from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, Stage
from tamis.compiler.input_spec import InputSpec
from tamis.compiler.registry import pass_class, table
from tamis.compiler.runnable import load_unoptimized
from tamis.compiler.verify import Verifier
from tests import models
from tests.properties.graphs import Graph

SAMPLES = 2
STAGES = (Stage.CANONICALIZE, Stage.FUSE, Stage.PRUNE, Stage.LAYOUT)
Step = GraphPass[Any]


class Broken(AssertionError):
    """A pass broke a promise; says which, and shows the graph before it."""

    def __init__(self, step: Step, what: str, before: ir.Model) -> None:
        super().__init__(f"{step.name}: {what}\n{onnx.printer.to_text(ir.to_proto(before))}")
        self.step = step
        self.what = what


@cache
def all_steps() -> tuple[Step, ...]:
    """Every registered pass that may not change the function beside those of the recipe, and legalization at the end."""
    found = {step.name: step for step in plan().steps}
    for name in table("passes"):
        cls = pass_class(name)
        if cls.contract is not Contract.LOSSY and cls.stage in STAGES and name not in found:
            found[name] = cls()
    return (*found.values(), *legalization())


def verifier(model: ir.Model, spec: InputSpec) -> Verifier:
    """As the compiler makes it for a recipe without data, without the inputs at which the outputs overflow.

    There it is a matter of the order of summation which infinities meet, and whether they make another or NaN.
    """
    runner = load_unoptimized(model)
    adversarial = ((label, feeds) for label, feeds in adversarial_feeds(spec, 0) if _finite(runner(feeds)))
    return Verifier(load_unoptimized, model, list(random_feeds(spec, 0, SAMPLES)), adversarial)


def _finite(outputs: Outputs) -> bool:
    return all(bool(np.isfinite(array).all()) for array in outputs.values())


def hold_in_order(graph: Graph, chosen: Sequence[Step]) -> ir.Model:
    """Apply the steps one after the other, each held to its contract; returns the last model.

    Raises:
        Broken: See there.
    """
    judge, model = verifier(graph.model, graph.spec), graph.model
    for step in chosen:
        model = hold(step, model, graph.spec, judge)
    return model


def hold_alone(graph: Graph, chosen: Sequence[Step]) -> None:
    """Apply each step to the graph as it is, held to its contract.

    Raises:
        Broken: See there.
    """
    judge = verifier(graph.model, graph.spec)
    for step in chosen:
        if hold(step, graph.model, graph.spec, judge) is not graph.model:
            judge.accept_model(graph.model)


def hold(step: Step, before: ir.Model, spec: InputSpec, judge: Verifier) -> ir.Model:
    """Apply one step to a copy of ``before``, whose outputs ``judge`` has as its reference.

    Raises:
        Broken: The step fails, lies about ``modified``, leaves an invalid model or other inputs or outputs, breaks its
            contract, or finds something left to do in a second run.
    """
    context = PassContext(inputs=spec, target=host())
    after = before.clone()
    try:
        modified = step(after, context).modified
    except Exception as error:
        raise Broken(step, f"raises {type(error).__name__}: {error}", before) from error
    if not modified:
        if structure_signature(before) != structure_signature(after):
            raise Broken(step, "changed the model but reports modified=False", before)
        return before
    try:
        models.check(after)
    except Exception as error:
        raise Broken(step, f"leaves an invalid model: {error}", before) from error
    if edges(before) != edges(after):
        raise Broken(step, f"changes the edges of the graph: {edges(after)} instead of {edges(before)}", before)
    verdict = judge.check(after, contract_here(step, before))
    if not verdict.ok:
        found = onnx.printer.to_text(ir.to_proto(after))
        raise Broken(
            step, f"on {verdict.case!r}, expected {verdict.expected}: {verdict.detail}\n{found}\nmade of", before
        )
    if step(after.clone(), context).modified:
        raise Broken(step, "a second run changes the model again", before)
    judge.accept(verdict)
    return after


def edges(model: ir.Model) -> tuple[list[tuple[str | None, object]], ...]:
    """Names and element types of graph inputs and outputs."""
    return tuple([(v.name, v.dtype) for v in side] for side in (model.graph.inputs, model.graph.outputs))

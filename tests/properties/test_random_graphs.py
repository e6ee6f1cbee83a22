"""Passes keep their promises on random legal graphs, in the order of a compile and each alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from benchmarks.corpus.steps import host, steps
from tamis.compiler.digest import model_digest
from tamis.compiler.graph_pass import GraphPass, PassContext, PassOptions, PassResult
from tamis.compiler.input_spec import InputSpec, TensorSpec
from tamis.compiler.judge import Judge
from tamis.compiler.phases import Phases
from tamis.compiler.pipeline import Pipeline
from tamis.compiler.tuning_database import TuningDatabase
from tests import models, planted
from tests.properties.contracts import Broken, all_steps, hold, hold_alone, hold_in_order, verifier
from tests.properties.graphs import Graph, graphs

FIXED = settings(
    derandomize=True, database=None, deadline=None, print_blob=False, suppress_health_check=list(HealthCheck)
)
"""The same graphs every time; how long a graph takes is no matter."""


@settings(FIXED, max_examples=150)
@given(graphs())
def test_all_passes_in_order_keep_their_contracts(graph: Graph) -> None:
    hold_in_order(graph, all_steps())


@settings(FIXED, max_examples=100)
@given(graphs())
def test_each_pass_alone_keeps_its_contract(graph: Graph) -> None:
    hold_alone(graph, all_steps())


@settings(FIXED, max_examples=15)
@given(graphs(kinds=("float", "double")))
def test_a_compile_is_the_steps_one_after_the_other(graph: Graph) -> None:
    """Not with 16-bit floats, where the pipeline takes what ONNX Runtime does not round for broken ``exact`` contracts."""
    alone = hold_in_order(graph, steps())
    with tempfile.TemporaryDirectory() as folder:
        whole = compiled(graph, Path(folder))
    assert model_digest(whole) == model_digest(alone)


def compiled(graph: Graph, folder: Path) -> ir.Model:
    """What the compiler's own pipeline makes of the steps, with no step undone for its speed."""
    unguarded = tuple(type(step)(step.options.model_copy(update={"guard": "off"})) for step in steps())
    reference = verifier(graph.model, graph.spec)
    judge = Judge(
        host(),
        reference,
        reference.cases[0].feeds,
        None,
        None,
        None,
        TuningDatabase(folder / "tuning.sqlite"),
        quiet=True,
    )
    context = PassContext(inputs=graph.spec, target=host(), judge=judge)
    pipeline = Pipeline(context, reference, judge, Phases(), quiet=True)
    return pipeline.run(graph.model, unguarded).model


class SubtractsTheOtherWay(planted.Planted):
    """Takes Sub for commutative: wrong only where a constant is the first operand."""

    name = "subtracts-the-other-way"

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        wrong = [
            n for n in model.graph if n.op_type == "Sub" and n.inputs[0] is not None and n.inputs[0].is_initializer()
        ]
        for node in wrong:
            first, second = node.inputs
            node.replace_input_with(0, second)
            node.replace_input_with(1, first)
        return PassResult(model, modified=bool(wrong))


def test_a_wrong_pass_is_found_and_shrinks_to_the_node_that_shows_it() -> None:
    @settings(FIXED, max_examples=300, phases=[Phase.generate, Phase.shrink])
    @given(graphs(most=1, kinds=("float",)))
    def each_graph_holds(graph: Graph) -> None:
        hold_in_order(graph, [SubtractsTheOtherWay()])

    with pytest.raises(Broken, match="subtracts-the-other-way: on 'sample 1'") as caught:
        each_graph_holds()
    nodes = [line for line in str(caught.value).rpartition("made of")[2].splitlines() if " = " in line and "(" in line]
    assert len([line for line in nodes if "Sub" in line]) == 1
    assert len(nodes) <= 3


@pytest.mark.parametrize(
    "wrong",
    [w for w in planted.ALL if w not in (planted.Slow, planted.TooLossy, planted.MakesNan)],
    ids=lambda w: w.name,
)
def test_every_planted_pass_is_caught(wrong: type[GraphPass[PassOptions]]) -> None:
    text = "g (float[N,2,4,4] x) => (float[N,3,4,4] y) { a = Conv (x, W) y = Relu (a) }"
    spec = InputSpec((TensorSpec("x", np.dtype(np.float32), ("N", 2, 4, 4)),), {"N": (1, 2)})
    model: Any = models.model(text, 17, W=models.random(3, 2, 1, 1))
    with pytest.raises(Broken, match=f"^{wrong.name}: "):
        hold(wrong(), model, spec, verifier(model, spec))

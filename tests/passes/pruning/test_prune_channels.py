"""The pass as a whole: goals, repair, refusals, and what is done again from a stored decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from pydantic import ValidationError

from tamis.compiler.analysis.subject import name_nodes
from tamis.compiler.errors import PreconditionError
from tamis.compiler.graph_pass import Feeds, PassContext
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.prune_channels import Options, PruneChannels
from tests.models import check, model, random, run
from tests.passes.pruning import redundant


def net() -> ir.Model:
    made = redundant.net()
    Canonicalize()(made)
    return made


def samples() -> Iterator[Feeds]:
    for seed in range(24):
        yield {"x": random(1, 6, 8, 8, seed=100 + seed)}


CONTEXT = PassContext(samples=samples)
UNSEEN = {"x": random(1, 6, 8, 8, seed=7)}


def prune(made: ir.Model, context: PassContext = CONTEXT, **options: Any) -> Any:
    result = PruneChannels(Options(multiple=1, **options))(made, context)
    check(made)
    return result


def off(found: ir.Model) -> float:
    """Relative error on an input that nothing was fitted to."""
    wanted, got = run(net(), UNSEEN)[0], run(found, UNSEEN)[0]
    return float(np.linalg.norm(wanted - got) / np.linalg.norm(wanted))


def test_channels_that_others_express_go_and_the_rest_is_refitted() -> None:
    found = net()
    result = prune(found, macs=0.5)
    assert result.modified and result.missed is None
    assert result.counts["units removed"] > 10 and result.counts["layers refitted"] >= 1
    assert off(found) < 1e-3
    assert [d.got for d in result.details if d.place == AxisGraph(found).groups[0].name]


@pytest.mark.parametrize("criterion", ["obs", "l1", "l2", "act", "fpgm", "random"])
def test_repair_is_better_than_none(criterion: Any) -> None:
    errors = {}
    for compensation in ("refit", "none"):
        found = net()
        prune(found, macs=0.6, importance=criterion, compensation=compensation)
        errors[compensation] = off(found)
    assert errors["refit"] < 0.5 * errors["none"]


def test_a_goal_is_reached_and_not_by_far() -> None:
    found = net()
    prune(found, size=0.5)
    assert 0.42 < weight_bytes(found) / weight_bytes(net()) <= 0.5


def weight_bytes(of: ir.Model) -> int:
    return sum(value.const_value.nbytes for value in of.graph.initializers.values() if value.const_value is not None)


def test_the_same_twice() -> None:
    first, second = net(), net()
    prune(first, macs=0.5, importance="random")
    prune(second, macs=0.5, importance="random")
    assert run(first, UNSEEN)[0].tobytes() == run(second, UNSEEN)[0].tobytes()


def test_several_steps_reach_the_same_goal() -> None:
    found = net()
    result = prune(found, macs=0.4, steps=3)
    assert result.missed is None and off(found) < 1e-3


def test_a_goal_out_of_reach_is_said_and_the_best_effort_kept() -> None:
    found = net()
    result = prune(found, macs=0.05, min_keep=0.5)
    assert result.modified and "wanted macs at 0.05 of the model as given, got 0." in str(result.missed)


def test_without_data() -> None:
    found = net()
    result = prune(found, PassContext(), macs=0.6, importance="l2", compensation="merge")
    assert result.modified
    with pytest.raises(PreconditionError, match="there is no calibration data"):
        prune(net(), PassContext(), macs=0.6)


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(PreconditionError, match="latency cannot be measured"):
        prune(net(), latency=0.5)
    with pytest.raises(PreconditionError, match="the drop cannot be measured"):
        prune(net(), max_drop=0.01)


@pytest.mark.parametrize("options", [{}, {"macs": 0.5, "latency": 0.5}, {"max_drop": 0.1, "steps": 2}, {"macs": 1.0}])
def test_there_is_one_goal(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Options(**options)


def test_left_out_groups_stay_whole() -> None:
    made = net()
    name_nodes(made)
    names = [group.name for group in AxisGraph(made).groups]
    result = prune(made, macs=0.7, exclude=(names[0],))
    assert [d.place for d in result.details] == names[1:]


FROZEN = """g (float[1, 6] x) => (float[1, 4] y) { y = Gemm(x, u) }"""


def test_a_model_without_groups_stays_and_says_so() -> None:
    made = model(FROZEN, u=random(6, 4))
    Canonicalize()(made)
    result = prune(made, macs=0.5)
    assert not result.modified and "nothing can be pruned" in str(result.missed)
    assert {skip.reason for skip in result.skips} >= {"a graph output"}

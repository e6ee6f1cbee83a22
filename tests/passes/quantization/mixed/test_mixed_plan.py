"""The whole search on a small network, with a judge whose times are given, so that nothing depends on the machine."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.compare_outputs import compare_outputs
from tamis.compiler.errors import PreconditionError
from tamis.compiler.graph_pass import PassContext
from tamis.compiler.judge import Judge
from tamis.compiler.machine import find_machine
from tamis.compiler.paired_drop import Drop
from tamis.compiler.recipe import AccuracyBudget
from tamis.compiler.registry import runtime_class
from tamis.compiler.runnable import load_unoptimized
from tamis.compiler.target import NodeTime, Target
from tamis.compiler.timings import Comparison
from tamis.compiler.tuning_database import TuningDatabase
from tamis.compiler.verify import Verifier
from tamis.passes.judging.accuracy import Accuracy, AccuracyLook
from tamis.passes.judging.sensitivity import Sensitivity, damage_of
from tamis.passes.quantization.mixed.mix_verdict import MixedPlan
from tamis.passes.quantization.mixed.mixed_plan import (
    ALL_FLOAT,
    NOT_FASTER,
    chosen_units,
    mixed_plan,
)
from tamis.passes.quantization.placement.units import Unit, find_units
from tests.passes.quantization.mix_models import network, quantized, samples, table

UNITS = ("stem", "body", "tail", "head")
FLOAT_NS = {"stem": 90_000.0, "body": 80_000.0, "tail": 70_000.0, "head": 10_000.0}
OTHER_NS = 1_000.0


@dataclass(frozen=True)
class GivenTimes(Judge):
    """A judge that times by a table: a unit takes half its time in integers, unless ``slow`` names it."""

    drops: Callable[[ir.Model], float] = lambda model: 0.0
    error: float | None = 0.0
    slow: frozenset[str] = frozenset()
    gain: float = 2.0
    asked: list[str] = field(default_factory=list)

    def drop_meter(self, reference: ir.Model, seed: int = 0) -> Callable[[ir.Model, float], Drop]:
        return self._look

    def _look(self, model: ir.Model, limit: float) -> Drop:
        self.asked.append("drop")
        return Drop(self.drops(model), self.error, 100)

    def _nanoseconds(self, node: ir.Node) -> float:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            return 0.0
        whole = FLOAT_NS.get(str(node.name), OTHER_NS)
        if node.name not in UNITS or not is_integer(node):
            return whole
        return whole * (1.5 if node.name in self.slow else 1 / self.gain)

    def kernel_times(self, model: ir.Model, seconds: float = 2.0, *, legalize: bool = True) -> list[NodeTime]:
        self.asked.append("kernel_times")
        return [NodeTime(node.op_type, self._nanoseconds(node), (str(node.name),)) for node in model.graph]

    def rough_speedup(self, before: ir.Model, after: ir.Model, seconds: float = 1.0) -> Comparison:
        return self.speedup(before, after)

    def speedup(self, before: ir.Model, after: ir.Model, seconds: float = 3.0, *, legalize: bool = True) -> Comparison:
        self.asked.append("speedup")
        a, b = (sum(self._nanoseconds(node) for node in model.graph) for model in (before, after))
        ratio = a / b
        verdict: Any = "faster" if ratio > 1.03 else "undecided"
        return Comparison(ratio, ratio, ratio, ratio, ratio, ratio, 0.0, verdict, (a,), (b,), (a,), (b,), 1, 1)


def is_integer(node: ir.Node) -> bool:
    producer = node.inputs[1].producer() if node.inputs[1] is not None else None
    return producer is not None and producer.op_type == "DequantizeLinear"


def integer_units(model: ir.Model) -> set[str]:
    return {str(node.name) for node in model.graph if node.name in UNITS and is_integer(node)}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., tuple[GivenTimes, PassContext]]]:
    target = Target("host", find_machine("host"), runtime_class("onnxruntime")())
    database = TuningDatabase(tmp_path / "tuning.sqlite")
    given = list(samples())

    def build(budget: AccuracyBudget, **options: Any) -> tuple[GivenTimes, PassContext]:
        verifier = Verifier(load_unoptimized, network(), given)
        judge = GivenTimes(target, verifier, given[0], budget, None, None, database, True, **options)
        return judge, PassContext(target=target, samples=samples, judge=judge)

    with database:
        yield build


def plan(context: PassContext, model: ir.Model | None = None) -> MixedPlan:
    model = model or network()
    return mixed_plan(model, find_units(model, table()), context, quantized)


def test_everything_in_integers_where_the_budget_allows_it(make: Any) -> None:
    _, context = make(AccuracyBudget(max_drop=0.1), drops=lambda model: 0.0)
    found = plan(context)
    assert set(found.chosen) >= {"stem", "body", "tail"}
    assert found.speedup is not None and found.speedup[0] > 1.7
    assert found.looks <= 2
    assert all("faster" in v.reason for v in found.verdicts if v.integer)


def test_the_unit_that_the_task_cannot_bear_stays_float(make: Any) -> None:
    _, context = make(AccuracyBudget(max_drop=0.1), drops=lambda model: 0.5 if "body" in integer_units(model) else 0.0)
    found = plan(context)
    assert "body" not in found.chosen
    assert {"stem", "tail"} <= set(found.chosen)
    body = next(v for v in found.verdicts if v.unit == "body")
    assert body.reason == "costs too much accuracy for the time it saves"
    assert [s.node for s in found.skips()] == [v.unit for v in found.verdicts if not v.integer]


def test_a_unit_that_is_slower_in_integers_stays_float(make: Any) -> None:
    _, context = make(AccuracyBudget(max_drop=0.1), drops=lambda model: 0.0, slow=frozenset({"tail"}))
    found = plan(context)
    tail = next(v for v in found.verdicts if v.unit == "tail")
    assert tail.int8_us == pytest.approx(1.5 * tail.float_us)
    assert not tail.integer
    assert tail.reason == "not faster in integers, conversions at its edges included"
    assert {"stem", "body"} <= set(found.chosen)


def test_nothing_holds_the_budget(make: Any) -> None:
    judge, context = make(AccuracyBudget(max_drop=0.1), drops=lambda model: 0.5 if integer_units(model) else 0.0)
    found = plan(context)
    assert found.chosen == ()
    assert {v.reason for v in found.verdicts} == {ALL_FLOAT}
    assert found.speedup is None
    assert judge.asked.count("drop") <= 24


def test_what_holds_but_is_not_faster_stays_float(make: Any) -> None:
    _, context = make(AccuracyBudget(max_drop=0.1), drops=lambda model: 0.0, gain=1.001)
    found = plan(context)
    assert found.chosen == ()
    assert {v.reason for v in found.verdicts} == {NOT_FASTER}
    assert found.speedup is not None and found.speedup[0] < 1.03


def test_without_labels_the_noise_decides(make: Any) -> None:
    judge, context = make(AccuracyBudget(min_sqnr=20.0))
    everything = plan(context)
    model = network()
    sqnr = judge.sqnr_db(quantized(model, chosen_units(everything, find_units(model, table()))))
    assert sqnr >= 20
    stricter, context = make(AccuracyBudget(min_sqnr=sqnr + 3))
    found = plan(context)
    assert set(found.chosen) != set(everything.chosen)
    if found.chosen:
        assert stricter.sqnr_db(quantized(model, chosen_units(found, find_units(model, table())))) >= sqnr + 3


def test_a_rebuild_decides_the_same_without_measuring(make: Any) -> None:
    judge, context = make(AccuracyBudget(max_drop=0.1), drops=lambda model: 0.0)
    first = plan(context)
    asked = len(judge.asked)
    assert plan(context) == first
    assert len(judge.asked) == asked
    assert MixedPlan.from_json(json.loads(json.dumps(first.to_json()))) == first


def test_the_model_is_left_as_it_is(make: Any) -> None:
    _, context = make(AccuracyBudget(max_drop=0.1), drops=lambda model: 0.0)
    model, feeds = network(), next(samples())
    before = [node.name for node in model.graph], load_unoptimized(model)(feeds)
    plan(context, model)
    assert [node.name for node in model.graph] == before[0]
    assert all(d.same_bits for d in compare_outputs(before[1], load_unoptimized(model)(feeds)))


def test_units_that_break_the_outputs_are_never_tried_together(make: Any) -> None:
    def broken(model: ir.Model, units: Sequence[Unit]) -> ir.Model:
        found = quantized(model, units)
        if any(unit.name == "stem" for unit in units) and "bd" in found.graph.initializers:
            found.graph.initializers["bd"].const_value = ir.tensor(np.full(4, np.nan, np.float32), name="bd")
        return found

    _, context = make(AccuracyBudget(min_sqnr=10.0))
    model = network()
    found = mixed_plan(model, find_units(model, table()), context, broken)
    assert "stem" not in found.chosen
    stem = next(v for v in found.verdicts if v.unit == "stem")
    assert stem.reason == "outputs are not finite when it is quantized"
    assert stem.sqnr_db is None
    assert {"body", "tail"} & set(found.chosen)


def test_no_units(make: Any) -> None:
    _, context = make(AccuracyBudget(max_drop=0.1))
    assert mixed_plan(network(), [], context, quantized) == MixedPlan(())


def test_outside_a_compile_it_is_refused() -> None:
    with pytest.raises(PreconditionError, match="cannot be measured"):
        plan(PassContext(samples=samples))


def test_without_samples_it_is_refused(make: Any) -> None:
    judge, _ = make(AccuracyBudget(max_drop=0.1))
    with pytest.raises(PreconditionError, match="cannot be measured"):
        plan(PassContext(judge=judge))


def test_damage_is_the_divergence_where_it_is_known_everywhere() -> None:
    both = [Sensitivity(1.0, 0.1), Sensitivity(3.0, 0.3), Sensitivity(4.0, 0.0)]
    found = damage_of(both)
    assert found[1] == pytest.approx(3 * found[0])
    assert found[2] > 0
    assert damage_of([*both, Sensitivity(2.0)]) == [1.0, 3.0, 4.0, 2.0]


def look(judge: Judge) -> Accuracy:
    return AccuracyLook(judge, network(), 0)(network())


def test_excess_counts_noise_and_drop(make: Any) -> None:
    judge, _ = make(AccuracyBudget(max_drop=0.1), drops=lambda model: 0.3)
    assert look(judge).excess == pytest.approx(2.0)
    judge, _ = make(AccuracyBudget(max_drop=0.1), drops=lambda model: 0.0)
    assert look(judge).excess == pytest.approx(-1.0)
    judge, _ = make(AccuracyBudget(max_drop=0.0), drops=lambda model: 0.0, error=0.3)
    assert look(judge).excess == 0
    judge, _ = make(AccuracyBudget(max_drop=0.1), drops=lambda model: math.nan)
    assert look(judge).excess == math.inf


@pytest.mark.parametrize(("error", "margin"), [(0.0, 0.0), (0.02, 0.02), (0.3, 0.05), (None, 0.05)])
def test_a_standard_error_is_left_of_the_budget_but_at_most_half(make: Any, error: float | None, margin: float) -> None:
    for drop, holds in ((0.0999 - margin, True), (0.1001 - margin, False)):
        judge, _ = make(AccuracyBudget(max_drop=0.1), drops=lambda model, drop=drop: drop, error=error)
        found = look(judge)
        assert found.margin == pytest.approx(margin)
        assert (found.excess <= 0) is holds


def test_what_holds_only_without_the_margin_is_not_taken(make: Any) -> None:
    drops = lambda model: 0.09 if "body" in integer_units(model) else 0.0
    _, context = make(AccuracyBudget(max_drop=0.1), drops=drops)
    assert "body" in plan(context).chosen
    _, context = make(AccuracyBudget(max_drop=0.1, min_sqnr=1.0), drops=drops, error=0.02)
    found = plan(context)
    assert "body" not in found.chosen and "stem" in found.chosen
    assert found.drop == Drop(0.0, 0.02, 100) and found.margin == 0.02


def test_details_say_what_each_unit_got_and_why(make: Any) -> None:
    _, context = make(AccuracyBudget(max_drop=0.1), drops=lambda model: 0.5 if "body" in integer_units(model) else 0.0)
    found = plan(context)
    details = {d.place: d for d in found.details()}
    assert list(details) == [v.unit for v in found.verdicts]
    assert (details["stem"].got, details["stem"].why) == ("int8", "faster, within the accuracy budget")
    assert (details["body"].got, details["body"].why) == ("float", "costs too much accuracy for the time it saves")
    assert details["body"].figures["float_us"] == pytest.approx(80)
    assert details["body"].figures["sqnr_db"] > 10

"""Find the mix of float and 8-bit units that is fastest on the target within the accuracy budget, and say why.

Each unit's sensitivity and its time in float and in integers are measured; an integer program gives the front of mixes;
the real metric decides which of them holds, and parts are reverted and given back by it; what is left is timed end to
end against the float model and against all units in integers. The outcome is remembered with what it rests on, so that a
rebuild decides the same without measuring.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeVar

import onnx_ir as ir

from tamis.compiler.analysis.subject import name_nodes
from tamis.compiler.digest import model_digest
from tamis.compiler.errors import PreconditionError
from tamis.compiler.graph_pass import PassContext
from tamis.compiler.judge import Judge
from tamis.compiler.progress import Progress
from tamis.compiler.runnable import load_for_scores
from tamis.compiler.timings import Comparison
from tamis.passes.judging.accuracy import Accuracy, AccuracyLook
from tamis.passes.judging.sensitivity import (
    Sensitivity,
    damage_of,
    draw_samples,
    fewer,
    kinds_of_outputs,
    measure_sensitivities,
)
from tamis.passes.quantization.mixed.back_off import Chosen, Looks, back_off, between
from tamis.passes.quantization.mixed.choose_mix import Mix, MixProblem, front, solve
from tamis.passes.quantization.mixed.latency_table import (
    Layout,
    Part,
    build_problem,
    lay_out,
    measure_conversions,
    place_times,
    refit,
    with_rewritten,
)
from tamis.passes.quantization.mixed.mix_verdict import MixedPlan, UnitVerdict, reason_of

KIND = "mixed-precision"
SEARCH = "2"
"""What is searched, and how; decisions of an earlier search are not taken again."""
LOOKS = 24
"""How often the metric is looked at; bisection takes four or five."""
PROFILE_SECONDS = 1.5
ROUNDS = 3
"""Mixes that are timed end to end to learn what edges cost."""
FINALISTS = 3
"""Mixes that hold the budget and are timed end to end, those first that should be fastest."""
ALL_FLOAT = "no mix holds the accuracy budget"
NOT_FASTER = "no mix that holds the accuracy budget is faster, measured end to end"

UnitT = TypeVar("UnitT", bound=Part)
Quantize = Callable[[ir.Model, Sequence[UnitT]], ir.Model]


def mixed_plan(model: ir.Model, units: Sequence[UnitT], context: PassContext, quantize: Quantize[UnitT]) -> MixedPlan:
    """Decide for each unit.

    Args:
        model: In float; left as it is.
        units: What can be quantized.
        context: With a judge that can time steps on the target, and samples.
        quantize: Gives a quantized copy of the model in which exactly the given units are integer.

    Raises:
        PreconditionError: There is no judge, nothing can be timed on the target, or there are no samples.
    """
    judge = _judge(context)
    if not units:
        return MixedPlan(())
    full = quantize(model, units)
    workload = {
        "model": model_digest(model),
        "integer": model_digest(full),
        "budget": f"{judge.max_drop} {judge.min_sqnr} {judge.baseline}",
        "seed": str(context.seed),
        "search": SEARCH,
    }
    search = _Search(model, full, units, context, judge, quantize)
    return MixedPlan.from_json(judge.decide(KIND, workload, lambda: search.run().to_json()))


def _judge(context: PassContext) -> Judge:
    judge = context.judge
    if judge is None or not judge.measures or context.samples is None:
        raise PreconditionError(
            "the mix of precisions cannot be measured",
            where="pass quantize-static, mix: measured",
            expected="samples, and a target that this machine can time single steps on",
            fix="add data to the recipe, or use mix: all",
        )
    return judge


@dataclass(frozen=True)
class _Candidate:
    """A mix that holds the budget, timed against the float model."""

    chosen: Chosen
    comparison: Comparison

    def slowness(self) -> float:
        """To sort by, the fastest first."""
        return -self.comparison.speedup


class _Search:
    def __init__(
        self,
        model: ir.Model,
        full: ir.Model,
        units: Sequence[UnitT],
        context: PassContext,
        judge: Judge,
        quantize: Quantize[UnitT],
    ) -> None:
        self.model, self.full, self.units, self.context, self.judge = model, full, units, context, judge
        self._comparisons: dict[Chosen, Comparison] = {}
        self._accuracies: dict[Chosen, Accuracy] = {}
        self._legalized: dict[Chosen, ir.Model] = {}
        self.everything: Chosen = frozenset(range(len(units)))
        self._quantize: Callable[[Chosen], ir.Model] = lambda chosen: quantize(
            model, [units[i] for i in sorted(chosen)]
        )

    def build(self, chosen: Chosen) -> ir.Model:
        """The model with ``chosen`` in integers."""
        if not chosen:
            return self.model
        return self.full if chosen == self.everything else self._quantize(chosen)

    def run(self) -> MixedPlan:
        """Measure, solve, back off, measure."""
        sensitivities = self._sensitivities()
        problem = self._problem(damage_of(sensitivities))
        mixes = front(problem)
        look = AccuracyLook(self.judge, self.model, self.context.seed)
        looks = Looks(lambda chosen: self._look(look, chosen), LOOKS)
        latency = cache(partial(predicted, problem))
        more_harmful = self._more_harmful(problem, mixes[0])
        order = [*more_harmful, *(mix.chosen for mix in mixes)]
        for chosen in (mixes[0].chosen, *more_harmful):  # what the most harmful one bears, a faster one may bear too
            looks(chosen)
        damage = [place.damage for place in problem.places]
        middle = between(more_harmful, mixes[0].chosen, damage, lambda c: self._compared(c).speedup, looks)
        back_off(order, damage, latency, looks)
        holding = [t.chosen for t in looks.trials if t.excess <= 0 and t.chosen]
        candidates = {*sorted(holding, key=latency)[:FINALISTS], *(self._comparisons.keys() & holding), *middle}
        timed = sorted((self._timed(c) for c in sorted(candidates, key=latency)), key=_Candidate.slowness)
        winner = next((candidate for candidate in timed if candidate.comparison.verdict == "faster"), None)
        if timed and winner is None:
            timed = [self._timed_with_care(timed[0].chosen)]
            winner = timed[0] if timed[0].comparison.verdict == "faster" else None
        chosen = winner.chosen if winner else frozenset()
        refusal = None if winner else (NOT_FASTER if candidates else ALL_FLOAT)
        shown = winner or (timed[0] if timed else None)
        accuracy = self._accuracies[shown.chosen] if shown else Accuracy(0.0)
        return MixedPlan(
            tuple(self._verdicts(chosen, refusal, mixes, problem, sensitivities)),
            speedup=(shown.comparison.speedup, shown.comparison.low, shown.comparison.high) if shown else None,
            predicted_speedup=latency(frozenset()) / latency(shown.chosen) if shown else None,
            looks=len(looks.trials),
            drop=accuracy.drop,
            margin=accuracy.margin,
        )

    def _look(self, look: AccuracyLook, chosen: Chosen) -> float:
        self._accuracies[chosen] = look(self.build(chosen))
        return self._accuracies[chosen].excess

    def _sensitivities(self) -> list[Sensitivity]:
        assert self.context.samples is not None
        samples = draw_samples(self.context.samples(), self.context.seed)
        load = partial(load_for_scores, runtime=self.judge.target.runtime)
        reference = load(self.model)
        begun = time.perf_counter()
        kinds = kinds_of_outputs(self.model, [reference(feeds) for feeds in samples])
        few = fewer(samples, len(self.units) * (time.perf_counter() - begun))
        variants = [lambda i=i: load(self._quantize(frozenset({i}))) for i in sorted(self.everything)]
        with Progress("sensitivity of units", quiet=self.judge.quiet) as progress:
            return list(measure_sensitivities(reference, variants, few, kinds, progress.update))

    def _more_harmful(self, problem: MixProblem, mix: Mix) -> list[Chosen]:
        """Mixes that were timed and may be faster than predicted, the most harmful first."""
        timed = [c for c in self._comparisons if c <= problem.units and problem.damage(c) > mix.damage]
        return sorted(timed, key=lambda chosen: (-problem.damage(chosen), sorted(chosen)))

    def _compared(self, chosen: Chosen) -> Comparison:
        """A mix against the float model, end to end, roughly; timed once. The guard of the step measures with care."""
        if chosen not in self._comparisons:
            models = [self._legal(frozenset()), self._legal(chosen)]
            self._comparisons[chosen] = self.judge.rough_speedup(models[0], models[1])
        return self._comparisons[chosen]

    def _timed(self, chosen: Chosen) -> _Candidate:
        return _Candidate(chosen, self._compared(chosen))

    def _timed_with_care(self, chosen: Chosen) -> _Candidate:
        models = [self._legal(frozenset()), self._legal(chosen)]
        return _Candidate(chosen, self.judge.speedup(models[0], models[1], legalize=False))

    def _legal(self, chosen: Chosen) -> ir.Model:
        """A mix after legalization; those that are timed more than once are kept."""
        if chosen in self._legalized:
            return self._legalized[chosen]
        found = self.judge.legalized(self.build(chosen))
        if chosen in (frozenset(), self.everything):
            self._legalized[chosen] = found
        return found

    def _problem(self, damage: Sequence[float]) -> MixProblem:
        """Latencies from two profiles, and edges corrected by what mixes take from end to end.

        The profiles are taken one after the other, so the second is scaled to the ratio that pairs of runs give.
        """
        layout = lay_out(self.model, self.full, self.units)
        cost = measure_conversions(self.judge.target.runtime.load_model)
        (floats, whole), (integers, all_ns) = (self._profile(c, layout) for c in (frozenset(), self.everything))
        scale = whole / self._compared(self.everything).speedup / all_ns
        integers = {i: nanoseconds * scale for i, nanoseconds in integers.items()}
        floats = with_rewritten(floats, integers, layout.units, whole - sum(floats.values()))
        table = build_problem(layout, floats, integers, damage, cost)
        rest = whole - sum(place.float_ns for place in table.places)
        seen: dict[Chosen, float] = {}
        problem = table
        for _ in range(ROUNDS):
            mix = solve(problem)
            inside = mix.chosen | mix.free
            if inside in seen or not mix.chosen:
                break
            places = table.latency_ns(inside) - table.edges_ns(inside)
            seen[inside] = max(0.0, whole / self._compared(mix.chosen).speedup - rest - places)
            problem = refit(table, seen)
        return problem

    def _profile(self, chosen: Chosen, layout: Layout) -> tuple[dict[int, float], float]:
        legalized = self._legal(chosen)
        name_nodes(legalized)
        times = self.judge.kernel_times(legalized, PROFILE_SECONDS, legalize=False)
        return place_times(legalized, times, layout), sum(each.nanoseconds for each in times)

    def _verdicts(
        self,
        chosen: Chosen,
        refusal: str | None,
        mixes: Sequence[Mix],
        problem: MixProblem,
        sensitivities: Sequence[Sensitivity],
    ) -> list[UnitVerdict]:
        found = []
        for i, unit in enumerate(self.units):
            place, sensitivity = problem.places[i], sensitivities[i]
            reason = refusal or reason_of(i, chosen, mixes, sensitivity)
            found.append(
                UnitVerdict(
                    unit.name,
                    i in chosen,
                    reason,
                    sqnr_db=_finite(sensitivity.sqnr_db),
                    divergence=_finite(sensitivity.divergence),
                    float_us=place.float_ns / 1000,
                    int8_us=place.int8_ns / 1000,
                )
            )
        return found


def predicted(problem: MixProblem, chosen: Chosen) -> float:
    """Nanoseconds of a mix, with free places where they are fastest."""
    return solve(problem, fixed={i: i in chosen for i in problem.units | chosen}).latency_ns


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def chosen_units(plan: MixedPlan, units: Sequence[UnitT]) -> list[UnitT]:
    """The units that become integer, of those that the plan was made for."""
    return [unit for unit, verdict in zip(units, plan.verdicts, strict=True) if verdict.integer]

"""Latency as a cost, measured in the real model on the target.

Single layers timed alone would say little: what a layer takes depends on the layout that its neighbours leave, and on what
the runtime fuses. So the whole model is measured at some widths, and a function of the widths is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.subject import name_nodes
from tamis.compiler.errors import PreconditionError
from tamis.compiler.judge import Judge
from tamis.compiler.timings import Comparison
from tamis.passes.pruning.allocation.cost import PolynomialCost, Widths
from tamis.passes.pruning.allocation.geometry import Geometry
from tamis.passes.pruning.allocation.kernel_owners import Profile, profile_of
from tamis.passes.pruning.allocation.latency_fit import fit_latency
from tamis.passes.pruning.allocation.polynomial import Polynomial
from tamis.passes.pruning.allocation.sample_widths import sample_widths
from tamis.passes.pruning.allocation.widths import step_of
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.axes.remove import remove

SAMPLES = 12
"""Widths that are measured; a kernel has three unknowns."""
PROFILE_SECONDS = 0.4
COMPARE_SECONDS = 0.6
WIDE = 0.1
"""Where the interval of a ratio of wall times is wider, that of CPU times counts if it is narrower: the machine is busy."""


@dataclass(frozen=True)
class Measured:
    """A model at some widths.

    Args:
        widths: Units left of each group.
        profile: Times of its kernels.
        ratio: Time from end to end over that of the whole model.
        whole_ns: Time of the whole model while it was compared, nanoseconds.
    """

    widths: Mapping[Group, int]
    profile: Profile
    ratio: float
    whole_ns: float


class LatencyCost(PolynomialCost):
    """Nanoseconds of one run, as fitted to measurements.

    Args:
        groups, polynomial, steps: See ``PolynomialCost``.
        measured: What was fitted.
    """

    def __init__(
        self, groups: Sequence[Group], polynomial: Polynomial, steps: Sequence[int], measured: Sequence[Measured]
    ) -> None:
        super().__init__("ns", groups, polynomial, steps)
        self.measured = tuple(measured)

    @property
    def errors(self) -> tuple[float, ...]:
        """Predicted over measured time of each width that was fitted, minus 1."""
        whole = self.whole({})
        return tuple(self.whole(m.widths) / whole / m.ratio - 1 for m in self.measured)


def measure_latency(
    graph: AxisGraph,
    model: ir.Model,
    judge: Judge,
    *,
    multiple: int,
    count: int = SAMPLES,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> LatencyCost:
    """Prune clones at random, profile them, time them in pairs with the whole model, and fit.

    Args:
        graph: Whose groups the cost is about.
        model: Its model; left as it is.
        judge: Measures on the target.
        multiple: Channels in a block of the target's kernels.
        count: Most widths to measure, the whole model and the narrowest one among them.
        seed: Of the widths and of the units that go.
        progress: Gets (fraction done, a note).

    Raises:
        PreconditionError: The target cannot time single steps.
        LoweringError, RuntimeFailureError: A pruned model cannot be run.
    """
    if not judge.measures:
        raise PreconditionError(
            "latency cannot be predicted on this target",
            where=f"target {judge.target.name}",
            expected="a runtime that times single kernels, on a machine at hand",
            found=f"{judge.target.runtime.name} over link {judge.target.link.kind}",
            fix="set a goal for macs or size instead",
        )
    samples = sample_widths(graph.groups, count, multiple, seed)
    silent = replace(judge, quiet=True)
    whole = silent.legalized(model)
    measured = []
    for i, widths in enumerate(samples):
        measured.append(_measure(graph, model, silent, whole, widths, seed + i))
        if progress is not None:
            progress((i + 1) / len(samples), f"{i + 1}/{len(samples)}")
    return fit(graph, measured, multiple)


def fit(graph: AxisGraph, measured: Sequence[Measured], multiple: int) -> LatencyCost:
    """The cost that fits what was measured; the first one is the whole model."""
    geometry = Geometry(graph)
    steps = [step_of(group, multiple) for group in graph.groups]
    counted = [np.ceil(geometry.widths(m.widths) / steps) * steps for m in measured]
    ratio = fit_latency(geometry, counted, [m.profile for m in measured], [m.ratio for m in measured])
    whole_ns = float(np.median([m.whole_ns for m in measured]))
    return LatencyCost(graph.groups, ratio.times(whole_ns), steps, measured)


def pruned_clone(graph: AxisGraph, model: ir.Model, widths: Widths, seed: int) -> ir.Model:
    """A copy of ``model`` with as many units as ``widths`` says, drawn at random: what they are costs the same."""
    random = np.random.default_rng(seed)
    clone = model.clone()
    other = AxisGraph(clone, graph.views)
    removal = {}
    for group, twin in zip(graph.groups, other.groups, strict=True):
        fewer = group.units - widths.get(group, group.units)
        if fewer:
            removal[twin] = np.sort(random.permutation(group.units)[:fewer])
    remove(other, removal)
    return clone


def _measure(
    graph: AxisGraph, model: ir.Model, judge: Judge, whole: ir.Model, widths: Mapping[Group, int], seed: int
) -> Measured:
    form = judge.legalized(pruned_clone(graph, model, widths, seed))
    name_nodes(form)
    profile = profile_of(model, form, judge.kernel_times(form, PROFILE_SECONDS, legalize=False))
    if all(left == group.units for group, left in widths.items()):
        return Measured(widths, profile, 1.0, profile.total)
    compared = judge.rough_speedup(whole, form, COMPARE_SECONDS)
    return Measured(widths, profile, 1 / speedup_of(compared), compared.median_a_ms * 1e6)


def speedup_of(compared: Comparison) -> float:
    """Of the CPU time where that is sure and that of the wall time is not."""
    wall, cpu = (high / low for high, low in ((compared.high, compared.low), (compared.cpu_high, compared.cpu_low)))
    return compared.cpu_speedup if wall > 1 + WIDE and cpu < wall else compared.speedup

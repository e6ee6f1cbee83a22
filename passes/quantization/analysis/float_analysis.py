"""What quantizing each layer of a float model alone would do to the outputs, with its ranges and its saturated pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import onnx_ir as ir

from tamis.compiler.analysis.finding import Bars, Finding
from tamis.compiler.graph_pass import PassContext
from tamis.compiler.int8_kernels import Int8Kernels
from tamis.compiler.runnable import load_for_scores
from tamis.passes.judging.sensitivity import (
    Sensitivity,
    draw_samples,
    kinds_of_outputs,
    measure_sensitivities,
)
from tamis.passes.quantization.calibration.ranges import find_range
from tamis.passes.quantization.calibration.statistics import TensorStatistics, collect
from tamis.passes.quantization.placement.integer_forms import to_integer_forms
from tamis.passes.quantization.placement.islands import build_islands
from tamis.passes.quantization.placement.raise_opset import obstacle, raise_opset
from tamis.passes.quantization.placement.static_quantizer import StaticQuantizer, key_of
from tamis.passes.quantization.placement.unit_weights import nearest
from tamis.passes.quantization.placement.units import Unit, candidates, find_units
from tamis.passes.quantization.rounding.saturation import Saturation, saturated_pairs

POOR_DB = 30.0
"""Layers below are counted in the summary."""
COLUMNS = ("node", "op", "SQNR dB", "KL nats", "input", "99.99 %", "output", "saturated", "note")


@dataclass(frozen=True)
class LayerReport:
    """One product of the model.

    Args:
        node, op: Its name and operator.
        quantized: Whether it would become integer.
        reason: Why not, or what is special about its tensors.
        sqnr_db: Of the model's worst output, with this layer alone in 8 bits; None for infinity.
        divergence: Kullback-Leibler divergence of outputs that are distributions, nats.
        input_range, output_range: What was seen on the samples.
        percentile_range: Of the input, without one value in 10,000.
        unsafe_columns: Output channels of which pairs of products could saturate; None where the kernel adds exactly.
        saturated: Share of the pairs that saturate on a machine whose products do.
    """

    node: str
    op: str
    quantized: bool
    reason: str
    sqnr_db: float | None = None
    divergence: float | None = None
    input_range: tuple[float, float] | None = None
    percentile_range: tuple[float, float] | None = None
    output_range: tuple[float, float] | None = None
    unsafe_columns: int | None = None
    saturated: float | None = None

    def cells(self) -> tuple[object, ...]:
        """A row of the table."""
        return (
            self.node,
            self.op,
            None if not self.quantized else "inf" if self.sqnr_db is None else f"{self.sqnr_db:.1f}",
            None if self.divergence is None else f"{self.divergence:.2g}",
            _text(self.input_range),
            _text(self.percentile_range),
            _text(self.output_range),
            None if self.saturated is None else f"{100 * self.saturated:.3g} %",
            self.reason,
        )


def analyse_float(
    model: ir.Model, context: PassContext, kernels: Int8Kernels, progress: Callable[[float, str], None]
) -> Finding:
    """Quantize each layer alone, and all together for the saturated pairs; ``model`` is changed.

    Weights are rounded to nearest and not made pair-safe, so that what saturates can be seen.
    """
    reason = obstacle(model)
    found = {_name(n): (n.op_type, u if isinstance(u, str) else "") for n, u in candidates(model, kernels).items()}
    reports: dict[str, LayerReport] = {n: LayerReport(n, op, quantized=False, reason=r) for n, (op, r) in found.items()}
    if reason is None:
        to_integer_forms(model)
        raise_opset(model)
        trial = _Trial(model, context, kernels)
        reports |= trial.reports(progress)
    return _finding(list(reports.values()), reason)


class _Trial:
    """Quantized copies of a model, from one calibration."""

    def __init__(self, model: ir.Model, context: PassContext, kernels: Int8Kernels) -> None:
        self.model, self.context, self.kernels = model, context, kernels
        self.units = find_units(model, kernels)
        names = {str(v.name) for u in self.units for v in build_islands(model, kernels, [u]).quantized}
        names |= {str(v.name) for v in build_islands(model, kernels, self.units).quantized}
        self.statistics = collect(model, sorted(names), context, quiet=True)
        ranges = {name: find_range(each, "mse") for name, each in self.statistics.items()}
        weights = {key_of(unit): nearest(unit, per_channel=True, pair_safe=False) for unit in self.units}
        self.quantizer = StaticQuantizer(kernels, ranges, weights)

    def reports(self, progress: Callable[[float, str], None]) -> dict[str, LayerReport]:
        """One for each unit, by its name."""
        usable = [i for i, unit in enumerate(self.units) if self._unusable(unit) is None]
        sensitivities = dict(zip(usable, self._sensitivities(usable, progress), strict=True))
        assert self.context.samples is not None
        counts = saturated_pairs(self.quantized(usable), self.context.samples) if usable else {}
        found = [self._report(u, sensitivities.get(i), counts) for i, u in enumerate(self.units)]
        return {report.node: report for report in found}

    def quantized(self, chosen: Sequence[int]) -> ir.Model:
        """A copy with the chosen units in 8 bits."""
        return self.quantizer.copy(self.model, {key_of(self.units[i]) for i in chosen})

    def _sensitivities(self, chosen: Sequence[int], progress: Callable[[float, str], None]) -> list[Sensitivity]:
        assert self.context.samples is not None and self.context.target is not None
        load = partial(load_for_scores, runtime=self.context.target.runtime)
        samples = draw_samples(self.context.samples(), self.context.seed)
        reference = load(self.model)
        kinds = kinds_of_outputs(self.model, [reference(feeds) for feeds in samples])
        variants = [lambda i=i: load(self.quantized([i])) for i in chosen]
        return list(measure_sensitivities(reference, variants, samples, kinds, progress))

    def _unusable(self, unit: Unit) -> str | None:
        for value in build_islands(self.model, self.kernels, [unit]).quantized:
            each = self.statistics[str(value.name)]
            if each.non_finite or not each.elements:
                return f"{value.name} {each.problem}"
        return None

    def _report(self, unit: Unit, sensitivity: Sensitivity | None, counts: Mapping[str, Saturation]) -> LayerReport:
        source, output = (self.statistics.get(str(v.name)) for v in (unit.node.inputs[0], unit.output) if v is not None)
        saturation = counts.get(_name(unit.node)) if sensitivity is not None else None
        decibels = None if sensitivity is None else sensitivity.sqnr_db
        return LayerReport(
            _name(unit.node),
            unit.node.op_type,
            sensitivity is not None,
            self._unusable(unit) or _remarks(source, output),
            None if decibels is None or not math.isfinite(decibels) else decibels,
            None if sensitivity is None else sensitivity.divergence,
            _range(source),
            None if source is None else find_range(source, "percentile"),
            _range(output),
            None if saturation is None else saturation.unsafe_columns,
            None if saturation is None else saturation.rate,
        )


def _finding(reports: Sequence[LayerReport], reason: str | None) -> Finding:
    measured = [r for r in reports if r.quantized]
    summary = {"quantizable": f"{len(measured)} of {len(reports)} layers with weights"}
    if reason is not None:
        summary["quantizable"] = f"nothing: {reason}; export the model again with opset 13 or later"
    if measured:
        power = sum(10 ** (-r.sqnr_db / 10) for r in measured if r.sqnr_db is not None)
        summary["all together"] = (
            f"about {-10 * math.log10(power):.1f} dB, if noise powers add up" if power else "exact"
        )
        poor = sum(r.sqnr_db is not None and r.sqnr_db < POOR_DB for r in measured)
        summary["most sensitive"] = f"{poor} layers below {POOR_DB:.0f} dB alone; they come first in the table"
        risky = sum(bool(r.unsafe_columns) for r in measured)
        summary["saturation"] = f"{risky} layers have weights that are not pair-safe when they are rounded to nearest"
    ranked = sorted(reports, key=lambda r: (not r.quantized, math.inf if r.sqnr_db is None else r.sqnr_db))
    return Finding(
        summary,
        COLUMNS,
        tuple(r.cells() for r in ranked),
        {"quantized": False, "obstacle": reason, "layers": [asdict(r) for r in reports]},
        Bars(
            "SQNR of the output with this layer alone in 8 bits, dB",
            {r.node: r.sqnr_db for r in measured if r.sqnr_db is not None},
            {r.node: r.op for r in measured},
        ),
    )


def _remarks(source: TensorStatistics | None, output: TensorStatistics | None) -> str:
    notes = [f"{side} {s.problem}" for side, s in (("input", source), ("output", output)) if s and s.problem]
    return "; ".join(notes)


def _range(statistics: TensorStatistics | None) -> tuple[float, float] | None:
    return None if statistics is None else (statistics.low, statistics.high)


def _text(limits: tuple[float, float] | None) -> str | None:
    return None if limits is None else f"{limits[0]:.4g} to {limits[1]:.4g}"


def _name(node: ir.Node) -> str:
    return node.name or str(node.outputs[0].name)

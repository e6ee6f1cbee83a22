"""Leave out what the calibration samples say nothing usable about, and choose the ranges of the rest.

A value that is NaN or infinite on a sample has no range, one that is 0 on all samples could have any. Products that read or
give such a value stay float, and further operators are not made integer for its sake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import onnx_ir as ir

from tamis.compiler.graph_pass import PassContext, Skip
from tamis.compiler.int8_kernels import Int8Kernels
from tamis.passes.quantization.calibration.activation_ranges import Range
from tamis.passes.quantization.calibration.ranges import Method, find_range
from tamis.passes.quantization.calibration.statistics import TensorStatistics, collect
from tamis.passes.quantization.placement.islands import Islands, activations, build_islands, end_of
from tamis.passes.quantization.placement.units import Unit

FEW_SAMPLES = 8
"""With fewer calibration samples, ranges are reported as doubtful."""


@dataclass(frozen=True)
class CalibratedUnits:
    """What is left.

    Args:
        units: In the order of the graph.
        ranges: Name of each value that is quantized if all of them are -> its range.
        barred: Names of values that only units may read or give in integers.
        skips: What was left out, with the reason.
    """

    units: list[Unit]
    ranges: dict[str, Range]
    barred: frozenset[str]
    skips: list[Skip]


def calibrate(
    model: ir.Model, kernels: Int8Kernels, units: Sequence[Unit], context: PassContext, method: Method
) -> CalibratedUnits:
    """Observe what ``units`` and their islands would quantize.

    Args:
        model: The float model.
        kernels: By which the units were found.
        units: Candidates.
        context: With samples.
        method: How ranges are chosen.
    """
    assert context.samples is not None
    islands = build_islands(model, kernels, units)
    statistics = collect(model, [str(v.name) for v in islands.quantized], context)
    reasons = {name: reason for name, each in statistics.items() if (reason := _doubt(each)) is not None}
    skips = list(_left_out(islands, kernels, reasons))
    left = [unit for unit in units if _reason_of(unit, reasons) is None]
    barred = frozenset(reasons)
    wanted = build_islands(model, kernels, left, barred).quantized
    ranges = {str(value.name): find_range(statistics[str(value.name)], method) for value in wanted}
    if left and sum(1 for _ in islice(context.samples(), FEW_SAMPLES)) < FEW_SAMPLES:
        skips.append(Skip(f"fewer than {FEW_SAMPLES} samples: ranges may be too narrow", "calibration data"))
    return CalibratedUnits(left, ranges, barred, skips)


def _doubt(statistics: TensorStatistics) -> str | None:
    if not statistics.elements:
        return "empty on the calibration samples"
    if statistics.non_finite:
        return "NaN or infinite on calibration samples"
    if statistics.low == 0 == statistics.high:
        return "0 on all calibration samples, so any range could be wrong"
    return None


def _reason_of(unit: Unit, reasons: Mapping[str, str]) -> str | None:
    names = [str(value.name) for value in (unit.node.inputs[0], unit.output) if value is not None]
    return next((reasons[name] for name in names if name in reasons), None)


def _left_out(islands: Islands, kernels: Int8Kernels, reasons: Mapping[str, str]) -> Iterator[Skip]:
    for unit in islands.units.values():
        if (reason := _reason_of(unit, reasons)) is not None:
            yield Skip(reason, unit.name)
    for node in islands.joined:
        values = (*activations(node, kernels), *end_of(node, islands).outputs)
        reason = next((reasons[str(v.name)] for v in values if v.name in reasons), None)
        if reason is not None:
            yield Skip(reason, node.name or str(node.outputs[0].name))

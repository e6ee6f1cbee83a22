"""Scales and zero points of the values that become integer, from what they hold on the calibration samples."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from tamis.compiler.int8_kernels import Int8Kernels
from tamis.passes.quantization.calibration.affine import Affine, affine_of_range
from tamis.passes.quantization.placement.islands import Islands, end_of
from tamis.passes.quantization.placement.units import FREE

Range = tuple[float, float]


def scale_groups(kernels: Int8Kernels, islands: Islands) -> dict[ir.Value, ir.Value]:
    """Quantized value -> the first of those that have its scale: nodes that only move elements keep it."""
    leader = {value: value for value in islands.quantized}

    def find(value: ir.Value) -> ir.Value:
        while leader[value] is not value:
            leader[value] = leader[leader[value]]
            value = leader[value]
        return value

    for node in islands.joined:
        source = node.inputs[0]
        if kernels.operators[node.op_type].role == "moves" and source in leader:
            for output in end_of(node, islands).outputs:
                leader[find(output)] = find(source)
    return {value: find(value) for value in leader}


def activation_parameters(
    kernels: Int8Kernels, islands: Islands, ranges: Mapping[str, Range]
) -> dict[ir.Value, Affine]:
    """Parameters of every quantized value; one object for values of one group.

    Args:
        kernels: For the element type.
        islands: What becomes integer.
        ranges: Name of each quantized value -> its range.
    """
    groups = scale_groups(kernels, islands)
    wide: dict[ir.Value, Range] = {}
    for value, leader in groups.items():
        low, high = _limited(ranges[str(value.name)], islands.limits.get(value, FREE))
        before = wide.get(leader, (low, high))
        wide[leader] = min(before[0], low), max(before[1], high)
    made = {
        leader: affine_of_range(low, high, kernels.types.activations, symmetric=False)
        for leader, (low, high) in wide.items()
    }
    return {value: made[leader] for value, leader in groups.items()}


def _limited(found: Range, limits: Range) -> Range:
    return max(found[0], limits[0]), min(found[1], limits[1])

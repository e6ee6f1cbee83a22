"""Quantize any choice of a model's units with the same ranges and the same weights.

A search for a mix of precisions makes dozens of choices; calibration and rounding are done once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from tamis.compiler.int8_kernels import Int8Kernels
from tamis.passes.quantization.calibration.activation_ranges import Range, activation_parameters
from tamis.passes.quantization.calibration.affine import SMALLEST_SCALE, Affine
from tamis.passes.quantization.placement.islands import Islands, build_islands
from tamis.passes.quantization.placement.place_qdq import BIAS_LIMIT, Array, insert_qdq
from tamis.passes.quantization.placement.raise_opset import raise_opset
from tamis.passes.quantization.placement.unit_weights import QuantizedWeight, bias_floor, weight_array
from tamis.passes.quantization.placement.units import Unit, channel_axis, find_units

BIAS_BITS = 2.0**8
"""Times the smallest scale that a bias allows: it then takes the 22 bits that float32 holds exactly."""


@dataclass(frozen=True)
class StaticQuantizer:
    """What every choice shares.

    Args:
        kernels: The table by which units and islands are found.
        ranges: Name of each value that is quantized if all units are -> its range.
        weights: Name of each unit's first output -> its weight.
        barred: Names of values that only units may read or give in integers.
    """

    kernels: Int8Kernels
    ranges: Mapping[str, Range]
    weights: Mapping[str, QuantizedWeight]
    barred: Collection[str] = frozenset()

    def apply(self, model: ir.Model, chosen: Collection[str]) -> Islands:
        """Quantize ``model`` in place; it is raised to opset 13.

        Args:
            model: The float model, or a clone of it.
            chosen: Names of the first outputs of the units to quantize.

        Returns:
            What has become integer.
        """
        units = [unit for unit in find_units(model, self.kernels) if key_of(unit) in chosen]
        islands = build_islands(model, self.kernels, units, self.barred)
        if not units:
            return islands
        raise_opset(model)
        parameters = activation_parameters(self.kernels, islands, self.ranges)
        weights: dict[Unit, Affine] = {}
        integers: dict[Unit, Array] = {}
        for unit in units:
            x = unit.node.inputs[0]
            assert x is not None
            axis = channel_axis(unit.node)
            floor = bias_floor(unit, float(parameters[x].scale), BIAS_LIMIT)
            weight = _fine_for_bias(self.weights[key_of(unit)], floor, axis).at_least(floor, weight_array(unit), axis)
            weights[unit], integers[unit] = weight.as_type(self.kernels.types.weights, axis)
        insert_qdq(model, self.kernels, islands, parameters, weights, integers)
        return islands

    def copy(self, model: ir.Model, chosen: Collection[str]) -> ir.Model:
        """A clone of ``model`` with ``chosen`` quantized."""
        clone = model.clone()
        self.apply(clone, chosen)
        return clone


def _fine_for_bias(weight: QuantizedWeight, floor: Array | None, axis: int) -> QuantizedWeight:
    """Scales of output channels that are the bias alone, such that it is exact to float32: no weight asks for any."""
    other = tuple(i for i in range(weight.steps.ndim) if i != axis) if weight.scale.ndim else None
    dead = np.all(weight.steps == 0, axis=other)
    if floor is None or not np.any(dead):
        return weight
    fine = np.maximum((floor if weight.scale.ndim else floor.max()) * BIAS_BITS, SMALLEST_SCALE)
    return replace(weight, scale=np.where(dead, fine, weight.scale).astype(np.float32))


def key_of(unit: Unit) -> str:
    """What tells a unit from others also in clones of the model."""
    return str(unit.node.outputs[0].name)

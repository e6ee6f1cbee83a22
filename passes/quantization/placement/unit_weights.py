"""Quantize the weights of units: as matrices with a column for each output channel, then back to their own shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.integer_products import conv_matrices, conv_weight
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.progress import Progress
from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.quantization.calibration.affine import Affine
from tamis.passes.quantization.placement.units import Unit, channel_axis
from tamis.passes.quantization.rounding.gram import Gram, Layer, collect_grams
from tamis.passes.quantization.rounding.int8_weights import quantize_conv, quantize_int8
from tamis.passes.quantization.rounding.weight_rounding import best_scales, round_weights

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """The weight of a unit.

    Args:
        steps: int8 in -127..127, shaped like the weight.
        scale: ``(C_out,)`` or ``()``, float32.
    """

    steps: Array
    scale: Array

    def at_least(self, floor: Array | None, weight: Array, axis: int) -> QuantizedWeight:
        """The same with no scale below ``floor: (C_out,)``; columns whose scale grows are rounded anew."""
        if floor is None or not np.any(self.scale < floor):
            return self
        scale = np.maximum(self.scale, floor if self.scale.ndim else floor.max()).astype(np.float32)
        shape = [1] * weight.ndim
        shape[axis] = -1
        spread = scale.reshape(shape) if scale.ndim else scale
        grown = np.clip(np.rint(weight.astype(np.float64) / spread), -127, 127).astype(np.int8)
        kept = (self.scale >= floor).reshape(shape) if scale.ndim else np.False_
        return QuantizedWeight(np.where(kept, self.steps, grown), scale)

    def as_type(self, dtype: str, axis: int) -> tuple[Affine, Array]:
        """Parameters and integers; the zero point of uint8 is 128."""
        offset = 128 if dtype == "uint8" else 0
        zero = np.full(self.scale.shape, offset, dtype)
        integers: Array = (self.steps.astype(np.int16) + offset).astype(dtype)
        return Affine(self.scale, zero, axis if self.scale.ndim else None), integers


def weight_array(unit: Unit) -> Array:
    """The weight of ``unit``, float32."""
    assert unit.operator.weight is not None
    array = constant_array(unit.node.inputs[unit.operator.weight])
    assert array is not None
    return array


def nearest(unit: Unit, *, per_channel: bool, pair_safe: bool) -> QuantizedWeight:
    """Each weight rounded on its own."""
    array = weight_array(unit)
    if unit.node.op_type == "Conv":
        found = quantize_conv(array, group=_groups(unit), per_channel=per_channel, pair_safe=pair_safe)
        return QuantizedWeight(found.quantized, found.scale)
    transposed = channel_axis(unit.node) == 0
    found = quantize_int8(array.T if transposed else array, per_channel=per_channel, pair_safe=pair_safe)
    steps = found.quantized.T if transposed else found.quantized
    return QuantizedWeight(np.ascontiguousarray(steps), found.scale)


def optimal(
    model: ir.Model,
    units: Iterable[Unit],
    samples: Callable[[], Iterable[Feeds]],
    *,
    pair_safe: bool,
    seed: int,
    quiet: bool = False,
) -> dict[Unit, QuantizedWeight]:
    """Weights rounded together, so that the output of each layer on the samples changes least."""
    by_node = {unit.node: unit for unit in units}
    layers = [Layer(unit.node, weight_array(unit).shape) for unit in by_node.values()]
    found: dict[Unit, QuantizedWeight] = {}
    with Progress("rounding weights", quiet=quiet) as progress:
        for layer, gram in collect_grams(model, layers, samples, seed=seed):
            unit = by_node[layer.node]
            found[unit] = _rounded(unit, gram, pair_safe)
            progress.update(len(found) / len(layers), unit.name)
    return found


def _rounded(unit: Unit, gram: Gram, pair_safe: bool) -> QuantizedWeight:
    matrices = _matrices(unit)
    depthwise = unit.node.op_type == "Conv" and matrices.shape[2] == 1 == weight_array(unit).shape[1]
    safe = pair_safe and not depthwise  # one output a channel: those kernels never saturate
    scales, steps = [], []
    for matrix, moments in zip(matrices, gram.g, strict=True):
        scale = best_scales(matrix, moments, pair_safe=safe)
        scales.append(scale)
        steps.append(round_weights(matrix, scale, moments, pair_safe=safe))
    array = weight_array(unit)
    whole = np.stack(steps)
    if unit.node.op_type == "Conv":
        return QuantizedWeight(conv_weight(whole, array.shape), np.concatenate(scales))
    return QuantizedWeight(np.ascontiguousarray(whole[0].T if channel_axis(unit.node) == 0 else whole[0]), scales[0])


def _matrices(unit: Unit) -> Array:
    array = weight_array(unit)
    if unit.node.op_type == "Conv":
        return conv_matrices(array, _groups(unit))
    return (array.T if channel_axis(unit.node) == 0 else array)[np.newaxis]


def _groups(unit: Unit) -> int:
    return unit.node.attributes.get_int("group", 1)


def bias_floor(unit: Unit, x_scale: float, limit: float) -> Array | None:
    """Smallest scales of the weight with which the bias takes at most ``limit`` steps; None without a bias."""
    bias = constant_array(unit.bias)
    if bias is None:
        return None
    channels = np.abs(bias.reshape(-1).astype(np.float64)) / (x_scale * limit)
    width = weight_array(unit).shape[channel_axis(unit.node)]
    return np.broadcast_to(channels, (width,)).astype(np.float32)

"""Quantize the weights of units: as matrices with a column for each output channel, then back to their own shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.integer_products import conv_matrices, conv_weight
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.progress import Progress
from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.layer_inputs.gram import Gram, Layer, collect_grams
from tamis.passes.quantization.calibration.affine import Affine
from tamis.passes.quantization.placement.units import Unit, channel_axis
from tamis.passes.quantization.rounding.int8_weights import quantize_conv, quantize_int8
from tamis.passes.quantization.rounding.weight_rounding import (
    best_scales,
    output_error,
    round_nearest,
    round_weights,
)

Array = np.ndarray[Any, np.dtype[Any]]
HELD_OUT = 4
"""Every so many-th sample is not rounded by, but judges whether rounding together was better."""
MAX_SAMPLES = 64
"""At most so many samples are looked at for rounding; each gives hundreds of rows."""


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """The weight of a unit.

    Args:
        steps: int8 in -127..127, shaped like the weight.
        scale: ``(C_out,)`` or ``()``, float32.
        pair_safe: Whether no pair of its products may saturate.
    """

    steps: Array
    scale: Array
    pair_safe: bool = False

    def at_least(self, floor: Array | None, weight: Array, axis: int) -> QuantizedWeight:
        """The same with no scale below ``floor: (C_out,)``; columns whose scale grows are rounded anew."""
        if floor is None or not np.any(self.scale < floor):
            return self
        scale = np.maximum(self.scale, floor if self.scale.ndim else floor.max()).astype(np.float32)
        rounded = round_nearest(to_matrix(weight, axis), scale, pair_safe=self.pair_safe)
        shape = [1] * weight.ndim
        shape[axis] = -1
        kept = (self.scale >= floor).reshape(shape) if scale.ndim else np.False_
        steps = np.where(kept, self.steps, from_matrix(rounded, weight.shape, axis))
        return QuantizedWeight(steps, scale, self.pair_safe)

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


def to_matrix(weight: Array, axis: int) -> Array:
    """A weight as ``(K, C_out)``, K in the order of the kernels' sums; ``axis`` is that of the output channels."""
    if weight.ndim > 2:
        found: Array = conv_matrices(weight, 1)[0]
        return found
    return weight.T if axis == 0 else weight


def from_matrix(matrix: Array, shape: tuple[int, ...], axis: int) -> Array:
    """The weight of which ``matrix`` is ``to_matrix``."""
    if len(shape) > 2:
        return conv_weight(matrix[np.newaxis], shape)
    return np.ascontiguousarray(matrix.T if axis == 0 else matrix)


def needs_safe_pairs(unit: Unit) -> bool:
    """Whether kernels add pairs of its products in 16 bits, on machines that do: depthwise ones with one output do not."""
    array = weight_array(unit)
    return not (unit.node.op_type == "Conv" and array.shape[1] == 1 and array.shape[0] == _groups(unit))


def nearest(unit: Unit, *, per_channel: bool, pair_safe: bool) -> QuantizedWeight:
    """Each weight rounded on its own."""
    array, axis = weight_array(unit), channel_axis(unit.node)
    safe = pair_safe and needs_safe_pairs(unit)
    if unit.node.op_type == "Conv":
        conv = quantize_conv(array, group=_groups(unit), per_channel=per_channel, pair_safe=safe)
        return QuantizedWeight(conv.quantized, conv.scale, safe)
    found = quantize_int8(to_matrix(array, axis), per_channel=per_channel, pair_safe=safe)
    return QuantizedWeight(from_matrix(found.quantized, array.shape, axis), found.scale, safe)


def optimal(
    model: ir.Model,
    units: Iterable[Unit],
    samples: Callable[[], Iterable[Feeds]],
    *,
    pair_safe: bool,
    seed: int,
    quiet: bool = False,
) -> dict[Unit, QuantizedWeight]:
    """Weights rounded together, so that the output of each layer on the samples changes least.

    Output channels that would be no better so on samples held out are rounded to the nearest.
    """

    def few() -> Iterable[Feeds]:
        return islice(iter(samples()), MAX_SAMPLES)

    by_node = {unit.node: unit for unit in units}
    layers = [Layer(unit.node, weight_array(unit).shape) for unit in by_node.values()]
    found: dict[Unit, QuantizedWeight] = {}
    with Progress("rounding weights", quiet=quiet) as progress:
        for layer, gram in collect_grams(model, layers, few, hold_out=HELD_OUT, seed=seed):
            unit = by_node[layer.node]
            found[unit] = _rounded(unit, gram, pair_safe)
            progress.update(len(found) / len(layers), unit.name)
    return found


def _rounded(unit: Unit, gram: Gram, pair_safe: bool) -> QuantizedWeight:
    array, axis = weight_array(unit), channel_axis(unit.node)
    safe = pair_safe and needs_safe_pairs(unit)
    groups = _groups(unit) if unit.node.op_type == "Conv" else 1
    matrices = np.stack(np.split(to_matrix(array, axis), groups, axis=1))
    alone = quantize_int8(matrices, per_channel=True, pair_safe=safe)
    scale = best_scales(matrices, gram.g, pair_safe=safe)
    ways = [
        (alone.quantized, alone.scale),
        (round_nearest(matrices, scale, pair_safe=safe), scale),
        (round_weights(matrices, scale, gram.g, pair_safe=safe), scale),
    ]
    judge = gram.g if gram.held is None else gram.held
    best = np.argmin([output_error(matrices, steps, scales, judge) for steps, scales in ways], axis=0)
    steps = np.choose(best[:, np.newaxis], [way[0] for way in ways])
    scales = np.choose(best, [way[1] for way in ways]).astype(np.float32)
    return QuantizedWeight(from_matrix(np.hstack(list(steps)), array.shape, axis), scales.reshape(-1), safe)


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

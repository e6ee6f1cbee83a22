"""Shift the int32 biases of a quantized model so that the mean of each output channel is that of the float model.

::

    b += mean(y_float) - mean(y_quantized)      over samples and positions, per channel

Layers are corrected one at a time in topological order, each measured with the corrected ones before it;
where there are many, those whose means moved most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds, Skip
from tamis.compiler.observe import observe
from tamis.compiler.rewriting.constants import constant_array, set_constant
from tamis.compiler.rewriting.graph_edit import Names

Array = np.ndarray[Any, np.dtype[Any]]
Samples = Callable[[], Iterable[Feeds]]
BIAS_LIMIT = 2**30
"""Biases stay within this many steps, so that sums of 32 bits have room."""


@dataclass(frozen=True)
class BiasCorrection:
    """What was done.

    Args:
        layers: Layers whose bias changed.
        channels: Output channels whose bias changed.
        undone: The outputs of the model came no closer to the float model's, so that nothing was changed.
        skips: Layers and channels left alone.
    """

    layers: int
    channels: int
    undone: bool
    skips: tuple[Skip, ...]


@dataclass(frozen=True)
class _Site:
    node: ir.Node
    dequantize: ir.Node
    float_name: str

    @property
    def name(self) -> str:
        return str(self.node.name)

    @property
    def output(self) -> str:
        return str(self.node.outputs[0].name)

    @property
    def axis(self) -> int:
        return 1 if self.node.op_type == "Conv" else -1


@dataclass
class _Means:
    total: Array | float = 0.0
    magnitude: Array | float = 0.0
    count: int = 0

    def add(self, array: Array, axis: int) -> None:
        rows = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]).astype(np.float64)
        self.total = self.total + rows.sum(axis=0)
        self.magnitude = self.magnitude + np.abs(rows).sum(axis=0)
        self.count += len(rows)

    @property
    def mean(self) -> Array:
        return np.asarray(self.total) / max(1, self.count)


def correct_biases(
    quantized: ir.Model,
    floats: ir.Model,
    samples: Samples,
    *,
    max_layers: int = 16,
    max_samples: int = 16,
    max_ratio: float = 2.0,
) -> BiasCorrection:
    """Correct ``quantized`` in place.

    Args:
        quantized: With QDQ; layers read their int32 bias behind a DequantizeLinear.
        floats: The model it was made from; layers are found by the names of their nodes.
        samples: Gives the samples from the start each time.
        max_layers: At most so many layers are corrected.
        max_samples: At most so many samples are looked at.
        max_ratio: A channel is left alone if its mean moved by more than this times its mean magnitude: the cause
            is then not rounding.

    Returns:
        What was done. Nothing, if the outputs of the model are not closer to the float model's afterwards.
    """

    def few() -> Iterable[Feeds]:
        return islice(iter(samples()), max_samples)

    sites, skips = _sites(quantized, floats)
    if not sites:
        return BiasCorrection(0, 0, False, tuple(skips))
    wanted = _means(floats, {s.float_name: s.axis for s in sites}, few)
    first = _means(quantized, {s.output: s.axis for s in sites}, few)
    moved = [_movement(wanted[s.float_name], first[s.output]) for s in sites]
    chosen = sorted(np.argsort(moved, kind="stable")[::-1][:max_layers])
    before = _output_error(quantized, floats, few)
    kept = {s: constant_array(s.dequantize.inputs[0]) for s in sites}
    names, layers, channels = Names(quantized), 0, 0
    for site in (sites[i] for i in chosen):
        found = _means(quantized, {site.output: site.axis}, few)[site.output]
        changed = _shift(site, wanted[site.float_name], found, max_ratio, names, skips)
        layers, channels = layers + (changed > 0), channels + changed
    if layers and _output_error(quantized, floats, few) >= before:
        for site, bias in kept.items():
            assert bias is not None
            set_constant(site.dequantize, 0, bias, names.fresh(f"{site.name}_bias"))
        return BiasCorrection(0, 0, True, tuple(skips))
    return BiasCorrection(layers, channels, False, tuple(skips))


def _sites(quantized: ir.Model, floats: ir.Model) -> tuple[list[_Site], list[Skip]]:
    """Layers of the main graph that can be corrected, in topological order."""
    twins = {node.name: node for node in floats.graph if node.name}
    sites, skips = [], []
    for node in quantized.graph:
        dequantize = _bias(node)
        if dequantize is None:
            if _computes(node):
                skips.append(Skip("no int32 bias to correct", node.name or node.op_type))
            continue
        twin = twins.get(node.name or "")
        if twin is None or twin.op_type != node.op_type:
            skips.append(Skip("no layer of that name in the float model", node.name or node.op_type))
        else:
            sites.append(_Site(node, dequantize, str(twin.outputs[0].name)))
    return sites, skips


def _bias(node: ir.Node) -> ir.Node | None:
    """The DequantizeLinear of the int32 bias that ``node`` alone reads."""
    if node.op_type not in ("Conv", "Gemm", "Add"):
        return None
    for value in node.inputs[0 if node.op_type == "Add" else 2 :]:
        producer = None if value is None else value.producer()
        if producer is None or producer.op_type != "DequantizeLinear":
            continue
        array = constant_array(producer.inputs[0])
        if array is not None and array.dtype == np.int32 and array.ndim == 1 and len(producer.outputs[0].uses()) == 1:
            return producer
    return None


def _computes(node: ir.Node) -> bool:
    """Whether it is a product of dequantized values that has no Add behind it."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return False
    if any(_bias(use.node) is not None for use in node.outputs[0].uses()):
        return False
    producers = [None if v is None else v.producer() for v in node.inputs[:2]]
    return all(p is not None and p.op_type == "DequantizeLinear" for p in producers)


def _means(model: ir.Model, axes: Mapping[str, int], samples: Samples) -> dict[str, _Means]:
    found = {name: _Means() for name in axes}
    for _, values in observe(model, axes, samples):
        for name, array in values.items():
            found[name].add(array, axes[name])
    return found


def _movement(wanted: _Means, found: _Means) -> float:
    """By how much the means moved, relative to the magnitude of the values."""
    scale = float(np.linalg.norm(np.asarray(wanted.magnitude) / max(1, wanted.count)))
    return float(np.linalg.norm(wanted.mean - found.mean)) / scale if scale else 0.0


def _shift(site: _Site, wanted: _Means, found: _Means, max_ratio: float, names: Names, skips: list[Skip]) -> int:
    """Change the bias; returns the number of channels that changed."""
    bias, scale = (constant_array(v) for v in site.dequantize.inputs[:2])
    assert bias is not None and scale is not None
    change = wanted.mean - found.mean
    absurd = np.abs(change) > max_ratio * np.asarray(wanted.magnitude) / max(1, wanted.count)
    if np.any(absurd | ~np.isfinite(change)):
        skips.append(Skip("the mean of a channel moved by more than rounding explains", site.name))
    if change.shape != bias.shape:
        skips.append(Skip("the bias is not one number a channel", site.name))
        return 0
    usable = np.isfinite(change) & ~absurd
    steps = np.where(usable, np.rint(np.where(usable, change, 0.0) / scale.astype(np.float64)), 0)
    shifted = np.clip(bias + steps, np.minimum(bias, -BIAS_LIMIT), np.maximum(bias, BIAS_LIMIT)).astype(np.int32)
    changed = int(np.count_nonzero(shifted != bias))
    if changed:
        set_constant(site.dequantize, 0, shifted, names.fresh(f"{site.name}_bias"))
    return changed


def _output_error(quantized: ir.Model, floats: ir.Model, samples: Samples) -> float:
    """Mean over the outputs of the squared error relative to the signal."""
    names = _float_outputs(floats)
    signal, noise = np.zeros(len(names)), np.zeros(len(names))
    pairs = zip(
        observe(floats, names, samples, memory=2**62), observe(quantized, names, samples, memory=2**62), strict=True
    )
    for (_, want), (_, got) in pairs:
        for i, name in enumerate(names):
            wide = want[name].astype(np.float64)
            if want[name].shape != got[name].shape:
                continue
            signal[i] += np.square(wide).sum()
            noise[i] += np.square(wide - got[name]).sum()
    return float(np.mean(noise / np.where(signal > 0, signal, 1.0)))


def _float_outputs(model: ir.Model) -> Sequence[str]:
    floats = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)
    return [str(v.name) for v in model.graph.outputs if v.dtype in floats and v.producer() is not None]

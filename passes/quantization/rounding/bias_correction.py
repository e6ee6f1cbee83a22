"""Shift the int32 biases of a quantized model so that the mean of each output channel is that of the float model.

::

    b += mean(y_float - y_quantized)      over samples and positions that Q does not clip, per channel

All layers are corrected, in topological order, each with the corrected ones before it: correcting some of them makes
a net worse, since those behind were in balance with what is then gone. Both models run once, a layer at a time. A
channel changes only if its error, behind the clipping of Q, falls on samples that it was not fitted to, and by no more
than differences between samples leave certain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds, Skip
from tamis.compiler.observe import observe
from tamis.compiler.rewriting.constants import constant_array, set_constant
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.layer_inputs.stages import Stages, Values

Array = np.ndarray[Any, np.dtype[Any]]
Samples = Callable[[], Iterable[Feeds]]
BIAS_LIMIT = 2**30
"""Biases stay within this many steps, so that sums of 32 bits have room."""
MEMORY = 512 << 20
"""Bytes of values between layers that are held; with larger ones fewer samples are looked at."""
HELD_OUT = 4
"""Every so many-th sample is not fitted to, but judged by."""
GAIN = 0.9
"""The share of the outputs' squared error that may be left at most; the judges are few."""


@dataclass(frozen=True)
class BiasCorrection:
    """What was done.

    Args:
        layers: Layers whose bias changed.
        channels: Output channels whose bias changed.
        undone: The outputs of the model came not clearly closer to the float model's, so that nothing was changed.
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
    float_output: ir.Value

    @property
    def name(self) -> str:
        return str(self.node.name)

    @property
    def output(self) -> ir.Value:
        return self.node.outputs[0]

    def sums(self, array: Array) -> Array:
        """Sum of each channel of an output."""
        channels = 1 if self.node.op_type == "Conv" else array.ndim - 1
        found: Array = array.sum(axis=tuple(i for i in range(array.ndim) if i != channels), dtype=np.float64)
        return found

    def along(self, shift: Array, rank: int) -> Array:
        """Numbers of the channels, to add to an output of ``rank`` axes."""
        return shift.reshape(-1, *[1] * (rank - 2)) if self.node.op_type == "Conv" else shift

    def bounds(self) -> tuple[float, float]:
        """What the Q behind can represent; unbounded if something else reads the output too."""
        users = [use.node for use in self.output.uses()]
        if len(users) != 1 or users[0].op_type != "QuantizeLinear" or self.output.is_graph_output():
            return -np.inf, np.inf
        scale, zero = (constant_array(v) for v in (*users[0].inputs[1:3], None)[:2])
        if scale is None or scale.size != 1 or (zero is None and len(users[0].inputs) > 2):
            return -np.inf, np.inf
        offset = 0 if zero is None else int(zero.reshape(()))
        limits = np.iinfo(np.uint8 if zero is None else zero.dtype)
        step = float(scale.reshape(()))
        return (limits.min - offset) * step, (limits.max - offset) * step


def correct_biases(
    quantized: ir.Model,
    floats: ir.Model,
    samples: Samples,
    *,
    accepts: Callable[[], bool] = lambda: True,
    max_samples: int = 32,
    max_ratio: float = 2.0,
) -> BiasCorrection:
    """Correct ``quantized`` in place.

    Args:
        quantized: With QDQ; layers read their int32 bias behind a DequantizeLinear.
        floats: The model it was made from; layers are found by the names of their nodes.
        samples: Gives the samples from the start each time.
        accepts: Asked in the end whether ``quantized`` is to stay corrected.
        max_samples: At most so many samples are looked at.
        max_ratio: A channel is left alone if its mean moved by more than this times its mean magnitude: the cause
            is then not rounding.

    Returns:
        What was done. Nothing, if the outputs of the model are not clearly closer to the float model's afterwards, on
        samples that were not fitted to, or if the caller does not accept it.
    """

    def judges() -> Iterable[Feeds]:
        few = list(islice(iter(samples()), max_samples))
        return few[HELD_OUT - 1 :: HELD_OUT] or few

    sites, skips = _sites(quantized, floats)
    if any(isinstance(v.type, ir.SequenceType | ir.OptionalType) for node in floats.graph for v in node.outputs):
        sites, skips = [], [Skip("values that are no tensors: biases are not corrected", floats.graph.name or "graph")]
    if not sites:
        return BiasCorrection(0, 0, False, tuple(skips))
    before = _output_error(quantized, floats, judges)
    kept = {s: constant_array(s.dequantize.inputs[0]) for s in sites}
    names = Names(quantized)
    channels = [
        _correct(site, wanted, found, max_ratio, names, skips)
        for site, wanted, found in _outputs(quantized, floats, sites, islice(iter(samples()), max_samples))
    ]
    changed = any(channels)
    if changed and (_output_error(quantized, floats, judges) > GAIN * before or not accepts()):
        for site, bias in kept.items():
            assert bias is not None
            set_constant(site.dequantize, 0, bias, names.fresh(f"{site.name}_bias"))
        return BiasCorrection(0, 0, True, tuple(skips))
    return BiasCorrection(sum(n > 0 for n in channels), sum(channels), False, tuple(skips))


def _outputs(
    quantized: ir.Model, floats: ir.Model, sites: Sequence[_Site], samples: Iterable[Feeds]
) -> Iterator[tuple[_Site, list[Array], list[Array]]]:
    """Each layer with its outputs in both models, by samples; what is done to the latter in place is passed on."""
    ends = [s.float_output for s in sites], [s.output for s in sites]
    sides = [Stages(model, values) for model, values in zip((floats, quantized), ends, strict=True)]
    held: list[list[Values]] = [[dict(feeds), dict(feeds)] for feeds in samples]
    for number, site in enumerate(sites):
        runners = [stages.open(number, held[0][side]) for side, stages in enumerate(sides)]
        index = 0
        while index < len(held):
            for values, run in zip(held[index], runners, strict=True):
                values.update(run(values))
            size = sum(array.nbytes for values in held[index] for array in values.values())
            del held[max(index + 1, MEMORY // max(1, size)) :]
            index += 1
        wanted, found = ([each[side][str(ends[side][number].name)] for each in held] for side in (0, 1))
        yield site, wanted, found
        for each in held:
            for values, stages in zip(each, sides, strict=True):
                stages.forget(number, values)


def _correct(
    site: _Site, wanted: list[Array], found: list[Array], max_ratio: float, names: Names, skips: list[Skip]
) -> int:
    """Change the bias, and ``found`` with it; returns the number of channels that changed."""
    bias, scale = (constant_array(v) for v in site.dequantize.inputs[:2])
    assert bias is not None and scale is not None
    width = found[0].shape[1 if site.node.op_type == "Conv" else -1]
    if bias.shape != (width,):
        skips.append(Skip("the bias is not one number a channel", site.name))
        return 0
    low, high = site.bounds()
    pairs = list(zip(wanted, found, strict=True))
    fitted = [pair for i, pair in enumerate(pairs) if i % HELD_OUT != HELD_OUT - 1]
    judges = pairs[HELD_OUT - 1 :: HELD_OUT] or pairs
    change, magnitude = _shift(site, fitted, low, high, width)
    absurd = ~np.isfinite(change) | (np.abs(change) > max_ratio * magnitude)
    if absurd.any():
        skips.append(Skip("the mean of a channel moved by more than rounding explains", site.name))
    steps = np.rint(np.where(absurd, 0.0, change) / scale.astype(np.float64))
    shifted = np.clip(bias + steps, np.minimum(bias, -BIAS_LIMIT), np.maximum(bias, BIAS_LIMIT))
    shift = ((shifted - bias) * scale.astype(np.float64)).astype(np.float32)
    before, after = (_error(site, judges, low, high, tried) for tried in (np.zeros_like(shift), shift))
    better = after < before
    shift = np.where(better, shift, 0)
    corrected = np.where(better, shifted, bias).astype(np.int32)
    changed = int(np.count_nonzero(corrected != bias))
    if changed:
        set_constant(site.dequantize, 0, corrected, names.fresh(f"{site.name}_bias"))
        for array in found:
            array += site.along(shift, array.ndim).astype(array.dtype)
    return changed


def _shift(
    site: _Site, pairs: Sequence[tuple[Array, Array]], low: float, high: float, width: int
) -> tuple[Array, Array]:
    """Mean difference of each channel where Q does not clip, less what chance explains; mean magnitude of what is wanted."""
    totals, counts = np.zeros((2, len(pairs), width))
    magnitude, rows = np.zeros(width), 0.0
    for i, (wanted, found) in enumerate(pairs):
        inside = (found > low) & (found < high)
        totals[i] = site.sums(np.where(inside, np.clip(wanted, low, high) - found, 0))
        counts[i] = site.sums(inside)
        magnitude += site.sums(np.abs(wanted))
        rows += wanted.size / width
    count = np.maximum(counts.sum(axis=0), 1)
    mean = totals.sum(axis=0) / count
    doubt = np.square(totals - mean * counts).sum(axis=0) / np.square(count)  # variance of the mean over samples
    surely = 1 - np.divide(doubt, np.square(mean), out=np.ones(width), where=mean != 0)
    return mean * np.maximum(surely, 0), magnitude / max(rows, 1)


def _error(site: _Site, pairs: Sequence[tuple[Array, Array]], low: float, high: float, shift: Array) -> Array:
    """Squared error of each channel behind Q."""
    error = np.zeros(len(shift))
    for wanted, found in pairs:
        shifted = np.clip(found + site.along(shift, found.ndim), low, high)
        error += site.sums(np.square(np.clip(wanted, low, high) - shifted))
    return error


def _sites(quantized: ir.Model, floats: ir.Model) -> tuple[list[_Site], list[Skip]]:
    """Layers of the main graph with a bias, in topological order; without a twin they cannot be corrected."""
    twins = {node.name: node for node in floats.graph if node.name}
    sites, skips = [], []
    for node in quantized.graph:
        dequantize = _bias(node)
        if dequantize is None:
            continue
        twin = twins.get(node.name or "")
        if twin is None or twin.op_type != node.op_type:
            skips.append(Skip("no layer of that name in the float model", node.name or node.op_type))
        else:
            sites.append(_Site(node, dequantize, twin.outputs[0]))
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

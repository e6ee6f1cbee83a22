"""Give the channels between two layers like ranges, so that one scale for all of them loses less.

::

    act(x W1 + b1) W2   ->   act(x (W1 / s) + b1 / s) (s W2)          s = sqrt(r1 / r2) per channel

with ``r1``, ``r2`` the largest weights of each channel in W1 and in W2; for Conv, ConvTranspose, Gemm and MatMul,
depthwise convolutions among them, over and over until every pair of layers is even.

*Refuses*: activations that are not positively homogeneous, such as a ReLU6, SiLU or hard-swish; a value in between that
something else reads or that is a graph output; weights that are not constant, not finite, or extreme; a bias that is
not per channel; float16, whose range is too small for channels to shrink.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.constants import constant_tensor, set_constant
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.fusion.affine import Affine, Array
from tamis.passes.fusion.linear_nodes import Linear, read_linear
from tamis.passes.quantization.equalization.channel_ranges import input_ranges, output_ranges
from tamis.passes.quantization.equalization.channel_sources import (
    CONVOLUTIONS,
    PRODUCTS,
    Source,
    find_source,
    read_shift,
)

EVEN = 1.05
"""Channels whose factors differ by less than this are left as they are."""
LIVE = 2.0**-10
"""Channels with a smaller share of the largest weight say nothing about the others."""
SWEEPS = 64
SMALLEST, LARGEST = 1e-30, 1e30
"""Bounds of a layer's largest weight, so that scaled weights stay normal numbers."""


class Options(PassOptions):
    """Options of ``equalize-layers``."""


class EqualizeLayers(GraphPass[Options]):
    """Equalize the ranges of the channels between two linear operators.

    *Match*: Conv or ConvTranspose before Conv or ConvTranspose, Gemm or MatMul before Gemm or MatMul, joined by
    nothing, ReLU, LeakyReLU, PReLU, Abs, pools of Conv, and constant additions behind a MatMul.

    *Rewrite*: ``W1' = W1 / s``, ``b1' = b1 / s``, ``W2' = s W2`` with ``s = sqrt(r1 / r2)`` over its smallest element:
    only what the channels are to each other matters, and so no activation grows. Channels with hardly any weight get the
    median. The sweep over all pairs is repeated until the factors of each are within 5 %.

    *Shapes*: ``s: (C,)``, one factor for each channel in between; all shapes stay.

    *Preserves*: the function up to rounding. No value that was finite overflows.

    *References*: Nagel et al., "Data-free quantization through weight equalization and bias correction", 2019
    (1906.04721), section 4.1, equation 11.
    """

    name = "equalize-layers"
    stage = Stage.QUANTIZE
    contract = Contract.CLOSE
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        layers, skips = Layers(), dict[Skip, None]()
        for graph in model.graphs():
            for node in graph:
                linear = node.domain == "" and node.op_type in CONVOLUTIONS | PRODUCTS
                reason = layers.add(node) if linear and node.op_identifier() not in model.functions else None
                if reason is not None:
                    skips[Skip(reason, node.name or node.outputs[0].name or node.op_type)] = None
        for _ in range(SWEEPS):
            if not layers.sweep():
                break
        if layers.changed:
            layers.write(Names(model))
        counts = {"pairs equalized": len(layers.changed)} if layers.changed else {}
        return PassResult(model, modified=bool(layers.changed), counts=counts, skips=tuple(skips))


class Layers:
    """The pairs of one model, with their weights in float64 until they are written.

    Attributes:
        changed: Second layers of pairs with new weights.
    """

    def __init__(self) -> None:
        self.changed: dict[ir.Node, None] = {}
        self._linears: dict[ir.Node, Linear] = {}
        self._shifts: dict[ir.Node, Array] = {}
        self._pairs: list[tuple[Source, ir.Node]] = []
        self._touched: dict[ir.Node, None] = {}

    def add(self, node: ir.Node) -> str | None:
        """Read the pair that ends at ``node``, if one does; returns why it is left alone."""
        value = node.inputs[0]
        same_kind = CONVOLUTIONS if node.op_type in CONVOLUTIONS else PRODUCTS
        source = None if value is None else find_source(node, value, same_kind)
        if not isinstance(source, Source):
            return source
        if value is None or len(value.uses()) != 1 or value.is_graph_output():
            return "something else reads the value in between"
        first, second = self._read(source.node), self._read(node)
        if isinstance(first, str) or isinstance(second, str):
            return first if isinstance(first, str) else str(second)
        channels = second.inputs()
        if isinstance(channels, str):
            return channels
        if channels.count != first.bias.size:
            return "the two layers do not have the same channels"
        for add in source.adds:
            shift = read_shift(add, channels.count)
            if isinstance(shift, str):
                return shift
            self._shifts[add] = shift
        self._pairs.append((source, node))
        return None

    def _read(self, node: ir.Node) -> Linear | str:
        if node in self._linears:
            return self._linears[node]
        linear = read_linear(node)
        if isinstance(linear, str):
            return linear
        if linear.dtype == np.float16:
            return "float16 has too small a range"
        largest = np.abs(linear.weight).max(initial=0)
        if not SMALLEST < largest < LARGEST or not (np.abs(linear.bias) < LARGEST).all():
            return "weights are all zero, extreme or not finite"
        self._linears[node] = linear
        return linear

    def sweep(self) -> bool:
        """Equalize each pair once; True if any was uneven."""
        uneven = False
        for source, second in self._pairs:
            first = self._linears[source.node]
            factors = _factors(output_ranges(first), input_ranges(self._linears[second]))
            if factors.max() <= EVEN:
                continue
            uneven = True
            scaled = self._linears[second].before(Affine(factors, np.zeros(())))
            assert isinstance(scaled, Linear)
            self._linears[second] = scaled
            self._linears[source.node] = first.after(Affine(1 / factors, np.zeros(())))
            for add in source.adds:
                self._shifts[add] = self._shifts[add] / factors
            self.changed[second] = None
            self._touched.update(dict.fromkeys((source.node, second, *source.adds)))
        return uneven

    def write(self, names: Names) -> None:
        """Store what has changed."""
        for node in self._touched:
            label = node.name or node.outputs[0].name or node.op_type
            if node in self._shifts:
                index = next(i for i, v in enumerate(node.inputs) if constant_tensor(v) is not None)
                tensor = constant_tensor(node.inputs[index])
                assert tensor is not None
                set_constant(
                    node, index, self._shifts[node].astype(tensor.dtype.numpy()), names.fresh(f"{label}_shift")
                )
                continue
            stored = self._linears[node].stored()
            assert stored is not None
            set_constant(node, 1, stored[0], names.fresh(f"{label}_weight"))
            if len(node.inputs) > 2 and node.inputs[2] is not None:
                set_constant(node, 2, stored[1], names.fresh(f"{label}_bias"))
                node.attributes.pop("beta", None)


def _factors(first: Array, second: Array) -> Array:
    """``sqrt(r1 / r2)`` over its smallest element."""
    live = (first > LIVE * first.max()) & (second > LIVE * second.max())
    if not live.any():
        return np.ones_like(first)
    roots = np.sqrt(first[live] / second[live])
    factors = np.full_like(first, np.median(roots))
    factors[live] = roots
    scaled: Array = factors / factors.min()
    return scaled

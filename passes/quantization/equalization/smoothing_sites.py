"""Find activations whose channels can be scaled: what sets their sizes, and the products that read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Skip
from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.fusion.affine import Affine, Array
from tamis.passes.fusion.linear_nodes import Linear, read_linear
from tamis.passes.quantization.equalization.channel_sources import PRODUCTS, Source, find_source, read_shift

NORMS = frozenset({"LayerNormalization", "RMSNormalization"})
SOURCES = NORMS | PRODUCTS | {"Mul"}
Stored = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


@dataclass(frozen=True)
class Site:
    """A value ``(.., C)`` whose channels can be scaled.

    Args:
        value: The value.
        source: What sets the sizes of its channels.
        readers: All that read it.
    """

    value: ir.Value
    source: Source
    readers: tuple[Linear, ...]

    def divided(self, factors: Array) -> dict[tuple[ir.Node, int], Stored] | None:
        """New constants by node and input, with the channels over ``factors``; None if one would not be finite."""
        found = _divided(self.source.node, factors)
        if isinstance(found, str):
            return None
        for add in self.source.adds:
            shift = read_shift(add, factors.size)
            assert not isinstance(shift, str)
            found[add, _constant_index(add)] = (shift / factors).astype(np.float32)
        return found if all(np.isfinite(array).all() for array in found.values()) else None


def find_sites(model: ir.Model) -> tuple[list[Site], list[Skip]]:
    """All of the main graph, in order, and what was left alone."""
    sites: list[Site] = []
    skips: list[Skip] = []
    own = {name for domain, name, _ in model.functions if domain == ""}
    seen: set[ir.Value] = set()
    for node in model.graph:
        value = node.inputs[0] if node.inputs else None
        if node.domain != "" or node.op_type not in PRODUCTS - own or value is None or value in seen:
            continue
        seen.add(value)
        source = find_source(node, value, SOURCES - own)
        site = _site(value, source) if isinstance(source, Source) else source
        if isinstance(site, str):
            skips.append(Skip(site, value.name or node.op_type))
        elif site is not None:
            sites.append(site)
    return sites, skips


def find_site(value: ir.Value) -> Site:
    """One that ``find_sites`` has given, with the weights as they are now."""
    reader = next(iter(value.uses())).node
    source = find_source(reader, value, SOURCES)
    assert isinstance(source, Source)
    site = _site(value, source)
    assert isinstance(site, Site)
    return site


def _site(value: ir.Value, source: Source) -> Site | str:
    if value.is_graph_output():
        return "the activation is a graph output"
    readers = []
    for use in value.uses():
        node = use.node
        if node.graph is not source.node.graph or node.domain != "" or node.op_type not in PRODUCTS or use.idx != 0:
            return "something else than matrix products reads the activation"
        linear = read_linear(node)
        if isinstance(linear, str):
            return linear
        channels = linear.inputs()
        if isinstance(channels, str):
            return channels
        if linear.dtype != np.float32 or not np.isfinite(linear.weight).all():
            return "weights are not float32 or not finite"
        readers.append(linear)
    count = readers[0].weight.shape[0]
    problems = [_divided(source.node, np.ones(count)), *(read_shift(add, count) for add in source.adds)]
    problem = next((p for p in problems if isinstance(p, str)), None)
    return problem or Site(value, source, tuple(readers))


def _divided(node: ir.Node, factors: Array) -> dict[tuple[ir.Node, int], Stored] | str:
    """The constants of ``node`` that make its output over ``factors``, or why there are none."""
    if node.op_type in PRODUCTS:
        return _divided_product(node, factors)
    if node.op_type in NORMS:
        axis, indices = node.attributes.get_int("axis", -1), [i for i in (1, 2) if i < len(node.inputs)]
        rank = None if node.inputs[0] is None or node.inputs[0].shape is None else len(node.inputs[0].shape)
        if axis != -1 and (rank is None or axis != rank - 1):
            return "the normalization is not over the last axis alone"
        if any(v.name and v.uses() for v in node.outputs[1:]):
            return "the statistics of the normalization are read"
    else:
        indices = [_constant_index(node)]
        if indices[0] < 0:
            return "the factor is not constant"
    found: dict[tuple[ir.Node, int], Stored] = {}
    for index in indices:
        if node.inputs[index] is None:
            continue
        array = constant_array(node.inputs[index])
        if array is None or array.dtype != np.float32:
            return "the scale is not constant or not float32"
        if array.size != factors.size or array.shape[-1] != factors.size:
            return "the scale is not per channel"
        found[node, index] = (array.astype(np.float64) / factors).astype(np.float32)
    return found


def _divided_product(node: ir.Node, factors: Array) -> dict[tuple[ir.Node, int], Stored] | str:
    linear = read_linear(node)
    if isinstance(linear, str):
        return linear
    if linear.bias.size != factors.size or linear.dtype != np.float32:
        return "the product in front has other channels or another type"
    stored = linear.after(Affine(1 / factors, np.zeros(()))).stored()
    if stored is None:
        return "weights are not finite"
    biased = len(node.inputs) > 2 and node.inputs[2] is not None
    return {(node, 1): stored[0], **({(node, 2): stored[1]} if biased else {})}


def _constant_index(node: ir.Node) -> int:
    return next((i for i, v in enumerate(node.inputs) if constant_array(v) is not None), -1)

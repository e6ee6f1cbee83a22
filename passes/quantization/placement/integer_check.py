"""Whether what was planned to be integer is integer in the graph that the runtime executes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import onnx_ir as ir

from tamis.compiler.int8_kernels import Int8Kernels
from tamis.compiler.target import Target
from tamis.passes.quantization.placement.islands import Islands

PRODUCTS = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm"})
"""Operators that multiply floats, as they are written and as runtimes fuse them."""
STORED = PRODUCTS | {"ConvTranspose"}
"""Those whose weights are found stored in integers."""


@dataclass(frozen=True)
class Floats:
    """What is computed in floats although it was to be integer.

    Args:
        nodes: Of the model, as they were before Q and DQ were placed.
        values: Outputs, in the executed graph, of further products whose weights are stored in integers.
        more: How many more products are computed in floats than were left so.
    """

    nodes: Mapping[ir.Node, None]
    values: list[str]
    more: int


def float_products(optimized: ir.Model) -> list[str]:
    """Values that a product computes in floats although its weight is stored in integers.

    Its weight comes from a DequantizeLinear that is executed at every run.
    """
    return [str(node.outputs[0].name) for node in optimized.graph if _has_stored_weight(node)]


def float_nodes(model: ir.Model, islands: Islands, kernels: Int8Kernels, target: Target) -> Floats:
    """What of ``islands`` the runtime computes in floats.

    Args:
        model: With Q and DQ placed around the islands; left as it is.
        islands: With ``results``.
        kernels: By which they were found.
        target: Whose runtime tells what it executes on the machine; if it does not, nothing is found.
    """
    planned = {value.producer(): node for node, values in islands.results.items() for value in values}
    planned |= {unit.core: unit.node for unit in islands.units.values()}
    planned.pop(None, None)
    results = {value.name: node for made, node in planned.items() if made is not None for value in made.outputs}
    with _numbered(made for made in planned if made is not None) as numbered:
        optimized = target.runtime.optimized_model(model, target.machine)
    if optimized is None:
        return Floats({}, [], 0)
    found: dict[ir.Node, None] = {}
    others: list[str] = []
    for node in optimized.graph:
        made = numbered.get(str(node.name))
        original = planned.get(made) or next((results[v.name] for v in node.outputs if v.name in results), None)
        if original is None:
            others += [str(node.outputs[0].name)] if _has_stored_weight(node) else []
            continue
        if original in islands.units:
            floats = node.op_type in PRODUCTS
        else:
            elementwise = kernels.operators[original.op_type].role == "elementwise"
            kept = elementwise and made is not None and node.op_type == made.op_type
            floats = kept or any(v.name in results for v in node.outputs)
        if floats:
            found[original] = None
    return Floats(found, others, _more_products(optimized, model, islands.units))


@contextmanager
def _numbered(nodes: Iterable[ir.Node]) -> Iterator[dict[str, ir.Node]]:
    """Unique names for the time being: runtimes rename values, and keep names of nodes that stay what they are."""
    named = {f"planned_{i}_": node for i, node in enumerate(nodes)}
    before = [(node, node.name) for node in named.values()]
    try:
        for name, node in named.items():
            node.name = name
        yield named
    finally:
        for node, old in before:
            node.name = old


def _more_products(optimized: ir.Model, model: ir.Model, planned: Iterable[ir.Node]) -> int:
    """How many more products the runtime computes in floats than ``model`` has beside ``planned``.

    0 for models with functions of their own, whose nodes the runtime may compute any number of times.
    """
    if model.functions:
        return 0
    left = set(planned)
    floats = sum(node.op_type in PRODUCTS and node not in left for node in model.graph.all_nodes())
    return max(0, sum(node.op_type in PRODUCTS for node in optimized.graph) - floats)


def _has_stored_weight(node: ir.Node) -> bool:
    if node.op_type not in STORED or len(node.inputs) < 2:
        return False
    value = node.inputs[1]
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return False
    source = producer.inputs[0]
    return source is not None and source.is_initializer()

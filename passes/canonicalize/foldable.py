"""Find the nodes whose results are known before the model runs: functions of constants and of shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import onnx_ir as ir

from tamis.compiler.graph_pass import Skip
from tamis.compiler.rewriting.constants import constant_tensor
from tamis.compiler.rewriting.operators import has_subgraph, is_deterministic

QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""Left as they are: they say how a weight is stored."""
DATA_DEPENDENT = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
"""Operators whose output size cannot be inferred, but never exceeds a small multiple of the input's."""
MOVERS = frozenset(
    {"Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose"}
    | {"Unsqueeze"}
)
HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
STORED_BYTES = 1024
"""A widening Cast of a constant with more bytes than this is a storage form."""


@dataclass
class Foldable:
    """Nodes to evaluate, in graph order, the values they need, and what was left out.

    Args:
        nodes: Each is a deterministic standard operator over constants, shapes and earlier nodes.
        sources: Values of which only type and shape are needed.
        constants: Values whose elements are needed.
        skips: Foldable nodes left alone, with the reason.
    """

    nodes: list[ir.Node] = field(default_factory=list)
    sources: dict[ir.Value, None] = field(default_factory=dict)
    constants: dict[ir.Value, None] = field(default_factory=dict)
    skips: list[Skip] = field(default_factory=list)


def find_foldable(graph: ir.Graph, model: ir.Model, max_bytes: int) -> Foldable:
    """Sweep ``graph`` once, in order.

    Args:
        graph: The main graph or a subgraph of ``model``.
        model: For its opset and functions.
        max_bytes: A node whose result is larger than this and larger than its constant inputs is left out.
    """
    found = Foldable()
    known: set[ir.Value] = set()
    for node in graph:
        if not _eligible(node, model, known):
            continue
        reason = _refusal(node, max_bytes)
        if reason is not None:
            found.skips.append(Skip(reason, node.name or node.op_type))
        elif _size_is_bounded(node):
            _add(found, node, known)
            known.update(node.outputs)
    return found


def _add(found: Foldable, node: ir.Node, known: set[ir.Value]) -> None:
    found.nodes.append(node)
    for value in node.inputs:
        if value is not None and value not in known:
            kind = found.sources if node.op_type in ("Shape", "Size") else found.constants
            kind[value] = None


def _eligible(node: ir.Node, model: ir.Model, known: set[ir.Value]) -> bool:
    if node.op_type == "Constant" or node.op_type in QUANTIZED or has_subgraph(node):
        return False
    if node.op_type in ("Shape", "Size"):
        source = node.inputs[0]
        ready = source is not None and source.dtype is not None and source.shape is not None
        return ready and is_deterministic(node, model)
    ready = all(v is None or v in known or constant_tensor(v) is not None for v in node.inputs)
    return ready and is_deterministic(node, model) and not _rounds_halves(node) and _can_be_evaluated(node)


def _can_be_evaluated(node: ir.Node) -> bool:
    """Whether onnxsim can hand the values over: tensors, no strings, no types that numpy lacks, no output left out.

    Otherwise it complains on standard error, or gives 8-bit floats back as integers.
    """
    values = [v for v in (*node.inputs, *node.outputs) if v is not None]
    named = [bool(v.name) for v in node.outputs]
    return sorted(named, reverse=True) == named and not any(_is_foreign(v) for v in values)


def _is_foreign(value: ir.Value) -> bool:
    if not isinstance(value.type, ir.TensorType):
        return value.type is not None
    return value.type.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED) or value.type.dtype.numpy().isbuiltin != 1


def _rounds_halves(node: ir.Node) -> bool:
    """16-bit floating-point arithmetic: runtimes may keep wider intermediate results, so its bits are theirs."""
    if node.op_type in MOVERS:
        return False
    return any(v is not None and v.dtype in HALVES for v in (*node.inputs, *node.outputs))


def _refusal(node: ir.Node, max_bytes: int) -> str | None:
    size = sum(_bytes(v) or 0 for v in node.outputs)
    given = sum(tensor.nbytes for v in node.inputs if (tensor := constant_tensor(v)) is not None)
    if node.op_type == "Cast" and STORED_BYTES < given < size:
        return "constant is stored in a narrower type"
    if size > max_bytes and size > given:
        return "folded result would be larger than max_folded_mb"
    return None


def _size_is_bounded(node: ir.Node) -> bool:
    return node.op_type in DATA_DEPENDENT or all(_bytes(v) is not None for v in node.outputs if v.name)


def _bytes(value: ir.Value) -> int | None:
    """Bytes of ``value``; None if type or shape are not known."""
    if value.dtype is None or value.shape is None or not value.shape.is_static():
        return None
    if value.dtype == ir.DataType.STRING:
        return 16 * prod(value.shape.numpy())
    return int(prod(value.shape.numpy()) * value.dtype.itemsize)

"""Store the tables of look-ups in 8 bits, with a scale for each row, by standard operators alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Skip
from tamis.compiler.rewriting.constants import constant_tensor, constant_value
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused
from tamis.passes.quantization.rounding.int8_weights import quantize_int8

MIN_ROW = 4
"""Elements of a row: with fewer, its scale would take back what 8 bits save."""


def is_lookup(node: ir.Node, min_elements: int) -> bool:
    """Whether ``node`` is a Gather in a constant float32 table of at least ``min_elements``."""
    if node.domain != "" or node.op_type != "Gather":
        return False
    tensor = constant_tensor(node.inputs[0])
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT and tensor.size >= max(min_elements, 1)


def store_int8(lookups: Iterable[ir.Node], names: Names) -> tuple[int, list[Skip]]:
    """``Gather(table, i)`` -> ``Cast(Gather(table8, i)) * Gather(scales, i)`` for every table read by nothing else.

    Args:
        lookups: For which ``is_lookup`` holds.
        names: Free names of the model.

    Returns:
        How many look-ups were rewritten, and those left alone.
    """
    readers: dict[ir.Value, list[ir.Node]] = {}
    for node in lookups:
        assert node.inputs[0] is not None
        readers.setdefault(node.inputs[0], []).append(node)
    done, skips = 0, []
    for table, nodes in readers.items():
        reason = _refusal(table, nodes)
        if reason is not None:
            skips += [Skip(reason, node.name or node.op_type) for node in nodes]
            continue
        constants = _constants(table, names)
        for node in nodes:
            _rewrite(node, *constants, names)
            done += 1
        drop_if_unused([table])
    return done, skips


def _refusal(table: ir.Value, nodes: list[ir.Node]) -> str | None:
    tensor = constant_tensor(table)
    assert tensor is not None
    if len(tensor.shape) != 2 or any(node.attributes.get_int("axis", 0) not in (0, -2) for node in nodes):
        return "look-up is not of rows of a matrix"
    if int(tensor.shape.numpy()[1]) < MIN_ROW:
        return "rows are too short for a scale each"
    if not table.is_initializer() or table.is_graph_output() or len(table.uses()) > len(nodes):
        return "table stays in float32 for other readers"
    return None if np.isfinite(tensor.numpy()).all() else "table is not finite"


def _constants(table: ir.Value, names: Names) -> tuple[ir.Value, ir.Value]:
    """The rows as int8 ``(V, D)``, and their scales ``(V, 1)``."""
    tensor, graph = constant_tensor(table), table.graph
    assert tensor is not None and isinstance(graph, ir.Graph)
    found = quantize_int8(tensor.numpy().T, per_channel=True, pair_safe=False)
    arrays = {"int8": np.ascontiguousarray(found.quantized.T), "scale": found.scale[:, None]}
    rows, scales = (_constant(graph, names.fresh(f"{table.name}_{suffix}"), a) for suffix, a in arrays.items())
    return rows, scales


def _constant(graph: ir.Graph, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
    value = constant_value(name, ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def _rewrite(node: ir.Node, rows: ir.Value, scales: ir.Value, names: Names) -> None:
    graph, label = node.graph, node.name or node.outputs[0].name or node.op_type
    assert graph is not None

    def insert(op_type: str, inputs: list[ir.Value | None], suffix: str, **attributes: int) -> ir.Value:
        name = names.fresh(f"{label}_{suffix}")
        new = ir.node(op_type, inputs, attributes, name=name)
        new.outputs[0].name = name
        graph.insert_before(node, new)
        return new.outputs[0]

    found = insert("Gather", [rows, node.inputs[1]], "rows", axis=0)
    floats = insert("Cast", [found], "cast", to=int(ir.DataType.FLOAT))
    scale = insert("Gather", [scales, node.inputs[1]], "scale", axis=0)
    result = insert("Mul", [floats, scale], "scaled")
    name, type_, shape = node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape
    bypass(node, result)
    result.name, result.type, result.shape = name, type_, shape

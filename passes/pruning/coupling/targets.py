"""Shapes that a node is given as an input: a constant, or a Concat of constants and of sizes that are computed.

Exporters write ``Reshape(x, Concat(Shape(x)[0], [8, 64]))`` where the batch is dynamic. Numbers that are written there can
be written anew, sizes that are computed cannot.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.passes.pruning.axes.kept import Kept

Entries = list[int | None]
"""Numbers as they are written; None for those that are computed."""
COMPUTED = "its size is computed at run time"


def read_entries(node: ir.Node, index: int) -> Entries | None:
    """The entries of the shape that ``node`` reads at input ``index``; None if not even their number is known."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return None
    constant = constant_array(value)
    concat = _concat(value)
    if constant is not None:
        return [int(entry) for entry in constant.ravel()]
    if concat is None:
        return None
    found: Entries = []
    for part in concat.inputs:
        entries = _part(part)
        if entries is None:
            return None
        found.extend(entries)
    return found


def _part(value: ir.Value | None) -> Entries | None:
    """Entries of a part of a Concat."""
    constant = constant_array(value)
    if constant is not None:
        return [int(entry) for entry in constant.ravel()]
    count = None if value is None or value.shape is None or len(value.shape) != 1 else value.shape[0]
    return [None] * count if isinstance(count, int) else None


def _concat(value: ir.Value) -> ir.Node | None:
    node = value.producer()
    return node if node is not None and node.op_type == "Concat" and node.domain == "" else None


def write_entries(node: ir.Node, index: int, entries: Mapping[int, int], kept: Kept) -> None:
    """Write some of the entries anew, for ``node`` alone.

    Args:
        node: The reader.
        index: Of its input.
        entries: Place -> number, where a number was written before.
        kept: Of the removal.
    """
    value = node.inputs[index]
    assert value is not None
    if constant_array(value) is not None:
        _write(node, index, entries, 0, kept)
        return
    concat = _concat(value)
    assert concat is not None
    if sole_user(value) is None:
        concat = _copied(concat, node, index, kept)
    start = 0
    for i, part in enumerate(concat.inputs):
        if constant_array(part) is not None:
            _write(concat, i, entries, start, kept)
        start += len(_part(part) or ())


def _write(node: ir.Node, index: int, entries: Mapping[int, int], start: int, kept: Kept) -> None:
    """Change a constant that holds the entries from ``start`` on."""
    old = constant_array(node.inputs[index])
    assert old is not None
    new = old.copy()
    for place, entry in entries.items():
        if start <= place < start + new.size:
            new[place - start] = entry
    if not np.array_equal(new, old):
        kept.set_constant(node, index, new)


def _copied(concat: ir.Node, reader: ir.Node, index: int, kept: Kept) -> ir.Node:
    """A Concat of the same for one of its readers."""
    assert reader.graph is not None
    old = concat.outputs[0]
    copy = ir.Node("", "Concat", concat.inputs, concat.attributes.values(), name=kept.fresh(f"{concat.name}_kept"))
    copy.outputs[0].name, copy.outputs[0].type = kept.fresh(f"{old.name}_kept"), old.type
    copy.outputs[0].shape = old.shape
    reader.graph.insert_before(reader, copy)
    reader.replace_input_with(index, copy.outputs[0])
    return copy

"""What a Concat puts together, with what belongs together already taken as one."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.compiler.rewriting.node_pass import producer_of
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.passes.canonicalize.slice_ranges import Bounds, Ranges, is_whole, read_slice, size_of, write_slice

CONCAT = frozenset({"Concat"})
SLICE = frozenset({"Slice"})


def concat_axis(node: ir.Node) -> int | None:
    """The axis of a Concat, 0 or above; None if it counts from the end and the rank is not known."""
    return _from_front(node.attributes.get_int("axis", 1), [*node.outputs, *node.inputs])


def _from_front(axis: int, values: Sequence[ir.Value | None]) -> int | None:
    if axis >= 0:
        return axis
    shape = next((v.shape for v in values if v is not None and v.shape is not None), None)
    return None if shape is None else axis + len(shape)


def is_absorbed(node: ir.Node, axis: int) -> bool:
    """True if a Concat over ``axis`` is part of another one over that axis, and of nothing else."""
    user = sole_user(node.outputs[0])
    if user is None or user.graph is not node.graph or user.domain != "" or user.op_type not in CONCAT:
        return False
    return concat_axis(user) == axis


def flat_parts(node: ir.Node, axis: int) -> list[ir.Value]:
    """The inputs of a Concat, with those of the Concats that it absorbs in their place."""
    parts: list[ir.Value] = []
    pending = list(reversed(node.inputs))
    while pending:
        value = pending.pop()
        assert value is not None
        inner = producer_of(value, node, CONCAT)
        if inner is not None and concat_axis(inner) == axis and is_absorbed(inner, axis):
            pending.extend(reversed(inner.inputs))
        else:
            parts.append(value)
    return parts


def join_parts(parts: list[ir.Value], reader: ir.Node, axis: int, build: Builder) -> list[ir.Value]:
    """``parts`` with runs of outputs of a Split, and of neighbouring Slices, replaced by what they are of."""
    joined: list[ir.Value] = []
    at = 0
    while at < len(parts):
        whole = _split_run(parts, at, reader, axis)
        taken, count = whole or _slice_run(parts, at, reader, axis, build)
        joined.extend(taken)
        at += count
    return joined


def _split_run(parts: list[ir.Value], at: int, reader: ir.Node, axis: int) -> tuple[list[ir.Value], int] | None:
    """The input of the Split all of whose outputs are ``parts`` from ``at``, and how many they are."""
    split = parts[at].producer()
    if split is None or split.op_type != "Split" or split.domain != "" or split.graph is not reader.graph:
        return None
    outputs, source = split.outputs, split.inputs[0]
    if source is None or parts[at] is not outputs[0] or tuple(parts[at : at + len(outputs)]) != tuple(outputs):
        return None
    split_axis = _from_front(split.attributes.get_int("axis", 0), [source, *outputs])
    return ([source], len(outputs)) if split_axis == axis else None


def _slice_run(
    parts: list[ir.Value], at: int, reader: ir.Node, axis: int, build: Builder
) -> tuple[list[ir.Value], int]:
    """What stands for the Slices from ``at`` on that lie next to each other, and how many they are."""
    first = _read_part(parts[at], reader, axis, build.opset)
    if first is None:
        return [parts[at]], 1
    source, ranges = first
    size, others = size_of(source, axis), _others(ranges, axis)
    bounds, end = ranges[axis], at + 1
    while end < len(parts):
        after = _read_part(parts[end], reader, axis, build.opset)
        if after is None or after[0] is not source or _others(after[1], axis) != others:
            break
        together = _together(bounds, after[1][axis], size)
        if together is None:
            break
        bounds, end = together, end + 1
    run = parts[at:end]
    pays = (is_whole(bounds, size) and not others) or all(sole_user(part) is not None for part in run)
    if len(run) == 1 or not pays:
        return run, len(run)
    return [write_slice(source, {**ranges, axis: bounds}, build)], len(run)


def _read_part(value: ir.Value, reader: ir.Node, axis: int, opset: int) -> tuple[ir.Value, Ranges] | None:
    """What ``value`` is a Slice of over ``axis``, and its ranges."""
    node = producer_of(value, reader, SLICE)
    ranges = None if node is None else read_slice(node, opset)
    if node is None or ranges is None or axis not in ranges or node.inputs[0] is None:
        return None
    return node.inputs[0], ranges


def _others(ranges: Ranges, axis: int) -> Ranges:
    return {a: b for a, b in ranges.items() if a != axis}


def _together(first: Bounds, second: Bounds, size: int | None) -> Bounds | None:
    """The bounds that take what ``first`` and then ``second`` take, steps of 1; None if they are not neighbours."""
    if first[2] != 1 or second[2] != 1:
        return None
    if size is not None:
        a, b = range(size)[slice(*first)], range(size)[slice(*second)]
        return (a.start, b.stop, 1) if a and b and a.stop == b.start else None
    neighbours = 0 <= first[0] <= first[1] == second[0] <= second[1]
    return (first[0], second[1], 1) if neighbours else None

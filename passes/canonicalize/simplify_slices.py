"""Take out detours of Slice, Split and Concat.

::

    Slice(Slice(x))                              ->  Slice(x)
    Slice(Concat(x, y))                          ->  Slice(y), or y     if it lies within y
    Concat(Concat(x, y), z)                      ->  Concat(x, y, z)
    Concat(a, b) of a, b = Split(x)              ->  x                  all outputs, in order
    Concat(x[:, 0:4], x[:, 4:6], y)              ->  Concat(x[:, 0:6], y)

*Refuses*: bounds that are not constant; sizes that are not known, where bounds count from the end or a step is not 1;
a Slice or Concat inside that something else reads, where it would have to stay and be computed as well.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.compiler.rewriting.node_pass import NodePass, producer_of, replace
from tamis.compiler.rewriting.rewrite_pass import OTHER_READERS, Builder
from tamis.passes.canonicalize.concat_parts import concat_axis, flat_parts, is_absorbed, join_parts
from tamis.passes.canonicalize.slice_ranges import Ranges, bounds_of, compose, read_slice, size_of, write_slice

SLICE = frozenset({"Slice"})
CONCAT = frozenset({"Concat"})
MAX_PARTS = 64
"""Concats of more parts are not searched for where a Slice lies, so that time stays linear in nodes."""


class Options(PassOptions):
    """Options of ``simplify-slices``."""


class SimplifySlices(NodePass[Options]):
    """Take out detours of Slice, Split and Concat.

    *Match*: a Slice of a Slice, or of one part of a Concat; a Concat, of a Concat over the same axis, of all outputs
    of a Split in order, or of Slices next to each other; all with constant bounds.

    *Rewrite*: one Slice or Concat, or the tensor itself where all of it is taken.

    *Shapes*: output shapes do not change. Bounds count from 0 where the size is known.

    *Preserves*: bits, of any element type.

    *References*: the ONNX operators Slice, Split and Concat.
    """

    name = "simplify-slices"
    stage = Stage.CANONICALIZE
    contract = Contract.EXACT
    options_type = Options
    op_types = SLICE | CONCAT

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        if node.op_type in CONCAT:
            return _simplify_concat(node, build)
        source = node.inputs[0]
        if producer_of(source, node, SLICE | CONCAT) is None:
            return False
        ranges = read_slice(node, build.opset)
        if ranges is None:
            return "the bounds are not constant"
        if producer_of(source, node, SLICE) is not None:
            return _slice_of_slice(node, ranges, build)
        return _slice_of_concat(node, ranges, build)


def _slice_of_slice(node: ir.Node, ranges: Ranges, build: Builder) -> bool | str:
    inner = producer_of(node.inputs[0], node, SLICE)
    assert inner is not None
    source = inner.inputs[0]
    first = read_slice(inner, build.opset)
    if first is None or source is None:
        return "the bounds are not constant"
    if sole_user(inner.outputs[0]) is None:
        return OTHER_READERS
    joined = dict(first)
    for axis, bounds in ranges.items():
        both = compose(first[axis], bounds, size_of(source, axis)) if axis in first else bounds
        if both is None:
            return "the size of an axis is not known"
        joined[axis] = both
    replace(node, write_slice(source, joined, build), build)
    return True


def _slice_of_concat(node: ir.Node, ranges: Ranges, build: Builder) -> bool | str:
    concat = producer_of(node.inputs[0], node, CONCAT)
    assert concat is not None
    axis = concat_axis(concat)
    if axis is None or axis not in ranges or len(concat.inputs) > MAX_PARTS:
        return False
    sizes = [None if v is None else size_of(v, axis) for v in concat.inputs]
    if None in sizes:
        return "the size of an axis is not known"
    lengths = [s for s in sizes if s is not None]
    taken = range(sum(lengths))[slice(*ranges[axis])]
    if not taken:
        return False
    before = 0
    for part, length in zip(concat.inputs, lengths, strict=True):
        if before <= min(taken) and max(taken) < before + length:
            assert part is not None
            within = bounds_of(range(taken.start - before, taken.stop - before, taken.step))
            replace(node, write_slice(part, {**ranges, axis: within}, build), build)
            return True
        before += length
    return False


def _simplify_concat(node: ir.Node, build: Builder) -> bool | str:
    axis = concat_axis(node)
    if axis is None or is_absorbed(node, axis):
        return False
    given = [v for v in node.inputs if v is not None]
    parts = join_parts(flat_parts(node, axis), node, axis, build)
    if parts == given:
        return False
    same = parts[0] if len(parts) == 1 else build.op("Concat", *parts, axis=axis)
    replace(node, same, build)
    return True

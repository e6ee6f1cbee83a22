"""A channel shuffle: Reshape, Transpose, Reshape that together change the order along one axis.

::

    (N, G W, ...) -> (N, G, W, ...) -> (N, W, G, ...) -> (N, W G, ...)     output m ~ input order[m]

Taken node by node, channels would go by whole groups. The three are taken as one: each channel by itself. If what
stays of the channels is some groups and the same channels of each, the chain stays, with other sizes; if not, it
becomes a Gather.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.graph_edit import drop_if_unused, sole_user
from tamis.passes.pruning.axes.axis import Axis, Indices, Tensor
from tamis.passes.pruning.axes.kept import Kept
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.runs import Run, align
from tamis.passes.pruning.coupling.shapes import sizes_after, sizes_before
from tamis.passes.pruning.coupling.slicing import become_gather
from tamis.passes.pruning.coupling.targets import read_entries, write_entries

KEY = "pruning: channel shuffle"
"""Under which the two Reshapes of a shuffle know it, from coupling to repair."""
INSIDE = "inside a channel shuffle, which is taken as a whole"


@dataclass(frozen=True, eq=False)
class Shuffle:
    """A channel shuffle.

    Args:
        first, transpose, last: The nodes.
        axis: Of the source and of the result.
        parts: Axes of what is in between.
        sizes: Of these, before the Transpose.
        perm: Order of ``parts`` behind the Transpose.
    """

    first: ir.Node
    transpose: ir.Node
    last: ir.Node
    axis: int
    parts: tuple[int, ...]
    sizes: tuple[int, ...]
    perm: tuple[int, ...]

    @property
    def order(self) -> Indices:
        """Position of the source for each position of the result."""
        return np.arange(prod(self.sizes)).reshape(self.sizes).transpose(self.perm).ravel()

    @property
    def source(self) -> ir.Value:
        """What is shuffled."""
        value = self.first.inputs[0]
        assert value is not None
        return value

    @property
    def result(self) -> ir.Value:
        """The same, shuffled."""
        return self.last.outputs[0]


def couple_shuffle(node: ir.Node, x: Tensor, runs: Sequence[Run], ties: Ties) -> list[Run]:
    """Couple a shuffle that begins at ``node``, and give those of ``runs`` that one couples that begins or ends there."""
    ended = _known(node)
    node.meta.pop(KEY, None)
    found = [run for run in runs if ended is not None and ended.last is node and run.before == ended.parts]
    if ended is not None and found:
        node.meta[KEY] = ended
        return found
    for run in runs:
        shuffle = _find(node, x, run, ties)
        if shuffle is not None:
            node.meta[KEY] = shuffle.last.meta[KEY] = shuffle
            ties.tie(Axis(x, shuffle.axis), Axis(shuffle.result, shuffle.axis), shuffle.order)
            for inner in (node.outputs[0], shuffle.transpose.outputs[0]):
                ties.freeze_tensor(inner, INSIDE, shuffle.parts)
            return [run]
    return []


def is_inside_shuffle(node: ir.Node) -> bool:
    """Whether a shuffle begins or ends at ``node``."""
    return _known(node) is not None


def _known(node: ir.Node) -> Shuffle | None:
    """The shuffle that was found at ``node``, in this model and not in one that it was copied from."""
    shuffle = node.meta.get(KEY)
    if not isinstance(shuffle, Shuffle) or node not in (shuffle.first, shuffle.last):
        return None
    return shuffle if shuffle.first.meta.get(KEY) is shuffle else None


def _find(first: ir.Node, x: Tensor, run: Run, ties: Ties) -> Shuffle | None:
    transpose = sole_user(first.outputs[0])
    last = None if transpose is None or transpose.op_type != "Transpose" else sole_user(transpose.outputs[0])
    if transpose is None or last is None or {first.op_type, last.op_type} != {"Reshape"}:
        return None
    if not isinstance(x, ir.Value) or len(run.before) != 1 or not run.equal or len(run.after) < 2:
        return None
    before = sizes_before(x, ties)
    inner = None if before is None else sizes_after(first, before)
    if inner is None or last.inputs[0] is not transpose.outputs[0] or last.graph is not first.graph:
        return None
    perm = transpose.attributes.get_ints("perm", tuple(reversed(range(len(inner)))))
    parts = run.after
    if any(perm[i] != i for i in range(len(perm)) if i not in parts):
        return None
    turned = [inner[i] for i in perm]
    after, sizes = sizes_after(last, turned), [inner[i].known for i in parts]
    known = tuple(size for size in sizes if size is not None)
    if after is None or after != before or len(known) < len(sizes):
        return None
    split, merged = read_entries(first, 1), read_entries(last, 1)
    if Run(parts, run.before) not in align(turned, after) or split is None or merged is None:
        return None
    if any(split[i] is None for i in parts) or any(merged[i] == 0 for i in parts if i < len(merged)):
        return None
    return Shuffle(first, transpose, last, run.before[0], parts, known, tuple(parts.index(perm[i]) for i in parts))


def repair_shuffle(node: ir.Node, kept: Kept) -> None:
    """Once both Reshapes know their other sizes: the chain with new sizes, or a Gather in place of its last node."""
    shuffle = _known(node)
    if shuffle is None or not kept.loses(Axis(shuffle.source, shuffle.axis)):
        return
    stay = kept.positions(Axis(shuffle.source, shuffle.axis))
    left = [np.unique(part) for part in np.unravel_index(stay, shuffle.sizes)]
    if prod(len(part) for part in left) == len(stay):
        _resize(shuffle, node, [len(part) for part in left], kept)
    elif node is shuffle.last:
        _gather(shuffle, np.searchsorted(stay, shuffle.order[kept.positions(Axis(shuffle.result, shuffle.axis))]), kept)


def _resize(shuffle: Shuffle, node: ir.Node, sizes: Sequence[int], kept: Kept) -> None:
    inner, turned = shuffle.first.outputs[0], shuffle.transpose.outputs[0]
    for value, parts in ((inner, sizes), (turned, [sizes[i] for i in shuffle.perm])):
        assert value.shape is not None
        dims = list(value.shape)
        for axis, size in zip(shuffle.parts, parts, strict=True):
            dims[axis] = size
        value.shape = ir.Shape(dims)
    if node is shuffle.first:
        write_entries(node, 1, dict(zip(shuffle.parts, sizes, strict=True)), kept)


def _gather(shuffle: Shuffle, order: Indices, kept: Kept) -> None:
    last, target = shuffle.last, shuffle.first.inputs[1]
    last.replace_input_with(0, shuffle.source)
    become_gather(last, shuffle.axis, order, kept)
    del last.meta[KEY]
    assert last.graph is not None
    last.graph.remove([shuffle.transpose, shuffle.first], safe=True)
    drop_if_unused([target])

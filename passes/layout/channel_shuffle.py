"""Recognize a channel shuffle: Reshape to groups, Transpose of the groups, Reshape back."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.passes.layout.permutation import perm_of

Channels = np.ndarray[Any, np.dtype[np.int64]]
"""An order of channels: channel ``m`` afterwards is channel ``order[m]`` before."""


@dataclass(frozen=True)
class Shuffle:
    """A channel shuffle.

    Args:
        nodes: Reshape, Transpose, Reshape.
        groups: How many groups the channels are read in.
        order: Of the channels.
    """

    nodes: tuple[ir.Node, ir.Node, ir.Node]
    groups: int
    order: Channels

    @property
    def source(self) -> ir.Value:
        """What is shuffled, ``(N, C, ...)``."""
        value = self.nodes[0].inputs[0]
        assert value is not None
        return value

    @property
    def result(self) -> ir.Value:
        """The same with the channels shuffled."""
        return self.nodes[2].outputs[0]


def read_shuffle(transpose: ir.Node) -> Shuffle | str | None:
    """The shuffle around ``transpose``, or why it is none that can be moved; None if it does not look like one."""
    perm, value = perm_of(transpose), transpose.inputs[0]
    first = None if value is None else value.producer()
    last = sole_user(transpose.outputs[0])
    if perm is None or len(perm) < 4 or perm != (0, 2, 1, *range(3, len(perm))) or not _is_reshape(first):
        return None
    assert first is not None and first.inputs[0] is not None
    if not _is_reshape(last) or first.graph is not transpose.graph or last is None or last.graph is not transpose.graph:
        return None
    if sole_user(first.outputs[0]) is not transpose:
        return "something else reads inside the shuffle"
    shape, grouped, back = first.inputs[0].shape, constant_array(first.inputs[1]), constant_array(last.inputs[1])
    if shape is None or grouped is None or back is None or len(shape) < 3:
        return "the shapes around the shuffle are not known"
    sizes = [size if isinstance(size, int) else None for size in shape]
    if None in sizes[1:] or grouped.size != len(perm) or back.size != len(sizes):
        return "the shapes around the shuffle are not known"
    groups, width = int(grouped[1]), int(grouped[2])
    if groups * width != sizes[1] or not _keeps(sizes, grouped.tolist(), 2):
        return "the Reshape does not split the channels only"
    if int(back[1]) != sizes[1] or not _keeps(sizes, back.tolist(), 1):
        return "the second Reshape does not undo the first"
    order = np.arange(groups * width).reshape(groups, width).T.ravel()
    return Shuffle((first, transpose, last), groups, order)


def _is_reshape(node: ir.Node | None) -> bool:
    return (
        node is not None
        and node.op_type == "Reshape"
        and node.domain == ""
        and not node.attributes.get_int("allowzero")
    )


def _keeps(sizes: list[int | None], new: list[int], channel_axes: int) -> bool:
    """Whether ``new`` has the first axis of ``sizes``, and behind the channels the same sizes, or as many elements.

    Args:
        sizes: Before, ``(N, C, ...)``, all but ``N`` known.
        new: As a Reshape is given them.
        channel_axes: How many axes of ``new`` are channels; only behind a single one the sizes must be the same.
    """
    rows, rest = new[0], new[1 + channel_axes :]
    wanted = [int(size or 0) for size in sizes[2:]]
    if 0 in wanted or 0 in rest or any(size <= 0 for size in new[1 : 1 + channel_axes]):
        return False
    if rows not in (-1, 0) and rows != sizes[0] and (sizes[0] is not None or -1 in rest):
        return False
    if -1 in rest:
        if rows == -1 or rest.count(-1) > 1:
            return False
        known = prod(size for size in rest if size != -1)
        rest = [prod(wanted) // known if size == -1 else size for size in rest]
    return rest == wanted if channel_axes == 1 else prod(rest) == prod(wanted)

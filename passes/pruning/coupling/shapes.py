"""Sizes, known and symbolic, of what Reshape, Flatten, Squeeze and Unsqueeze read and give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis import Slot, Tensor
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.runs import ONE, Size, product
from tamis.passes.pruning.coupling.targets import read_entries

Sizes = list[Size]


def sizes_before(tensor: Tensor, ties: Ties) -> Sizes | None:
    """Of a tensor; sizes that are not known are symbols, equal where the model gives them the same name."""
    shape = ties.shape(tensor)
    if shape is None:
        return None
    names = (tensor.value if isinstance(tensor, Slot) else tensor).shape
    return [Size.of(_symbol(names, i) if size is None else size) for i, size in enumerate(shape)]


def sizes_after(node: ir.Node, before: Sequence[Size]) -> Sizes | None:
    """Of the output of ``node``; None if they cannot be told.

    Args:
        node: A Reshape, Flatten, Squeeze or Unsqueeze.
        before: Sizes of its first input.
    """
    return STEPS[node.op_type](node, before)


def axes_of(node: ir.Node) -> list[int] | None:
    """Axes of a Squeeze, Unsqueeze or Pad, as written, in either form; None if there are none or they are computed."""
    if "axes" in node.attributes:
        return list(node.attributes["axes"].as_ints())
    array = constant_array(node.inputs[-1]) if len(node.inputs) > 1 else None
    return None if array is None else [int(axis) for axis in array.ravel()]


def _symbol(names: ir.Shape | None, axis: int) -> str:
    name = None if names is None else names[axis]
    known = name.value if isinstance(name, ir.SymbolicDim) else None
    return f"{known}" if known else f"?{axis}"


def _reshape(node: ir.Node, before: Sequence[Size]) -> Sizes | None:
    """What one entry leaves open follows from the others; computed entries have the names that the output has."""
    entries = read_entries(node, 1)
    if entries is None or (node.attributes.get_int("allowzero", 0) != 0 and 0 in entries):
        return None
    if any(entry == 0 and i >= len(before) for i, entry in enumerate(entries)):
        return None
    found = [before[i] if entry == 0 else Size.of(entry or -1) for i, entry in enumerate(entries)]
    rest = [i for i, entry in enumerate(entries) if entry is None or entry == -1]
    if len(rest) > 1:
        names = node.outputs[0].shape
        for i in (i for i in rest if entries[i] is None and _is_named(names, i)):
            assert names is not None
            size = names[i]
            found[i] = Size.of(size if isinstance(size, int) else _symbol(names, i))
        rest = [i for i in rest if entries[i] is not None or not _is_named(names, i)]
    if len(rest) > 1:
        return None
    if rest:
        others = product(size for i, size in enumerate(found) if i != rest[0])
        if others.number == 0:
            return None
        found[rest[0]] = product(before) / others
    return found


def _is_named(names: ir.Shape | None, axis: int) -> bool:
    """Whether an axis has a known size or a name."""
    return names is not None and (isinstance(names[axis], int) or _symbol(names, axis) != f"?{axis}")


def _flatten(node: ir.Node, before: Sequence[Size]) -> Sizes | None:
    axis = node.attributes.get_int("axis", 1)
    axis += len(before) if axis < 0 else 0
    return [product(before[:axis]), product(before[axis:])]


def _squeeze(node: ir.Node, before: Sequence[Size]) -> Sizes | None:
    axes = axes_of(node)
    if not axes:
        written = len(node.inputs) > 1 and node.inputs[1] is not None
        return None if written or any(s.powers for s in before) else [s for s in before if s != ONE]
    gone = {axis % len(before) for axis in axes}
    return [size for i, size in enumerate(before) if i not in gone]


def _unsqueeze(node: ir.Node, before: Sequence[Size]) -> Sizes | None:
    axes = axes_of(node)
    if axes is None:
        return None
    rank = len(before) + len(axes)
    new = {axis % rank for axis in axes}
    rest = iter(before)
    return [ONE if i in new else next(rest) for i in range(rank)]


STEPS: dict[str, Callable[[ir.Node, Sequence[Size]], Sizes | None]] = {
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}

"""What operators that only change the shape make of the sizes of their input, as far as that is known before a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array


@dataclass(frozen=True)
class Axis:
    """The size, not known, of an axis of the chain's input.

    Args:
        index: Which axis.
    """

    index: int


Dim = int | Axis | None
"""A size: known, that of an axis of the input, or neither."""
Dims = list[Dim]
Shape = np.ndarray[tuple[int], np.dtype[np.int64]]


def input_dims(value: ir.Value) -> Dims | None:
    """Sizes of the input of a chain; None if its rank is not known."""
    if value.shape is None:
        return None
    return [d if isinstance(d, int) else Axis(i) for i, d in enumerate(value.shape)]


def follow(dims: Dims | None, nodes: Sequence[ir.Node], opset: int) -> tuple[Dims | None, str | None]:
    """Sizes after all ``nodes``, and why they cannot be told, if so.

    Args:
        dims: Sizes before them.
        nodes: Each reads what the one before it gives.
        opset: Of the standard operators.
    """
    for node in nodes:
        try:
            dims = STEPS[node.op_type](dims, node, opset)
        except _UnknownError as unknown:
            return None, str(unknown)
        inferred = node.outputs[0].shape
        if inferred is not None and len(inferred) == len(dims):
            dims = [i if d is None and isinstance(i, int) else d for d, i in zip(dims, inferred, strict=True)]
    return dims, None


def reshape_target(dims: Dims | None, last: ir.Node) -> Shape | None:
    """The shape, with 0 for "as before" and -1 for "the rest", by which a Reshape gives ``dims``; None if none does.

    A Reshape with -1 refuses empty tensors if another size is 0. That may only be where the chain does so, too.

    Args:
        dims: Sizes of the result.
        last: The last node of the chain.
    """
    if dims is None or 0 in dims:
        return None
    target = [d if isinstance(d, int) else 0 if d == Axis(i) else -1 for i, d in enumerate(dims)]
    if target.count(-1) > 1:
        return None
    if -1 in target and 0 in target:
        wanted = constant_array(last.inputs[1]) if last.op_type == "Reshape" else None
        if wanted is None or wanted[target.index(-1)] != -1:
            return None
    return np.array(target, np.int64)


class _UnknownError(Exception):
    """Why the sizes after a node are not known."""


def _known(dims: Dims | None) -> Dims:
    if dims is None:
        raise _UnknownError("the rank is not known")
    return dims


def _axes(node: ir.Node, opset: int) -> list[int] | None:
    """The axes of a Squeeze or Unsqueeze, as written; None if there are none."""
    if opset < 13:
        axes = node.attributes.get("axes")
        return None if axes is None else list(axes.as_ints())
    if len(node.inputs) < 2 or node.inputs[1] is None:
        return None
    array = constant_array(node.inputs[1])
    if array is None:
        raise _UnknownError("the axes are not constant")
    return [int(axis) for axis in array.ravel()]


def _unsqueeze(dims: Dims | None, node: ir.Node, opset: int) -> Dims:
    axes = _axes(node, opset)
    assert axes is not None
    rest = iter(_known(dims))
    rank = len(_known(dims)) + len(axes)
    new = {axis % rank for axis in axes}
    return [1 if i in new else next(rest) for i in range(rank)]


def _squeeze(dims: Dims | None, node: ir.Node, opset: int) -> Dims:
    given, axes = _known(dims), _axes(node, opset)
    if axes is None:
        if not all(isinstance(d, int) for d in given):
            raise _UnknownError("which axes a Squeeze removes is not known")
        return [d for d in given if d != 1]
    if not axes:
        raise _UnknownError("a Squeeze has an empty list of axes")
    gone = {axis % len(given) for axis in axes}
    return [d for i, d in enumerate(given) if i not in gone]


def _flatten(dims: Dims | None, node: ir.Node, opset: int) -> Dims:
    if dims is None:
        return [None, None]
    axis = node.attributes.get_int("axis", 1)
    axis += len(dims) if axis < 0 else 0
    return [_quotient(dims[:axis], ()), _quotient(dims[axis:], ())]


def _transpose(dims: Dims | None, node: ir.Node, opset: int) -> Dims:
    given = _known(dims)
    perm = node.attributes.get_ints("perm", tuple(reversed(range(len(given)))))
    moved = [i for i in perm if given[i] != 1]
    if moved != sorted(moved):
        raise _UnknownError("a Transpose moves more than axes of size 1")
    return [given[i] for i in perm]


def _reshape(dims: Dims | None, node: ir.Node, opset: int) -> Dims:
    array = constant_array(node.inputs[1])
    if array is None:
        raise _UnknownError("a shape is not constant")
    keeps_zero = node.attributes.get_int("allowzero", 0) != 0
    result: Dims = []
    for i, size in enumerate(int(s) for s in array.ravel()):
        copied = None if dims is None else dims[i] if i < len(dims) else None
        result.append(copied if size == 0 and not keeps_zero else size)
    if -1 in result:
        rest = result.index(-1)
        others = result[:rest] + result[rest + 1 :]
        result[rest] = None if dims is None else _quotient(dims, others)
    return result


def _quotient(dims: Sequence[Dim], others: Sequence[Dim]) -> Dim:
    """The product of ``dims`` over that of ``others``; None unless it is one number, or the size of one axis."""
    if None in dims or None in others:
        return None
    left = [d for d in dims if isinstance(d, Axis)]
    for other in others:
        if isinstance(other, Axis):
            if other not in left:
                return None
            left.remove(other)
    above = math.prod(d for d in dims if isinstance(d, int))
    below = math.prod(d for d in others if isinstance(d, int))
    if below == 0 or above % below or len(left) > 1:
        return None
    if left:
        return left[0] if above == below else None
    return above // below


STEPS: dict[str, Callable[[Dims | None, ir.Node, int], Dims]] = {
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

"""Permutations of axes: ``y = Transpose(x, perm)`` has axis ``perm[i]`` of ``x`` as its axis ``i``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor

Perm = tuple[int, ...]
ItemT = TypeVar("ItemT")


def identity(rank: int) -> Perm:
    """The order that changes nothing."""
    return tuple(range(rank))


def is_identity(perm: Perm) -> bool:
    """True if ``perm`` changes nothing."""
    return perm == identity(len(perm))


def inverse(perm: Perm) -> Perm:
    """What undoes ``perm``."""
    return tuple(sorted(range(len(perm)), key=perm.__getitem__))


def compose(first: Perm, second: Perm) -> Perm:
    """One Transpose for ``Transpose(Transpose(x, first), second)``."""
    return tuple(first[axis] for axis in second)


def turned_back(items: Sequence[ItemT], perm: Perm) -> list[ItemT]:
    """What belongs to the axes of ``Transpose(x, perm)``, in the order of the axes of ``x``."""
    return [items[axis] for axis in inverse(perm)]


def without_axes(perm: Perm, axes: Collection[int]) -> Perm:
    """What is left of ``perm`` when ``axes`` of the transposed tensor, and the same ones of ``x``, are dropped."""
    kept = [perm[i] for i in range(len(perm)) if i not in axes]
    place = {axis: i for i, axis in enumerate(sorted(kept))}
    return tuple(place[axis] for axis in kept)


def with_axes(perm: Perm, axes: Collection[int]) -> Perm:
    """``perm`` when both tensors get new axes at the places ``axes``, counted in the result."""
    rank = len(perm) + len(axes)
    old = [i for i in range(rank) if i not in axes]
    found = list(range(rank))
    for i, axis in zip(old, perm, strict=True):
        found[i] = old[axis]
    return tuple(found)


def rank_of(value: ir.Value | None) -> int | None:
    """Number of axes; None if it is unknown."""
    if value is None:
        return None
    if value.shape is not None:
        return len(value.shape)
    tensor = constant_tensor(value)
    if tensor is not None:
        return len(tuple(tensor.shape))
    producer = value.producer()
    perm = None if producer is None else producer.attributes.get_ints("perm")
    return len(perm) if producer is not None and is_transpose(producer) and perm is not None else None


def is_transpose(node: ir.Node) -> bool:
    """True for the standard operator; a function of the model with its name is not told apart here."""
    return node.op_type == "Transpose" and node.domain == ""


def perm_of(node: ir.Node | None) -> Perm | None:
    """The order of a Transpose; None for other nodes, or if the order is not known."""
    if node is None or not is_transpose(node):
        return None
    perm = node.attributes.get_ints("perm")
    if perm is not None:
        return tuple(perm)
    rank = rank_of(node.inputs[0])
    return None if rank is None else tuple(reversed(range(rank)))

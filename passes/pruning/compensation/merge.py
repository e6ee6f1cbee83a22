"""Merge units that go into units that stay, without data.

::

    w_r ~ s w_k   =>   C_k += s C_r         w: what produces a unit, with its bias; C: what reads it

The unit r that goes is made up for by the one that is most like it, in angle, of those that stay. Between what produces
units and what reads them all must work on each channel alone and scale with it, as ReLU, pooling and copies do; then
s w_k gives s times the output. A depthwise convolution in between must be alike as well, and its scale counts.

For inputs of all directions the best s is ``|w_r| / |w_k|`` times cos t without an activation, and times
``(sin t + (pi - t) cos t) / pi`` with a ReLU, t being the angle.

*References.* Kim et al., Neuron Merging, 2020 (2010.13160), where s is the ratio of the norms; the factor for the angle is
the arc-cosine kernel of Cho and Saul, 2009, section 2.1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, set_constant
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.pruning.axes.axis import Indices, Role, Slot, operand
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.group import Group, Member
from tamis.passes.pruning.axes.kept import Removal

Array = np.ndarray[Any, np.dtype[Any]]
RECTIFIERS = ("Relu", "LeakyRelu", "Clip", "MaxPool", "GlobalMaxPool")
"""Not linear, but scale with what they read, if by a positive number; a Clip does up to its upper bound."""
LINEAR = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sum", "Identity", "Dropout", "AveragePool", "GlobalAveragePool",
    "ReduceMean", "ReduceSum", "Concat", "Split", "Slice", "Gather", "Reshape", "Flatten", "Squeeze", "Unsqueeze",
    "Transpose", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "Pad",
)  # fmt: skip


def merge(graph: AxisGraph, removal: Removal, *, threshold: float = 0.4) -> int:
    """Change, in place, what reads the units that stay, so that these make up for those that go.

    Args:
        graph: Of the model, before ``remove``.
        removal: Groups of that graph -> units that will go.
        threshold: Cosine from which on units are alike; 1 merges only multiples.

    Returns:
        How many units were merged into others. Groups with something in between that does not scale are left alone.
    """
    names = Names(graph.model)
    merged = 0
    for group, gone in removal.items():
        stay = np.setdiff1d(np.arange(group.units), gone)
        places = _places(group) if len(gone) and len(stay) else None
        if places is None or not _scales_through(group):
            continue
        rectified = any(node.op_type in RECTIFIERS for node in _between(group))
        into, scale = most_alike(places, np.asarray(gone), stay, rectified=rectified, threshold=threshold)
        alike = scale != 0
        merged += int(alike.sum())
        for member in group.with_role(Role.CONSUME) if alike.any() else ():
            _fold(member, np.asarray(gone)[alike], into[alike], scale[alike], names)
    return merged


def most_alike(
    places: Sequence[tuple[Array, Array]], gone: Indices, stay: Indices, *, rectified: bool, threshold: float
) -> tuple[Indices, Array]:
    """For each unit that goes, the one that it is merged into, and s.

    Args:
        places: ``(units, n)`` and ``(units, m)``, weights and offsets, of each place where units get their scale, in order.
        gone: ``(g,)`` units.
        stay: ``(k,)`` units.
        rectified: Whether there is a ReLU.
        threshold: Cosine from which on units are alike.

    Returns:
        ``(g,)`` units of ``stay``, and ``(g,)`` factors; 0 where none is alike.
    """
    norm = np.ones(len(places[0][0]))
    cosine = np.ones((len(gone), len(stay)))
    for weights, offsets in places:
        vectors = np.concatenate([weights, offsets / norm[:, None]], axis=1)
        length = np.linalg.norm(vectors, axis=1)
        unit = vectors / np.where(length > 0, length, 1)[:, None]
        part = unit[gone] @ unit[stay].T
        cosine *= np.maximum(part, 0) if rectified else part
        norm = norm * np.where(length > 0, length, 1)
    cosine = np.where(np.isfinite(cosine), np.clip(cosine, -1, 1), 0)
    best = np.argmax(np.abs(cosine), axis=1)
    found = cosine[np.arange(len(gone)), best]
    angle = np.arccos(found)
    share = (np.sin(angle) + (np.pi - angle) * found) / np.pi if rectified else found
    alike = (np.abs(found) >= threshold) & (found != 0)
    return stay[best], np.where(alike, share * norm[gone] / norm[stay[best]], 0)


def _between(group: Group) -> set[ir.Node]:
    """Nodes that read or give what the units have a part of."""
    nodes: set[ir.Node] = set()
    for member in group.members:
        if isinstance(member.axis.tensor, Slot):
            nodes.add(member.node)
        else:
            producer = member.axis.tensor.producer()
            nodes.update(use.node for use in member.axis.tensor.uses())
            nodes.update(() if producer is None else (producer,))
    return nodes


def _scales_through(group: Group) -> bool:
    """Whether a unit that is s times another where it is produced is so where it is read."""
    tensors = {member.axis.tensor for member in group.members}
    for node in _between(group):
        if node.domain != "" or node.op_type not in (*RECTIFIERS, *LINEAR):
            return False
        if node.op_type in ("Add", "Sum") and any(operand(node, i) not in tensors for i in range(len(node.inputs))):
            return False
        if (node.op_type == "Clip" and _number(node, 1) != 0) or (node.op_type == "Pad" and _number(node, 2, 0.0) != 0):
            return False
    return not group.contracted


def _number(node: ir.Node, index: int, default: float | None = None) -> float | None:
    """The constant that a node reads; None if it is computed, ``default`` if there is none."""
    value = node.inputs[index] if index < len(node.inputs) else None
    array = constant_array(value)
    if value is None:
        return default
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def _places(group: Group) -> list[tuple[Array, Array]] | None:
    """Weights ``(units, n)`` and offsets ``(units, m)`` of each place where units get their scale.

    First all that produces them, then what scales them, node by node; offsets belong to the place before them. None if
    units are both summed and scaled: their readers would need scales of their own.
    """
    weights: dict[ir.Node, Array] = {}
    offsets: dict[ir.Node, list[Array]] = defaultdict(list)
    produced = 0
    for member in group.members:
        if member.role in (Role.PRODUCE, Role.SCALE):
            weights[member.node] = _slices(member)
            produced += member.role is Role.PRODUCE
        elif member.role is Role.OFFSET:
            offsets[member.node if member.node in weights or not weights else next(reversed(weights))].append(
                _slices(member)
            )
    if not produced or (produced < len(weights) and produced > 1) or offsets.keys() - weights.keys():
        return None
    nothing = np.zeros((group.units, 0))
    places = [(w, np.concatenate([nothing, *offsets[node]], axis=1)) for node, w in weights.items()]
    if produced > 1:
        return [(np.concatenate([w for w, _ in places], axis=1), np.concatenate([b for _, b in places], axis=1))]
    return places


def _slices(member: Member) -> Array:
    """``(units, n)``, float64: all that is of each unit."""
    array = member.elements
    front = np.moveaxis(array.astype(np.float64), member.axis.index, 0).reshape(array.shape[member.axis.index], -1)
    return front[member.positions].reshape(len(member.positions), -1)


def _fold(member: Member, gone: Indices, into: Indices, scale: Array, names: Names) -> None:
    """Add the slices of units that go to those of others, times ``scale``."""
    slot, array = member.axis.tensor, member.elements
    assert isinstance(slot, Slot)
    front = np.moveaxis(array.astype(np.float64), member.axis.index, 0).copy()
    parts = front[member.positions[gone]] * scale.reshape(-1, *[1] * front.ndim)
    np.add.at(front, member.positions[into], parts)
    whole = np.ascontiguousarray(np.moveaxis(front, 0, member.axis.index).astype(array.dtype))
    set_constant(slot.node, slot.index, whole, names.fresh(f"{slot.value.name}_merged"))

"""The axis graph: which slices of a model go together.

Every position along every axis of every tensor is a vertex. Each operator ties the positions that only go together, an
index map at a time: a Concat ties position i of its second input to position n + i of its output, a Flatten ties
channel c to all positions that hold a part of it. A connected component is a *unit*: it goes as a whole or not at all.
Units that touch the same axes in the same way are a *group*.

*References.* Fang et al., DepGraph, 2023 (2301.12900), couples layers and walks the couplings; here single positions are
coupled, so that offsets, blocks and permutations need no case of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from tamis.compiler.observe import reads
from tamis.compiler.rewriting.operators import has_subgraph
from tamis.passes.pruning.axes.axis import Axis, Indices, Role, Slot
from tamis.passes.pruning.axes.group import Frozen, Group, Member
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import rule_of

VIEWS = (0, 1, 2)
"""Whole heads and whole groups first, then what is inside them."""
ALL = slice(None)
NO_READER = "no weight reads it"
NOT_ZERO = "is summed over without a weight, and is not zero where it is computed from zeros"


class AxisGraph:
    """The groups of a model.

    Args:
        model: With inferred shapes and lifted constants, as ``canonicalize`` leaves it. The graph names its nodes and
            values: once the model changes, make a new one.
        views: See ``Ties``. Of a later view those groups count that share nothing with groups of the views before.

    Attributes:
        groups: What can go, in the order of the graph.
        frozen: What weights produce and cannot go, in the first view.
        ties: What the rules said, in the first view.
    """

    def __init__(self, model: ir.Model, views: Sequence[int] = (0,)) -> None:
        self.model = model
        self.views = tuple(views)
        self.ties = _ties(model, views[0])
        found, self.frozen = _groups(model, self.ties)
        for view in views[1:]:
            taken = {axis for group in found for axis in group.axes if isinstance(axis.tensor, Slot)}
            others, _ = _groups(model, _ties(model, view))
            found += [group for group in others if taken.isdisjoint(group.axes)]
        order = {node: i for i, node in enumerate(model.graph)}
        self.groups = _named(sorted(found, key=lambda group: order[group.with_role(Role.PRODUCE)[0].node]))

    def group(self, name: str) -> Group:
        """The group called ``name``; KeyError if there is none."""
        return {g.name: g for g in self.groups}[name]


def _ties(model: ir.Model, view: int) -> Ties:
    """What the rules of all nodes say."""
    ties = Ties(view)
    for value in model.graph.inputs:
        ties.freeze_tensor(value, "a graph input")
    for node in model.graph:
        rule = rule_of(node)
        if has_subgraph(node):
            reason = f"goes into or out of {node.op_type}, which has graphs of its own"
            for value in {*reads(node), *node.outputs}:
                ties.freeze_tensor(value, reason)
            ties.freeze_node(node, reason)
        elif rule is None:
            ties.freeze_node(node, f"no rule for {node.domain or 'ai.onnx'} {node.op_type}")
        else:
            rule.couple(node, ties)
    for value in model.graph.outputs:
        ties.freeze_tensor(value, "a graph output")
    return ties


def _groups(model: ir.Model, ties: Ties) -> tuple[list[Group], tuple[Frozen, ...]]:
    """What can go, and what weights produce and cannot."""
    if not ties.vertices:
        return [], ()
    labels = _components(ties)
    axes = list(ties.first)
    axis_of = np.repeat(np.arange(len(axes)), [ties.sizes[a] for a in axes])
    reasons = _reasons(ties, labels)
    contracted = _labels(ties, labels, [a for a, _ in ties.contracted if a in ties.first])
    shifted = _labels(ties, labels, [a for a in ties.shifted if a in ties.first])
    produced = _labels(ties, labels, [a for a, r in ties.roles.items() if r is Role.PRODUCE])
    read = _labels(ties, labels, [a for a, r in ties.roles.items() if r is Role.CONSUME]) | contracted
    # Vertices of the components that weights produce, by component and within by axis.
    wanted = np.flatnonzero(np.isin(labels, np.fromiter(produced, np.int64, len(produced))))
    wanted = wanted[np.lexsort((wanted, labels[wanted]))]
    bounds = np.flatnonzero(np.diff(labels[wanted], prepend=-1, append=-1))
    units: dict[tuple[bytes, bool, tuple[str, ...]], list[Indices]] = defaultdict(list)
    for start, stop in pairwise(bounds):
        vertices = wanted[start:stop]
        label = int(labels[vertices[0]])
        why = dict.fromkeys(reasons.get(label, ()))
        if label not in read:
            why[NO_READER] = None
        if label in contracted and label in shifted:
            why[NOT_ZERO] = None
        units[axis_of[vertices].tobytes(), label in contracted, tuple(why)].append(vertices)
    order = {node: i for i, node in enumerate(model.graph)}
    starts = np.asarray([ties.first[a] for a in axes])
    found: list[Group] = []
    frozen: dict[tuple[int, str, tuple[str, ...]], int] = defaultdict(int)
    for (_, summed, why_not), parts in units.items():
        table = np.stack(parts)  # (units, vertices), the same axes in each row
        columns = axis_of[table[0]]
        members = []
        for axis_id in dict.fromkeys(columns.tolist()):
            axis = axes[axis_id]
            members.append(Member(axis, table[:, columns == axis_id] - starts[axis_id], ties.roles.get(axis)))
        members.sort(key=lambda m: _place(m.axis, order))
        first = next(m.node for m in members if m.role is Role.PRODUCE)
        if why_not:
            frozen[order[first], _name(first), why_not] += len(table)
        else:
            found.append(Group(_name(first), len(table), tuple(members), summed))
    return found, tuple(Frozen(name, count, why) for (_, name, why), count in sorted(frozen.items()))


def _components(ties: Ties) -> Indices:
    """Number of the component of each vertex."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    left, right = (
        np.concatenate([edge[side] for edge in ties.edges]) if ties.edges else np.zeros(0, np.int64) for side in (0, 1)
    )
    shape = (ties.vertices, ties.vertices)
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=shape)
    labels: Indices = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def _reasons(ties: Ties, labels: Indices) -> Mapping[int, list[str]]:
    """Component -> why it cannot go."""
    found: dict[int, list[str]] = defaultdict(list)
    for axis, positions, reason in ties.frozen:
        for label in np.unique(_of(ties, labels, axis)[ALL if positions is None else positions]).tolist():
            found[label].append(reason)
    return found


def _labels(ties: Ties, labels: Indices, axes: list[Axis]) -> set[int]:
    """The components that have a part in one of ``axes``."""
    return {label for axis in axes for label in _of(ties, labels, axis).tolist()}


def _of(ties: Ties, labels: Indices, axis: Axis) -> Indices:
    start = ties.first[axis]
    return labels[start : start + ties.sizes[axis]]


def _place(axis: Axis, order: Mapping[ir.Node, int]) -> tuple[int, int, int]:
    """Where in the graph an axis stands: constants at their reader, values at their producer."""
    if isinstance(axis.tensor, Slot):
        return order[axis.tensor.node], axis.tensor.index, axis.index
    producer = axis.tensor.producer()
    return -1 if producer is None else order[producer], 1 << 20, axis.index


def _named(groups: list[Group]) -> tuple[Group, ...]:
    """The groups with names that differ."""
    seen: dict[str, int] = defaultdict(int)
    found = []
    for group in groups:
        seen[group.name] += 1
        count = seen[group.name]
        name = group.name if count == 1 else f"{group.name}#{count}"
        found.append(Group(name, group.units, group.members, group.contracted))
    return tuple(found)


def _name(node: ir.Node) -> str:
    return str(node.name or node.outputs[0].name)

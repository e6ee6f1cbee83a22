"""Passes that replace one pattern by another: find, check, rewrite, each testable alone.

A rewrite is tried only at nodes whose operator can end one of its patterns, so that a pass over a graph without any
costs one look at each node.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import GraphPass, PassContext, PassOptions, PassResult, Skip
from tamis.compiler.rewriting.constants import constant_value
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused
from tamis.compiler.rewriting.pattern import Match, Obstacle, Op, match

OTHER_READERS = "something else reads an intermediate value"
GRAPH_OUTPUT = "an intermediate value is a graph output"

OptionsT = TypeVar("OptionsT", bound=PassOptions)


class RewritePass(GraphPass[OptionsT]):
    """Base class of passes that rewrite patterns.

    A subclass sets ``patterns``, or ``anchors`` and ``find`` where patterns would be too many, and implements ``check``
    and ``rewrite``. Nodes between the inputs of a match and its root disappear if nothing else reads them; if something
    does, the match is skipped, unless ``keeps_readers``. A model that defines standard operators itself is left alone.
    """

    patterns: ClassVar[tuple[Op, ...]] = ()
    """Alternatives, the largest first: the first that fits is taken."""
    anchors: ClassVar[frozenset[str]] = frozenset()
    """Operators at which ``find`` is called; those that can end a pattern."""
    min_opset: ClassVar[int] = 7
    """Of the standard operators, that the replacement needs; models below are left alone."""
    keeps_readers: ClassVar[bool] = False
    """Whether a match is worth rewriting although other nodes read values inside."""
    forward: ClassVar[bool] = False
    """Look at nodes from the first to the last, for patterns of one node whose ``check`` looks at what comes before."""
    _by_anchor: ClassVar[dict[str, list[tuple[Op, tuple[frozenset[str], ...]]]]] = {}
    """Operator -> patterns that it can end, each with the operators that must come before it."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "patterns" in cls.__dict__:
            cls._by_anchor = {}
            for pattern in cls.patterns:
                before = tuple(frozenset(p.op_types) for p in pattern.inputs if isinstance(p, Op))
                for op_type in pattern.op_types:
                    cls._by_anchor.setdefault(op_type, []).append((pattern, before))
            cls.anchors = frozenset(cls._by_anchor)

    def find(self, anchor: ir.Node, opset: int) -> Match | str | None:
        """What is to be replaced; its nodes with readers first.

        Args:
            anchor: A node of one of ``anchors``; with patterns, the last node of what is found.
            opset: Of the standard operators.

        Returns:
            A match; or why it is none, in a few words without names; or None if nothing is alike, or already as wanted.
        """
        before = {p.op_type for v in anchor.inputs if v is not None and (p := v.producer()) is not None}
        blocked: Match | None = None
        for pattern, needed in self._by_anchor[anchor.op_type]:
            if not any(kinds.isdisjoint(before) for kinds in needed) and (found := match(pattern, anchor)) is not None:
                if self._inner(found) is None:
                    return found
                blocked = blocked or found  # a smaller pattern may leave alone what others read
        return blocked

    def check(self, found: Match, model: ir.Model) -> str | None:
        """Why the match must be left alone, in a few words without names; None if it can be rewritten."""
        return None

    @abstractmethod
    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        """Build the replacement; returns the value that stands for the root's output."""

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        if reason := self._unfit(model, opset):
            return PassResult(model, modified=False, skips=(Skip(reason, model.graph.name or "graph"),))
        build: Builder | None = None
        skips: dict[Skip, None] = {}
        count = 0
        for graph in model.graphs():
            for node in graph if self.forward else reversed(graph):  # a larger pattern ends later than what it contains
                if node.op_type not in self.anchors or node.domain != "":
                    continue
                found = self.find(node, opset)
                reason = found if isinstance(found, str) else None
                if isinstance(found, Match):
                    reason = self._inner(found) or self.check(found, model)
                    if reason is None:
                        build = build or Builder(Names(model), opset)
                        reason = self._replace(found, build)
                        count += reason is None
                if reason is not None:
                    skips[Skip(reason, node.name or node.outputs[0].name or node.op_type)] = None
        if build is not None:
            drop_if_unused(build.loose)
        return PassResult(model, modified=count > 0, counts={"fused": count} if count else {}, skips=tuple(skips))

    def near_misses(self, model: ir.Model, context: PassContext) -> tuple[Skip, ...]:
        """Besides matches that ``check`` refuses, nodes where at least half of a pattern fits, but not all of it."""
        found: dict[Skip, None] = dict.fromkeys(super().near_misses(model, context))
        opset = model.graph.opset_imports.get("", 0)
        if not self.patterns or self._unfit(model, opset):
            return tuple(found)
        for graph in model.graphs():
            for node in graph:
                if node.domain == "" and node.op_type in self.anchors and self.find(node, opset) is None:
                    attempts = (_obstacle(pattern, node) for pattern, _ in self._by_anchor[node.op_type])
                    share, obstacle = max(attempts, key=lambda attempt: attempt[0])
                    if share >= 0.5:
                        found[Skip(obstacle.reason, obstacle.node)] = None
        return tuple(found)

    def _unfit(self, model: ir.Model, opset: int) -> str | None:
        """Why the pass can do nothing in the whole model."""
        if opset < self.min_opset:
            return f"opset below {self.min_opset}"
        return "the model defines standard operators" if any(d == "" for d, _, _ in model.functions) else None

    def _inner(self, found: Match) -> str | None:
        """Why the nodes inside cannot go."""
        if self.keeps_readers:
            return None
        inside = set(found.nodes)
        for node in found.nodes[1:]:
            for value in node.outputs:
                if value.is_graph_output():
                    return GRAPH_OUTPUT
                if any(use.node not in inside for use in value.uses()):
                    return OTHER_READERS
        return None

    def _replace(self, found: Match, build: Builder) -> str | None:
        root = found.root
        build.before(root)
        value = self.rewrite(found, build)
        if value.producer() is not None and value.shape is None:
            value.shape, value.type = root.outputs[0].shape, root.outputs[0].type
        constants = [v for node in found.nodes for v in node.inputs if v is not None and v.is_initializer()]
        if not bypass(root, value):
            build.undo()
            return GRAPH_OUTPUT
        remove_unread(found.nodes[1:])
        build.loose.update(dict.fromkeys(constants))
        return None


def _obstacle(pattern: Op, root: ir.Node) -> tuple[float, Obstacle]:
    """The share of the pattern's nodes that fit at ``root``, and what stood in the way of the others."""
    obstacle = Obstacle()
    match(pattern, root, obstacle)
    return obstacle.matched / pattern.size, obstacle


def remove_unread(nodes: Iterable[ir.Node]) -> None:
    """Remove the nodes that nothing reads, or only others of them."""
    left = list(nodes)
    while left:
        unread = [n for n in left if not any(v.uses() or v.is_graph_output() for v in n.outputs)]
        if not unread:
            return
        for node in unread:
            if node.graph is not None:
                node.graph.remove(node, safe=True)
        left = [node for node in left if node.graph is not None]


class Builder:
    """Puts new nodes and constants into a graph.

    Args:
        names: Free names of the model.
        opset: Of the standard operators.

    Attributes:
        names: Free names of the model.
        loose: Constants that lost a reader, to be dropped in the end if they have none: whether a value is read costs
            time linear in its readers, and one constant may serve thousands of nodes.
    """

    def __init__(self, names: Names, opset: int) -> None:
        self.opset = opset
        self.names = names
        self.loose: dict[ir.Value, None] = {}
        self._anchor: ir.Node | None = None
        self._made: list[ir.Node] = []

    def before(self, node: ir.Node) -> None:
        """What comes now is inserted before ``node`` and named after it."""
        self._anchor, self._made = node, []

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | np.ndarray[Any, Any] | None,
        like: ir.Value | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> ir.Value:
        """A new node.

        Args:
            op_type: Operator.
            inputs: Values, or arrays that become initializers.
            like: The output has the element type and shape of this value; of the root's, if left out and nothing
                else is set afterwards.
            domain: Of the operator.
            attributes: Of the node.

        Returns:
            Its first output.
        """
        anchor = self._anchor
        assert anchor is not None and anchor.graph is not None
        values = [self.constant(i) if isinstance(i, np.ndarray) else i for i in inputs]
        base = anchor.name or anchor.outputs[0].name or op_type
        name = self.names.fresh(f"{base}_{op_type.lower()}")
        node = ir.node(op_type, values, attributes, domain=domain, name=name)
        output = node.outputs[0]
        output.name = self.names.fresh(name)
        if like is not None:
            output.shape, output.type = like.shape, like.type
        anchor.graph.insert_before(anchor, node)
        self._made.append(node)
        return output

    def outputs(self, first: ir.Value, count: int) -> tuple[ir.Value, ...]:
        """The outputs of the new node behind ``first``, which gets ``count`` of them."""
        node = first.producer()
        assert node is not None and node in self._made
        node.resize_outputs(count)
        for value in node.outputs[1:]:
            value.name = self.names.fresh(first.name or node.op_type)
        return tuple(node.outputs)

    def constant(self, array: np.ndarray[Any, Any]) -> ir.Value:
        """A new initializer."""
        anchor = self._anchor
        assert anchor is not None and anchor.graph is not None
        name = self.names.fresh(f"{anchor.name or anchor.op_type}_constant")
        value = constant_value(name, ir.tensor(array, name=name))
        anchor.graph.register_initializer(value)
        return value

    def undo(self) -> None:
        """Take out what was put in since ``before``."""
        for node in reversed(self._made):
            inputs = list(node.inputs)
            assert node.graph is not None
            node.graph.remove(node, safe=True)
            drop_if_unused(inputs)
        self._made = []

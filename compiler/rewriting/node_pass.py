"""Passes that look at one node at a time and at what stands before it: for what a pattern of fixed size cannot say.

Nodes come in their order, so that what stands before a node is simple already when its turn comes.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeVar

import onnx_ir as ir

from tamis.compiler.graph_pass import GraphPass, PassContext, PassOptions, PassResult, Skip
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused
from tamis.compiler.rewriting.rewrite_pass import Builder

OptionsT = TypeVar("OptionsT", bound=PassOptions)


class NodePass(GraphPass[OptionsT]):
    """Base class of passes that simplify one node after the other.

    A subclass sets ``op_types`` and implements ``simplify``.
    """

    op_types: ClassVar[frozenset[str]]
    """Operators to look at."""
    domain: ClassVar[str] = ""
    """Of these operators."""
    min_opset: ClassVar[int] = 7
    """Of the standard operators, that the pass knows; models below are left alone."""

    @abstractmethod
    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        """Simplify what ends at ``node``.

        Args:
            node: An operator, one of ``op_types``.
            build: Makes nodes before ``node``.

        Returns:
            True if the graph was changed, False if there is nothing to simplify, or why a candidate was left alone,
            in a few words without names.
        """

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        if opset < self.min_opset:
            where = model.graph.name or "graph"
            return PassResult(model, modified=False, skips=(Skip(f"opset below {self.min_opset}", where),))
        op_types = self.op_types - {name for domain, name, _ in model.functions if domain == self.domain}
        build: Builder | None = None
        total, progress = 0, True
        while progress:  # what has fewer readers now may be a candidate; nearly always, the second sweep finds nothing
            skips: dict[Skip, None] = {}
            progress = False
            for graph in model.graphs():
                for node in graph:
                    if node.op_type not in op_types or node.domain != self.domain:
                        continue
                    build = build or Builder(Names(model), opset)
                    build.before(node)
                    done = self.simplify(node, build)
                    if isinstance(done, str):
                        skips[Skip(done, node.name or node.outputs[0].name or node.op_type)] = None
                    elif done:
                        total, progress = total + 1, True
        if build is not None:
            drop_if_unused(build.loose)
        return PassResult(model, modified=total > 0, counts={"simplified": total} if total else {}, skips=tuple(skips))


def producer_of(value: ir.Value | None, reader: ir.Node, op_types: frozenset[str]) -> ir.Node | None:
    """The standard operator, one of ``op_types`` and of ``reader``'s graph, whose first output ``value`` is."""
    producer = None if value is None else value.producer()
    if producer is None or producer.domain != "" or producer.op_type not in op_types:
        return None
    return producer if producer.graph is reader.graph and producer.outputs[0] is value else None


def replace(node: ir.Node, value: ir.Value, build: Builder) -> None:
    """Let ``value`` stand for ``node``'s only output; ``node`` goes, and so does what only it has read.

    Where the output is a graph output whose name ``value`` cannot take over, an Identity gives it.
    """
    output, inputs = node.outputs[0], list(node.inputs)
    if value.producer() is not None and value.shape is None:
        value.shape, value.type = output.shape, output.type
    graph = node.graph
    if not bypass(node, value):
        copy = build.op("Identity", value, like=output)
        assert bypass(node, copy)
    assert graph is not None
    remove_unread_above(inputs, graph, build)


def remove_unread_above(values: list[ir.Value | None], graph: ir.Graph | ir.Function, build: Builder) -> None:
    """Remove the nodes of ``graph`` behind ``values`` that nothing reads, and in the end initializers likewise."""
    pending = list(values)
    while pending:
        value = pending.pop()
        producer = None if value is None else value.producer()
        if producer is None:
            if value is not None and value.is_initializer():
                build.loose[value] = None
        elif producer.graph is graph and not any(v.uses() or v.is_graph_output() for v in producer.outputs):
            pending.extend(producer.inputs)
            graph.remove(producer, safe=True)

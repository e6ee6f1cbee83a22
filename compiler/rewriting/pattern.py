"""Patterns of nodes: what a fusion looks for, written as an expression.

::

    Op("Mul", "x", Op("Sigmoid", "x"))              SiLU; Mul is commutative, so both orders match
    Op("Div", Op("Mul", "x", Op("Clip", Op("Add", "x", Const("three")), ...)), Const("six"))

A string binds any value, ``Const`` a constant, ``Op`` the node that computes a value. A name that occurs twice binds
the same value twice. Numbers are not compared here: a rule's check does that, and can say what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor

COMMUTATIVE = frozenset({"Add", "Mul", "Max", "Min", "And", "Or", "Equal"})


@dataclass(frozen=True)
class Const:
    """A constant input.

    Args:
        name: Of the binding.
    """

    name: str


@dataclass(frozen=True)
class Op:
    """The node behind a value, which must be its first output.

    Args:
        op_type: Operator of the standard domain, or several.
        inputs: What the inputs are; trailing ones that the pattern leaves out must be absent, unless ``more``.
        name: Of the binding of the node.
        more: The node may have further inputs.
    """

    op_type: str | tuple[str, ...]
    inputs: tuple[Pattern, ...]
    name: str | None = None
    more: bool = False

    def __init__(
        self, op_type: str | tuple[str, ...], *inputs: Pattern, name: str | None = None, more: bool = False
    ) -> None:
        object.__setattr__(self, "op_type", op_type)
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "more", more)

    @property
    def op_types(self) -> tuple[str, ...]:
        """The operators, as a tuple."""
        return (self.op_type,) if isinstance(self.op_type, str) else self.op_type

    @property
    def size(self) -> int:
        """How many nodes the pattern has."""
        return 1 + sum(pattern.size for pattern in self.inputs if isinstance(pattern, Op))


Pattern = str | Const | Op


@dataclass(frozen=True)
class Match:
    """A place where a pattern fits.

    Args:
        root: The last node.
        nodes: All nodes of the pattern, the root first; a node may stand in the pattern twice, here it does once.
        values: Name -> value, for strings and constants.
        named: Name -> node.
    """

    root: ir.Node
    nodes: tuple[ir.Node, ...]
    values: Mapping[str, ir.Value] = field(default_factory=dict)
    named: Mapping[str, ir.Node] = field(default_factory=dict)

    def __getitem__(self, name: str) -> ir.Value:
        return self.values[name]

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """Elements of a bound constant."""
        array = constant_array(self.values[name])
        assert array is not None
        return array

    def scalar(self, name: str) -> float | None:
        """The number that a bound constant holds everywhere; None if it holds several, or none."""
        array = self.array(name)
        if array.size == 0 or array.dtype.kind not in "fiu" or not (array == array.flat[0]).all():
            return None
        return float(array.flat[0])


@dataclass(frozen=True)
class _Bound:
    nodes: tuple[ir.Node, ...] = ()
    values: Mapping[str, ir.Value] = field(default_factory=dict)
    named: Mapping[str, ir.Node] = field(default_factory=dict)

    def with_value(self, name: str, value: ir.Value) -> _Bound | None:
        known = self.values.get(name)
        if known is not None:
            return self if known is value else None
        return _Bound(self.nodes, {**self.values, name: value}, self.named)

    def with_node(self, name: str | None, node: ir.Node) -> _Bound:
        nodes = self.nodes if node in self.nodes else (*self.nodes, node)
        return _Bound(nodes, self.values, self.named if name is None else {**self.named, name: node})


@dataclass
class Obstacle:
    """Where a match that got furthest ended.

    Args:
        matched: Nodes of the pattern that had been found by then.
        reason: What was expected and what stood there; empty while nothing has been tried.
        node: The node that did not fit, or whose input did not.
    """

    matched: int = 0
    reason: str = ""
    node: str = ""

    def meet(self, matched: int, reason: str, node: ir.Node) -> None:
        """Keep the obstacle that is furthest into the pattern, the first of equals."""
        if not self.reason or matched > self.matched:
            self.matched, self.reason, self.node = matched, reason, node.name or str(node.outputs[0].name)


def match(pattern: Op, root: ir.Node, obstacle: Obstacle | None = None) -> Match | None:
    """The first way in which ``pattern`` fits with ``root`` as its last node; None if there is none.

    All nodes are of one graph: what a subgraph captures from outside is a value like any other.

    Args:
        pattern: What to look for.
        root: The last node.
        obstacle: Told where it ended if nothing fits.
    """
    for bound in _node(pattern, root, _Bound(), obstacle):
        return Match(root, bound.nodes, bound.values, bound.named)
    return None


def _node(pattern: Op, node: ir.Node, bound: _Bound, obstacle: Obstacle | None) -> Iterator[_Bound]:
    if node.op_type not in pattern.op_types or node.domain != "":
        if obstacle is not None:
            obstacle.meet(len(bound.nodes), f"expected {' or '.join(pattern.op_types)}, found {node.op_type}", node)
        return
    given = list(node.inputs)
    while given and given[-1] is None:
        given.pop()
    if len(given) < len(pattern.inputs) or (len(given) > len(pattern.inputs) and not pattern.more):
        if obstacle is not None:
            expected = f"{'at least ' if pattern.more else ''}{len(pattern.inputs)}"
            obstacle.meet(len(bound.nodes), f"expected {expected} inputs, found {len(given)}", node)
        return
    bound = bound.with_node(pattern.name, node)
    swap = len(given) == 2 and node.op_type in COMMUTATIVE
    for order in permutations(pattern.inputs) if swap else (pattern.inputs,):
        yield from _inputs(order, given, node, bound, obstacle)


def _inputs(
    patterns: tuple[Pattern, ...],
    given: list[ir.Value | None],
    node: ir.Node,
    bound: _Bound,
    obstacle: Obstacle | None,
) -> Iterator[_Bound]:
    if not patterns:
        yield bound
        return
    value = given[0]
    if value is not None:
        for found in _value(patterns[0], value, node, bound, obstacle):
            yield from _inputs(patterns[1:], given[1:], node, found, obstacle)


def _value(
    pattern: Pattern, value: ir.Value, reader: ir.Node, bound: _Bound, obstacle: Obstacle | None
) -> Iterator[_Bound]:
    if isinstance(pattern, Op):
        producer = value.producer()
        if producer is not None and producer.graph is reader.graph and value is producer.outputs[0]:
            yield from _node(pattern, producer, bound, obstacle)
        elif obstacle is not None:
            expected = " or ".join(pattern.op_types)
            obstacle.meet(len(bound.nodes), f"expected {expected} before it, found an input or constant", reader)
        return
    if isinstance(pattern, Const):
        if constant_tensor(value) is None:
            if obstacle is not None:
                obstacle.meet(len(bound.nodes), f"the {pattern.name} is not constant", reader)
            return
        pattern = pattern.name
    found = bound.with_value(pattern, value)
    if found is not None:
        yield found
    elif obstacle is not None:
        obstacle.meet(len(bound.nodes), f"it does not read the same {pattern} twice", reader)

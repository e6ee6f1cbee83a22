"""Arithmetic read back as a polynomial, so that one test finds every order in which an exporter wrote a formula."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor

ARITHMETIC = frozenset({"Add", "Div", "Mul", "Neg", "Pow", "Sub"})
MAX_DEGREE = 3
MAX_NODES = 12
"""Of one formula; this bounds the cost of reading."""

Terms = Mapping[tuple[int, ...], float]
"""Powers of the variables -> coefficient."""


@dataclass
class Expansion:
    """A value as a polynomial.

    Args:
        terms: Its terms, none with the coefficient 0.
        nodes: What computes it from the variables, each node before what it reads.
    """

    terms: Terms
    nodes: list[ir.Node]


@dataclass
class _Reader:
    rank: int
    known: dict[ir.Value, Terms]
    nodes: list[ir.Node] = field(default_factory=list)


def expand(value: ir.Value, variables: Sequence[ir.Value]) -> Expansion | None:
    """``value`` as a polynomial of ``variables``.

    Args:
        value: What Add, Sub, Mul, Div, Neg and Pow make of the variables and of constants of one element, which must
            not raise the rank.
        variables: All of the same shape.

    Returns:
        None if anything else is in it, or if it exceeds ``MAX_DEGREE`` or ``MAX_NODES``.
    """
    shape = variables[0].shape
    units = {v: {tuple(int(i == k) for i in range(len(variables))): 1.0} for k, v in enumerate(variables)}
    reader = _Reader(0 if shape is None else len(shape), dict(units))
    terms = _read(value, reader)
    return None if terms is None else Expansion(terms, reader.nodes[::-1])


def operands(value: ir.Value) -> Iterator[ir.Value]:
    """What ``value`` may be a polynomial of: the values behind it, nearest first, as far as arithmetic goes."""
    seen: dict[ir.Value, None] = {value: None}
    queue, visited = [value], 0
    while queue and visited < MAX_NODES:
        producer = queue.pop(0).producer()
        if producer is None or producer.domain != "" or producer.op_type not in ARITHMETIC:
            continue
        visited += 1
        found = [v for v in producer.inputs if v is not None and v not in seen and constant_tensor(v) is None]
        yield from found
        queue.extend(found)
        seen.update(dict.fromkeys(found))


def single(value: ir.Value | None, rank: int) -> float | None:
    """The finite number in a constant of one element that has at most ``rank`` dimensions; None otherwise."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.size != 1 or len(tensor.shape) > rank:
        return None
    array = tensor.numpy()
    number = float(array.item()) if array.dtype.kind in "fiu" else math.nan
    return number if math.isfinite(number) else None


def _read(value: ir.Value | None, reader: _Reader) -> Terms | None:
    if value is None:
        return None
    if value in reader.known:
        return reader.known[value]
    number = single(value, reader.rank)
    if number is not None:
        variables = len(next(iter(next(iter(reader.known.values())))))
        return {(0,) * variables: number} if number else {}
    node = value.producer()
    if node is None or node.domain != "" or node.op_type not in ARITHMETIC or len(reader.nodes) >= MAX_NODES:
        return None
    terms = _operate(node, reader)
    if terms is None or any(sum(powers) > MAX_DEGREE for powers in terms):
        return None
    reader.known[value] = terms
    reader.nodes.append(node)
    return terms


def _operate(node: ir.Node, reader: _Reader) -> Terms | None:
    a = _read(node.inputs[0], reader)
    if a is None:
        return None
    if node.op_type == "Neg":
        return _product(a, -1.0)
    if node.op_type in ("Div", "Pow"):
        number = single(node.inputs[1], reader.rank)
        if number is None:
            return None
        return _power(a, number) if node.op_type == "Pow" else _product(a, 1 / number) if number else None
    b = _read(node.inputs[1], reader)
    if b is None:
        return None
    if node.op_type == "Mul":
        return _product(a, b)
    return _sum(a, b if node.op_type == "Add" else _product(b, -1.0))


def _sum(a: Terms, b: Terms) -> Terms:
    found = {powers: a.get(powers, 0.0) + b.get(powers, 0.0) for powers in {**a, **b}}
    return {powers: c for powers, c in found.items() if c}


def _product(a: Terms, b: Terms | float) -> Terms:
    if isinstance(b, float):
        return {powers: c * b for powers, c in a.items()}
    found: Terms = {}
    for p, c in a.items():
        found = _sum(found, {tuple(i + k for i, k in zip(p, q, strict=True)): c * d for q, d in b.items()})
    return found


def _power(a: Terms, exponent: float) -> Terms | None:
    if exponent not in range(1, MAX_DEGREE + 1):
        return None
    found = a
    for _ in range(int(exponent) - 1):
        found = _product(found, a)
    return found

"""Matrix products: MatMul, Gemm, Einsum.

::

    MatMul   x: (..., M, K)   W: (K, N)        W[0] ~ x.K   W[1] ~ y.N
    Gemm     the same, of transposed operands; C: (N), (M, N), ... is added
    MatMul   q: (B, H, T, D)   k: (B, H, D, S)   D is contracted, H goes along
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis, Role, Slot, Tensor, operand
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.labelled_product import Labelled, couple_product
from tamis.passes.pruning.coupling.rules import Rule

RANKS = "a product of tensors of unknown rank"

Labels = tuple[Hashable, ...]


def _operands(node: ir.Node, ties: Ties, count: int) -> list[tuple[Tensor, int]] | None:
    """The first ``count`` operands with their ranks; None, and the node is frozen, if one is not known."""
    tensors = [operand(node, i) for i in range(count)]
    found = [(t, rank) for t in tensors if t is not None and (rank := ties.rank(t)) is not None]
    if len(found) == count and ties.rank(node.outputs[0]) is not None:
        return found
    ties.freeze_node(node, RANKS)
    return None


def _couple(node: ir.Node, ties: Ties, labels: Sequence[Labels], result: Labels) -> None:
    y = node.outputs[0]
    tensors = [operand(node, i) for i in range(len(labels))]
    labelled = [Labelled(t, names) for t, names in zip(tensors, labels, strict=True) if t is not None]
    if any(ties.rank(tensor) != len(names) for tensor, names in (*labelled, Labelled(y, result))):
        ties.freeze_node(node, "shapes that do not fit")
        return
    couple_product(labelled, Labelled(y, result), ties)


def _matmul(node: ir.Node, ties: Ties) -> None:
    """A vector on the left is a row, one on the right a column, and the result lacks its axis of 1."""
    found = _operands(node, ties, 2)
    if found is None:
        return
    (_, left), (_, right) = found
    a = (*_batch(left - 2), *("m",) * (left > 1), "k")
    b = (*_batch(right - 2), "k", *("n",) * (right > 1))
    _couple(node, ties, (a, b), (*_batch(max(left, right) - 2), *("m",) * (left > 1), *("n",) * (right > 1)))


def _batch(count: int) -> Labels:
    """Axes in front, numbered from the back, where broadcasting aligns them."""
    return tuple(reversed(range(count)))


def _gemm(node: ir.Node, ties: Ties) -> None:
    if _operands(node, ties, 2) is None:
        return
    a = ("k", "m") if node.attributes.get_int("transA", 0) else ("m", "k")
    b = ("n", "k") if node.attributes.get_int("transB", 0) else ("k", "n")
    _couple(node, ties, (a, b), ("m", "n"))
    addend = operand(node, 2)
    if addend is not None:
        _couple_addend(node, addend, ties)


def _couple_addend(node: ir.Node, addend: Tensor, ties: Ties) -> None:
    """What is added, and repeated along the axes that it lacks: there the result is not zero where the product is."""
    y, sizes = node.outputs[0], ties.shape(addend)
    if sizes is None or len(sizes) > 2:
        ties.freeze_node(node, RANKS)
        return
    first = 2 - len(sizes)
    ties.shifted.update(Axis(y, i) for i in range(first))
    for i, size in enumerate(sizes):
        axis, result = Axis(addend, i), Axis(y, first + i)
        if size == 1 and ties.size(result) != 1:
            ties.shifted.add(result)
            ties.freeze(axis, "is repeated along an axis of a sum")
            continue
        ties.tie(axis, result)
        if isinstance(addend, Slot):
            ties.role(axis, Role.OFFSET)


def _einsum(node: ir.Node, ties: Ties) -> None:
    found = _operands(node, ties, len(node.inputs))
    if found is None:
        return
    labels = read_equation(node.attributes.get_string("equation", ""), [rank for _, rank in found])
    if labels is None:
        ties.freeze_node(node, "an equation that cannot be read")
    else:
        _couple(node, ties, labels[:-1], labels[-1])


def read_equation(equation: str, ranks: Sequence[int]) -> list[Labels] | None:
    """Labels of the operands and, last, of the result; None if the equation does not fit.

    Args:
        equation: Of Einsum, with or without ``->``; the axes of an ellipsis are numbered from the back.
        ranks: Of the operands.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        return None
    counts = [
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)
    ]
    if min(counts) < 0:
        return None
    if not arrow:
        letters = Counter(left.replace("...", "").replace(",", ""))
        right = "..." * ("..." in left) + "".join(sorted(c for c, times in letters.items() if times == 1))
    return [_labels(term, count) for term, count in zip((*terms, right), (*counts, max(counts)), strict=True)]


def _labels(term: str, count: int) -> Labels:
    before, dots, after = term.partition("...")
    return (*before, *(_batch(count) if dots else ()), *after)


RULES = {"MatMul": Rule(_matmul), "Gemm": Rule(_gemm), "Einsum": Rule(_einsum)}

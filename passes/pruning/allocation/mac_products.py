"""Multiply-accumulate operations of each operator as products of axes: the formulas of ``compiler/analysis/macs.py``.

::

    Conv            all of Y, W[1:]              Gemm     all of Y, the axis of A that is summed over
    ConvTranspose   all of X, W[1:]              MatMul   all of Y, the axis of A or B that is summed over
    LSTM, GRU, RNN  X[0], X[1], all of W; and X[0], X[1], all of R
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis, Tensor, operand, shape_of

Products = Sequence[Sequence[Axis]]


def products_of(node: ir.Node) -> Products:
    """The products whose sum a node's operations are, each the axes to multiply; empty if there is no formula."""
    formula = FORMULAS.get((node.domain, node.op_type))
    return () if formula is None else formula(node)


def _axes(tensor: Tensor | None, start: int = 0) -> list[Axis]:
    shape = None if tensor is None else shape_of(tensor)
    return [] if tensor is None or shape is None else [Axis(tensor, i) for i in range(start, len(shape))]


def _conv(node: ir.Node) -> Products:
    return ([*_axes(node.outputs[0]), *_axes(operand(node, 1), 1)],)


def _conv_transpose(node: ir.Node) -> Products:
    return ([*_axes(operand(node, 0)), *_axes(operand(node, 1), 1)],)


def _gemm(node: ir.Node) -> Products:
    a = _axes(operand(node, 0))
    if not a:
        return ()
    return ([*_axes(node.outputs[0]), a[1 - node.attributes.get_int("transA", 0)]],)


def _matmul(node: ir.Node) -> Products:
    depth = _depth(node)
    return () if depth is None else ([*_axes(node.outputs[0]), depth],)


def _depth(node: ir.Node) -> Axis | None:
    """The axis that is summed over."""
    a, b = _axes(operand(node, 0)), _axes(operand(node, 1))
    if a:
        if not node.attributes.get_int("transA", 0):
            return a[-1]
        return a[0 if node.attributes.get_int("transBatchA", 0) else -2]
    if b and not node.attributes.get_int("transB", 0):
        return b[-2] if len(b) > 1 else b[0]
    return None


def _recurrent(node: ir.Node) -> Products:
    x = _axes(operand(node, 0))[:2]
    return [[*x, *_axes(operand(node, index))] for index in (1, 2)]


def _einsum(node: ir.Node) -> Products:
    """Two operands: one axis for each label, the longest that bears it."""
    terms = node.attributes.get_string("equation", "").replace(" ", "").partition("->")[0].split(",")
    if len(terms) != 2 or any("." in term for term in terms):
        return ()
    longest: dict[str, tuple[int, Axis]] = {}
    for index, term in enumerate(terms):
        tensor = operand(node, index)
        shape = None if tensor is None else shape_of(tensor)
        if tensor is None or shape is None or len(shape) != len(term):
            return ()
        for i, (label, size) in enumerate(zip(term, shape, strict=True)):
            if label not in longest or longest[label][0] < (size or 0):
                longest[label] = (size or 0, Axis(tensor, i))
    return ([axis for _, axis in longest.values()],)


FORMULAS: dict[tuple[str, str], Callable[[ir.Node], Products]] = {
    ("", "Conv"): _conv,
    ("com.microsoft", "FusedConv"): _conv,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "Gemm"): _gemm,
    ("com.microsoft", "FusedGemm"): _gemm,
    ("", "MatMul"): _matmul,
    ("com.microsoft", "FusedMatMul"): _matmul,
    ("", "Einsum"): _einsum,
    **{("", op): _recurrent for op in ("LSTM", "GRU", "RNN")},
}
"""(Domain, operator) -> formula."""

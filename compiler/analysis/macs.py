"""Multiply-accumulate operations (MACs) of each operator that multiplies matrices, by formula.

One MAC is one product that is added to a sum. Biases, activations, scales and zero points do not count, nor does the
padding get special treatment: a product with a padded zero counts, as it does in the literature. A formula gives None
where a size that it needs is not known.

*References.* Howard et al., MobileNets, 2017 (1704.04861), section 3.1: the formulas of dense, depthwise and pointwise
convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import onnx_ir as ir

from tamis.compiler.analysis.tensor_size import elements, static_shape

Formula = Callable[[ir.Node], int | None]


def macs_of(node: ir.Node) -> int | None:
    """MACs of one run of ``node``, without those of graphs inside it; None if they are not known.

    Standard operators without a formula have no MACs; operators of other domains without one are not known.
    """
    formula = MACS.get((node.domain, node.op_type))
    if formula is not None:
        return formula(node)
    return 0 if node.domain == "" or (node.domain, node.op_type) in WITHOUT_MACS else None


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _times(*factors: int | None) -> int | None:
    """The product; None if a factor is not known."""
    return None if None in factors else math.prod(f for f in factors if f is not None)


def _conv(node: ir.Node, weight: int = 1) -> int | None:
    """Weights (M, C / groups, *kernel): each element of the output is a sum over channels of a group and kernel."""
    shape = static_shape(_input(node, weight))
    return None if shape is None else _times(elements(node.outputs[0]), *shape[1:])


def _conv_transpose(node: ir.Node) -> int | None:
    """Weights (C, M / groups, *kernel): each element of the input is spread over channels of a group and kernel."""
    shape = static_shape(_input(node, 1))
    return None if shape is None else _times(elements(_input(node, 0)), *shape[1:])


def _gemm(node: ir.Node) -> int | None:
    """(M, K) times (K, N)."""
    shape = static_shape(_input(node, 0))
    return None if shape is None else _times(elements(node.outputs[0]), shape[1 - node.attributes.get_int("transA", 0)])


def _matmul(node: ir.Node, second: int = 1) -> int | None:
    """(..., M, K) times (..., K, N), batches broadcast: each element of the output is a sum over K.

    Args:
        node: The product.
        second: Which input is the right-hand matrix.
    """
    a, b = static_shape(_input(node, 0)), static_shape(_input(node, second))
    if a:
        depth = a[_inner_axis(node)]
    elif b and not node.attributes.get_int("transB", 0):
        depth = b[-2] if len(b) > 1 else b[0]
    else:
        return None
    return _times(elements(node.outputs[0]), depth)


def _inner_axis(node: ir.Node) -> int:
    """The axis of the left-hand matrix that is summed over; ``transA`` and ``transBatchA`` are FusedMatMul's."""
    if not node.attributes.get_int("transA", 0):
        return -1
    return 0 if node.attributes.get_int("transBatchA", 0) else -2


def _packed_matmul(node: ir.Node) -> int | None:
    """Weights packed in blocks; their depth is the attribute ``K``."""
    return _times(elements(node.outputs[0]), node.attributes.get_int("K", 0))


def _einsum(node: ir.Node) -> int | None:
    """Two operands: one product for each combination of indices. None for more, and for an ellipsis."""
    terms = node.attributes.get_string("equation", "").replace(" ", "").partition("->")[0].split(",")
    if len(terms) == 1:
        return 0
    if len(terms) > 2 or any("." in term for term in terms):
        return None
    sizes: dict[str, int] = {}
    for term, value in zip(terms, node.inputs, strict=True):
        shape = static_shape(value)
        if shape is None or len(shape) != len(term):
            return None
        for label, size in zip(term, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, size))
    return math.prod(sizes.values())


def _recurrent(node: ir.Node) -> int | None:
    """Input (steps, batch, ...) and weights W and R: each step multiplies both by vectors. All steps count."""
    shape = static_shape(_input(node, 0))
    weights = elements(_input(node, 1)), elements(_input(node, 2))
    if shape is None or weights[0] is None or weights[1] is None:
        return None
    return shape[0] * shape[1] * (weights[0] + weights[1])


def _scores_and_mix(queries: int | None, keys: int | None, output: int | None) -> int | None:
    """Queries times keys, then the result times values: elements of queries and output, each over all keys."""
    return None if queries is None or keys is None or output is None else keys * (queries + output)


def _length(value: ir.Value | None) -> int | None:
    """Sequence length of (batch, length, hidden) or (batch, heads, length, hidden); 0 without a value."""
    if value is None:
        return 0
    shape = static_shape(value)
    return None if shape is None else shape[-2]


def _keys(node: ir.Node, key: int, past: int) -> int | None:
    now, before = _length(_input(node, key)), _length(_input(node, past))
    return None if now is None or before is None else now + before


def _attention(node: ir.Node, past: int = 4) -> int | None:
    """Queries, keys and values as inputs 0 to 2, with three or four dimensions; earlier keys at ``past``."""
    if _input(node, 1) is None:
        return None
    return _scores_and_mix(elements(_input(node, 0)), _keys(node, 1, past), elements(node.outputs[0]))


def _attention_with_projection(node: ir.Node) -> int | None:
    """Input (batch, length, depth) times weights (depth, queries and keys and values), then attention."""
    shape, weights = static_shape(_input(node, 0)), static_shape(_input(node, 1))
    output, keys = elements(node.outputs[0]), _keys(node, 0, 4)
    if shape is None or weights is None or output is None or keys is None:
        return None
    tokens = shape[0] * shape[1]
    hidden = node.attributes.get_ints("qkv_hidden_sizes", (output // max(tokens, 1),))[0]
    return tokens * math.prod(weights) + keys * (tokens * hidden + output)


MACS: dict[tuple[str, str], Formula] = {
    **{("", op): _conv for op in ("Conv", "ConvInteger", "DeformConv")},
    ("", "QLinearConv"): partial(_conv, weight=3),
    ("", "ConvTranspose"): _conv_transpose,
    ("", "Gemm"): _gemm,
    **{("", op): _matmul for op in ("MatMul", "MatMulInteger")},
    ("", "QLinearMatMul"): partial(_matmul, second=3),
    ("", "Einsum"): _einsum,
    **{("", op): _recurrent for op in ("LSTM", "GRU", "RNN")},
    ("", "Attention"): partial(_attention, past=4),
    **{("com.microsoft", op): _conv for op in ("FusedConv", "NhwcFusedConv")},
    ("com.microsoft", "QLinearConv"): partial(_conv, weight=3),
    **{("com.microsoft", op): _gemm for op in ("FusedGemm", "QGemm")},
    **{("com.microsoft", op): _matmul for op in ("FusedMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")},
    **{("com.microsoft", op): _packed_matmul for op in ("MatMulNBits", "MatMulBnb4")},
    ("com.microsoft", "DynamicQuantizeLSTM"): _recurrent,
    ("com.microsoft", "MultiHeadAttention"): partial(_attention, past=6),
    ("com.microsoft", "Attention"): _attention_with_projection,
}
"""(Domain, operator) -> formula."""

WITHOUT_MACS = frozenset(
    ("com.microsoft", op)
    for op in (
        "BiasAdd", "BiasGelu", "BiasSoftmax", "BiasSplitGelu", "EmbedLayerNormalization", "FastGelu", "Gelu", "QLinearAdd",
        "QLinearAveragePool", "QLinearConcat", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul",
        "QLinearReduceMean", "QLinearSigmoid", "QLinearSoftmax", "QuickGelu", "RotaryEmbedding", "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization", "DequantizeLinear", "QuantizeLinear",
    )
)  # fmt: skip
"""Operators outside the standard that are known to multiply no matrices."""

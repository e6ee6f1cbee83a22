"""Fold per-channel scales and shifts into the weights of neighbouring linear operators.

::

    BN(Conv(x, W, b))          ->  Conv(x, s W, s b + t)       BatchNormalization, Mul, Add, Sub, Div,
    (W x + b) * c - d          ->  (c W) x + (c b - d)         alone or in chains, scalar or per channel
    Conv(s x + t, W, b)        ->  Conv(x, W s, b + W t)       t = 0 or no padding
    (x / c) @ W + b            ->  x @ (W / c) + b

for Conv, ConvTranspose (with groups), Gemm and MatMul.

*Refuses*: a value between the two that something else reads or that is a graph output; operands that are
not constant, not scalar or per channel, or enlarge the shape; ``c / x``; BatchNormalization in training
mode or over another axis; a shift before padding; the factor 1/2 of a GELU that is spelled out, since without
it runtimes do not know it for one; element types other than float16, float32, float64;
results that are not finite; models below opset 9.
"""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.fusion.linear_chain import find_chain
from tamis.passes.fusion.linear_nodes import OPERATORS
from tamis.passes.fusion.linear_rewrite import rewrite

MIN_OPSET = 9
"""Below this, broadcasting and BatchNormalization are governed by attributes."""


class Options(PassOptions):
    """Options of ``fold-conv-affine``."""


class FoldConvAffine(GraphPass[Options]):
    """Fold BatchNormalization, Mul, Add, Sub and Div into Conv, ConvTranspose, Gemm and MatMul.

    *Match*: a linear operator with constant weight and bias, and next to it, before or after, a chain of
    affine operators with constant scalar or per-channel operands; only the chain reads the values in
    between. What follows an operator is folded into it before what precedes the next one.

    *Rewrite*: ``W' = s W``, ``b' = s b + t`` after; ``W' = W s``, ``b' = b + W t`` before. A MatMul has no
    bias: a shift after it stays as one Add.

    *Shapes*: ``W: (C_out, C_in / groups, *k)`` for Conv, ``(C_in, C_out / groups, *k)`` for
    ConvTranspose, ``(K, N)`` for Gemm (after ``transB``) and MatMul; ``s, t: ()`` or ``(C,)``. Output
    shapes do not change.

    *Preserves*: the function up to floating-point rounding. New weights are computed in float64 over the
    whole chain and rounded once. Weights that other nodes share are copied.

    *References*: Jacob et al., "Quantization and training of neural networks for efficient
    integer-arithmetic-only inference", 2018 (1712.05877), section 3.2, equation 14, for BatchNormalization.
    """

    name = "fold-conv-affine"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        if opset < MIN_OPSET:
            return PassResult(
                model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", model.graph.name or "graph"),)
            )
        counts: Counter[str] = Counter()
        skips: dict[Skip, None] = {}
        names = Names(model)
        for graph in model.graphs():
            for node in graph:
                if node.domain != "" or node.op_type not in OPERATORS or node.op_identifier() in model.functions:
                    continue
                chain = find_chain(node)
                skips.update(dict.fromkeys(chain.skips))
                if chain.pays:
                    counts.update(f"{n.op_type} folded" for n in (*chain.after, *chain.before))
                    rewrite(chain, names)
        return PassResult(model, modified=bool(counts), counts=dict(counts), skips=tuple(skips))

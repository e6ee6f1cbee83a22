"""Give the bias of a projection as many dimensions as its product, so that ONNX Runtime leaves both as they are.

::

    x W + b, b: (N,)  ->  x W + b, b: (1, 1, N)            x: (B, S, D)

With known shapes, ONNX Runtime makes Gemm between two Reshapes of a product and a bias of one dimension, which is slower
than both, and hides the sum from its other fusions.

*Refuses*: products of two dimensions, for which Gemm is the better form; biases that are not constant, or have more than
one dimension.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.pattern import Const, Match, Op
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass


class Options(PassOptions):
    """Options of ``raise-bias-rank``."""


class RaiseBiasRank(RewritePass[Options]):
    """Give the bias of a projection as many dimensions as its product.

    *Match*: ``x W + b`` with x of three dimensions or more, of known shape, W of two, and constant b of one.

    *Rewrite*: the same sum with b of shape ``(1, .., 1, N)``.

    *Preserves*: bits.

    *References*: onnxruntime/core/optimizer/matmul_add_fusion.cc, for what it looks for.
    """

    name = "raise-bias-rank"
    stage = Stage.LAYOUT
    contract = Contract.EXACT
    speed_motivated = True
    options_type = Options
    keeps_readers = True
    patterns = (Op("Add", Op("MatMul", "x", "weight", name="product"), Const("bias")),)

    def check(self, found: Match, model: ir.Model) -> str | None:
        product, weight = found.named["product"].outputs[0], found["weight"]
        if product.shape is None or not product.shape.is_static() or weight.shape is None or len(weight.shape) != 2:
            return "the shapes are not known, or the second factor is no matrix"
        if len(product.shape) < 3:
            return "the product has two dimensions"
        if found.array("bias").ndim != 1:
            return "the bias has more than one dimension already, or none"
        if found.array("bias").shape != (product.shape[-1],):
            return "the bias is not one number a column"
        return None

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        product, bias = found.named["product"].outputs[0], found.array("bias")
        assert product.shape is not None
        raised = bias.reshape(*([1] * (len(product.shape) - 1)), -1)
        return build.op("Add", product, np.ascontiguousarray(raised))

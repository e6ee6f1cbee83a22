"""Add a bias behind the residual, so that ONNX Runtime does not fuse a normalization into a slower one.

::

    LayerNormalization((x W + b) + r)  ->  LayerNormalization((x W + r) + b)

With known shapes, ONNX Runtime makes SkipLayerNormalization of a sum and a LayerNormalization, which takes several times
as long as both on a CPU, and Gemm between two Reshapes of the product and its bias. It looks for a sum of two tensors of
equal shapes and for a bias next to the product, and finds neither here.

*Refuses*: residuals of another shape than the product, biases that are not constant and of one dimension, or huge;
sums that something else reads; element types other than float32.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.compiler.rewriting.pattern import Const, Match, Op
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass

LARGEST = 2.0**103
"""A smaller bias does not decide whether a sum of float32 overflows: half a unit in the last place of the largest one."""


class Options(PassOptions):
    """Options of ``add-bias-last``."""


class AddBiasLast(RewritePass[Options]):
    """Add the bias of a projection behind the residual where a LayerNormalization follows.

    *Match*: ``(x W + b) + r``, three-dimensional, whose only reader is a LayerNormalization.

    *Rewrite*: ``(x W + r) + b``.

    *Preserves*: the function up to rounding; a bias that could decide whether a sum overflows is refused.

    *References*: onnxruntime/core/optimizer/skip_layer_norm_fusion.cc and matmul_add_fusion.cc, for what they look for.
    """

    name = "add-bias-last"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options
    patterns = (Op("Add", Op("Add", Op("MatMul", "x", "weight", name="product"), Const("bias")), "residual"),)

    def check(self, found: Match, model: ir.Model) -> str | None:
        product, residual = found.named["product"].outputs[0], found["residual"]
        reader = sole_user(found.root.outputs[0])
        if reader is None or reader.op_type != "LayerNormalization" or reader.domain != "":
            return "no LayerNormalization follows"
        if reader.inputs[0] is not found.root.outputs[0]:
            return "no LayerNormalization follows"
        if product.dtype != ir.DataType.FLOAT:
            return "not float32"
        shapes = (product.shape, residual.shape)
        if any(s is None or len(s) != 3 or not s.is_static() for s in shapes) or shapes[0] != shapes[1]:
            return "not two tensors of one known shape with three dimensions"
        bias = found.array("bias")
        if bias.shape != (product.shape[2],):  # type: ignore[index]
            return "the bias is not one number a column"
        return None if (np.abs(bias) < LARGEST).all() else "the bias is too large, or not a number"

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        product = found.named["product"].outputs[0]
        return build.op("Add", build.op("Add", product, found["residual"], like=product), found["bias"])

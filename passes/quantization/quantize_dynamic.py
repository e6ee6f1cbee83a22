"""Compute matrix products with constant weights in 8-bit integers, with activation scales found at run time.

::

    MatMul(x, W) + b   ->   xq, sx, zx = DynamicQuantizeLinear(x)
                            Cast(MatMulInteger(xq, Wq, zx)) * (sx * sW) + b
    Gather(table, i)   ->   Cast(Gather(table8, i)) * Gather(scales, i)      embeddings, for their size

Products of the same x share its DynamicQuantizeLinear. ONNX Runtime fuses the form into
DynamicQuantizeMatMul or MatMulIntegerToFloat.

*Refuses*: weights that are not constant, not a matrix, not float32, smaller than ``min_elements``, not
finite, or so long that 32-bit sums could overflow; a transposed first input or a scaled dynamic bias
of Gemm; tables that something else reads, or that are looked up along another axis than 0; nodes that ``include`` and ``exclude`` leave out.
"""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import Literal

import onnx_ir as ir
from pydantic import Field

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.graph_edit import Names, drop_if_unused
from tamis.passes.quantization.products.dynamic_matmul import DynamicMatMul
from tamis.passes.quantization.products.matrix_products import MatrixProduct, read_product
from tamis.passes.quantization.rounding.int8_tables import is_lookup, store_int8

MIN_OPSET = 11


class Options(PassOptions):
    """Options of ``quantize-dynamic``."""

    weights: Literal["int8", "uint8"] = Field(
        "int8",
        description="int8: symmetric; fastest, and kept pair-safe where the machine's products saturate. "
        "uint8: asymmetric; never saturates.",
    )
    per_channel: bool = Field(True, description="One scale an output channel instead of one a weight.")
    min_elements: int = Field(
        16384,
        ge=0,
        le=2**31,
        description="Leave weights with fewer elements: quantizing the activation costs more than it saves.",
    )
    embeddings: bool = Field(True, description="Store the tables of look-ups in int8 as well, with a scale a row.")
    include: tuple[str, ...] = Field(("*",), description="Quantize only nodes whose name matches one of these globs.")
    exclude: tuple[str, ...] = Field((), description="Leave nodes whose name matches one of these globs.")


class QuantizeDynamic(GraphPass[Options]):
    """Quantize the weights of MatMul and Gemm to 8 bits, and activations to 8 bits at run time.

    *Match*: ``MatMul(x, W)``, ``Gemm(x, W, b)`` and ``Gather(W, i)`` with constant float32 ``W``.

    *Rewrite*: ``y = sx sW (xq - zx)(Wq - zW) + b``, with ``xq, sx, zx = DynamicQuantizeLinear(x)``
    over the whole tensor and ``sW, zW`` per output channel. ``alpha`` and ``transB`` of Gemm go into
    ``W``, ``beta`` into ``b``.

    *Shapes*: ``x: (..., K)`` float32, ``W: (K, N)``, ``Wq: (K, N)`` int8 or uint8, ``sW: (N,)`` float32.

    *Preserves*: shapes and types; values up to 8-bit rounding of weights and activations. Where pairs of
    products saturate (``target.machine.int8``; assumed when there is no target), int8 weights are scaled
    so that no pair can.

    *References*: ONNX operators DynamicQuantizeLinear and MatMulInteger; Jacob et al., 2018
    (1712.05877), section 2.1, for the scheme.
    """

    name = "quantize-dynamic"
    stage = Stage.QUANTIZE
    contract = Contract.LOSSY
    speed_motivated = True
    options_type = Options

    def requires(self, model: ir.Model, context: PassContext) -> None:
        opset = model.graph.opset_imports.get("", 0)
        if opset < MIN_OPSET:
            raise self.refuse(
                "DynamicQuantizeLinear is not in the model's opset",
                expected=f"ONNX opset {MIN_OPSET} or later",
                found=str(opset),
                fix="export the model again with a later opset",
            )

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        saturates = context.target is None or context.target.machine.int8.saturates
        names = Names(model)
        rewriter = DynamicMatMul(names, self.options.weights, per_channel=self.options.per_channel, pair_safe=saturates)
        counts: Counter[str] = Counter()
        skips: list[Skip] = []
        lookups: list[ir.Node] = []
        for graph in model.graphs():
            for node in graph:
                if node.domain != "" or node.op_identifier() in model.functions:
                    continue
                decided = self._decide(node)
                if isinstance(decided, str):
                    skips.append(Skip(decided, node.name or node.op_type))
                elif isinstance(decided, ir.Node):
                    lookups.append(node)
                elif decided is not None:
                    counts[f"{node.op_type} quantized"] += 1
                    rewriter.rewrite(decided)
        drop_if_unused(rewriter.replaced)
        stored, left = store_int8(lookups, names)
        counts += Counter({"look-ups in int8": stored})
        skips += left
        return PassResult(model, modified=bool(counts), counts=dict(counts), skips=tuple(skips))

    def _decide(self, node: ir.Node) -> MatrixProduct | ir.Node | str | None:
        """The product or the look-up to quantize, why ``node`` is left alone, or None if it is no candidate."""
        lookup = self.options.embeddings and is_lookup(node, self.options.min_elements)
        if node.op_type not in ("MatMul", "Gemm") and not lookup:
            return None
        name = node.name or ""
        if not any(fnmatchcase(name, glob) for glob in self.options.include):
            return "not matched by include"
        if any(fnmatchcase(name, glob) for glob in self.options.exclude):
            return "matched by exclude"
        return node if lookup else read_product(node, self.options.min_elements)

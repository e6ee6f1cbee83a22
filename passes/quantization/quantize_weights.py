"""Store the weights of products and look-ups in 4 or 8 bits, with a scale for each block of consecutive elements.

::

    MatMul(x, W) + b     ->   MatMulNBits(x, W4, scales) + b        where the runtime has the kernel
    MatMul(x, W)         ->   MatMul(x, DequantizeLinear(W4))       elsewhere
    Gather(table, i)     ->   GatherBlockQuantized(table4, i)       where the runtime has the kernel

For size, and for speed where few rows are multiplied at a time (text generation). Encoders, which multiply many, are
faster with ``quantize-dynamic``. With calibration data the products, not the weights, are kept near.

*Refuses*: weights that are not constant, not a matrix, not float32, smaller than ``min_elements`` or not finite; a
transposed first input of Gemm, or a vector as that of MatMul; look-ups along another axis than 0, or in rows that blocks do
not divide; a runtime without these kernels if the model's opset is below 21.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from pydantic import Field

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.compiler.rewriting.graph_edit import drop_if_unused
from tamis.compiler.weight_kernels import BlockKernel, WeightKernels
from tamis.passes.layer_inputs.gram import Layer, collect_grams
from tamis.passes.quantization.products.block_nodes import BlockNodes
from tamis.passes.quantization.products.matrix_products import MatrixProduct, read_product
from tamis.passes.quantization.rounding.block_rounding import BlockFormat, BlockWeight, round_blocks

BLOCKS_OPSET = 21
"""Opset from which DequantizeLinear has blocks."""
ACCURACY_LEVEL = {"float32": 1, "int8": 4}
"""MatMulNBits' attribute of that name."""

MAX_ROWS = 8192
"""Longer columns are rounded without a Gram matrix: it, and its inverse, would not fit."""


class Options(PassOptions):
    """Options of ``quantize-weights``."""

    bits: Literal[4, 8] = Field(4, description="Bits of a weight.")
    block_size: Literal[16, 32, 64, 128, 256] = Field(
        64, description="Elements that share a scale: fewer are more exact, more are smaller and faster."
    )
    symmetric: bool = Field(False, description="No zero points: a little smaller and less exact.")
    rounding: Literal["optimal", "nearest"] = Field(
        "optimal",
        description="optimal: by the error of the products on the calibration samples, if there are any. "
        "nearest: each weight by itself.",
    )
    activations: Literal["int8", "float32"] = Field(
        "int8",
        description="What the kernel may compute with: int8 rounds the other operand a block at a time, and is much faster.",
    )
    embeddings: bool = Field(True, description="Store the tables of look-ups in few bits as well.")
    min_elements: int = Field(16384, ge=0, le=2**31, description="Leave weights with fewer elements.")
    include: tuple[str, ...] = Field(("*",), description="Quantize only nodes whose name matches one of these globs.")
    exclude: tuple[str, ...] = Field((), description="Leave nodes whose name matches one of these globs.")


@dataclass(frozen=True)
class _Table:
    """A look-up of rows in a constant table."""

    node: ir.Node

    def weight(self) -> np.ndarray[Any, Any]:
        """The table with its rows as columns: blocks lie along a row of the table."""
        array = constant_array(self.node.inputs[0])
        assert array is not None
        return array.T


class QuantizeWeights(GraphPass[Options]):
    """Store weights of MatMul, Gemm and Gather in 4 or 8 bits with a scale a block; activations stay float.

    *Match*: ``MatMul(x, W)``, ``Gemm(x, W, b)`` and ``Gather(W, i)`` with constant float32 ``W`` in all graphs.

    *Rewrite*: ``W ~ scale (q - zero)`` with one ``scale`` and ``zero`` for ``block_size`` consecutive elements of a
    column, of least squared error among 17 clippings; with calibration samples GPTQ, a column at least as near as
    by rounding to the nearest.

    *Shapes*: unchanged.

    *Preserves*: shapes and types; values up to the rounding of the weights and, with ``activations: int8``, of blocks of
    the other operand to 8 bits.

    *References*: Frantar et al., "GPTQ", 2022 (2210.17323). Operators MatMulNBits and GatherBlockQuantized of ONNX Runtime;
    DequantizeLinear of ONNX, version 21.
    """

    name = "quantize-weights"
    stage = Stage.QUANTIZE
    contract = Contract.LOSSY
    options_type = Options

    def requires(self, model: ir.Model, context: PassContext) -> None:
        opset = model.graph.opset_imports.get("", 0)
        if not self._takes(self._kernels(context).matmul_nbits) and opset < BLOCKS_OPSET:
            raise self.refuse(
                f"the target has no kernel for {self.options.bits}-bit weights in blocks of {self.options.block_size}, "
                "and DequantizeLinear with blocks is not in the model's opset",
                expected=f"ONNX opset {BLOCKS_OPSET} or later",
                found=str(opset),
                fix="export the model again with a later opset, or choose runtime onnxruntime",
            )

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        kernels = self._kernels(context)
        found: list[MatrixProduct | _Table] = []
        skips: list[Skip] = []
        for graph in model.graphs():
            for node in graph:
                if node.domain != "" or node.op_identifier() in model.functions:
                    continue
                decided = self._decide(node, kernels)
                if isinstance(decided, str):
                    skips.append(Skip(decided, node.name or node.op_type))
                elif decided is not None:
                    found.append(decided)
        nodes, counts = BlockNodes(model), Counter[str]()
        old = dict.fromkeys(v for match in found for v in match.node.inputs)
        weights = dict(self._rounded(model, found, context))  # before any edit: the samples run the model as it is
        for match in found:
            weight = weights[match]
            counts[f"{match.node.op_type} in {self.options.bits} bits"] += 1
            if isinstance(match, _Table):
                nodes.gather(match.node, weight)
            elif self._takes(kernels.matmul_nbits):
                nodes.matmul_nbits(match, weight, ACCURACY_LEVEL[self.options.activations])
            else:
                nodes.dequantize(match, weight)
        drop_if_unused(old)
        return PassResult(model, modified=bool(counts), counts=dict(counts), skips=tuple(skips))

    def _kernels(self, context: PassContext) -> WeightKernels:
        """Of the target; none outside a compile, so that every runtime can run the result."""
        target = context.target
        return (target and target.runtime.weight_kernels(target.machine)) or WeightKernels()

    def _takes(self, kernel: BlockKernel | None) -> bool:
        return kernel is not None and kernel.takes(self.options.bits, self.options.block_size)

    def _decide(self, node: ir.Node, kernels: WeightKernels) -> MatrixProduct | _Table | str | None:
        """What to quantize, why ``node`` is left alone, or None if it is no candidate."""
        lookup = node.op_type == "Gather" and self.options.embeddings and _is_large(node, self.options.min_elements)
        if node.op_type not in ("MatMul", "Gemm") and not lookup:
            return None
        name = node.name or ""
        if not any(fnmatchcase(name, glob) for glob in self.options.include):
            return "not matched by include"
        if any(fnmatchcase(name, glob) for glob in self.options.exclude):
            return "matched by exclude"
        if lookup:
            return self._decide_lookup(node, kernels)
        if node.op_type == "MatMul" and len(_shape(node.inputs[0]) or ()) < 2:
            return "first input is a vector or of unknown rank"
        return read_product(node, self.options.min_elements)

    def _decide_lookup(self, node: ir.Node, kernels: WeightKernels) -> _Table | str:
        array = constant_array(node.inputs[0])
        assert array is not None
        if not self._takes(kernels.gather_block_quantized):
            return "the target has no kernel for look-ups in few bits"
        axis = node.attributes.get_int("axis", 0)
        if array.ndim != 2 or axis not in (0, -2):
            return "look-up is not of rows of a matrix"
        if array.shape[1] % self.options.block_size:
            return "blocks do not divide the rows of the table"
        return _Table(node) if np.isfinite(array).all() else "table is not finite"

    def _rounded(
        self, model: ir.Model, found: list[MatrixProduct | _Table], context: PassContext
    ) -> Iterator[tuple[MatrixProduct | _Table, BlockWeight]]:
        """Each with its weight in few bits; Gram matrices are gone before those of the next layers are collected."""
        form = BlockFormat(self.options.bits, self.options.block_size, self.options.symmetric)
        left = {match.node: match for match in found}
        if context.samples is not None and self.options.rounding == "optimal":
            layers = [layer for match in found if (layer := _layer(match, model)) is not None]
            for layer, gram in collect_grams(model, layers, context.samples, seed=context.seed):
                if np.isfinite(gram.g).all():
                    match = left.pop(layer.node)
                    yield match, round_blocks(match.weight(), form, gram.g[0])
        for match in left.values():
            yield match, round_blocks(match.weight(), form)


def _layer(match: MatrixProduct | _Table, model: ir.Model) -> Layer | None:
    """The product as a layer whose inputs samples tell of: one of the main graph, and not too long for a Gram matrix."""
    if isinstance(match, _Table) or match.node.graph is not model.graph:
        return None
    value, tensor = match.node.inputs[0], constant_tensor(match.node.inputs[1])
    assert value is not None and tensor is not None
    layer = Layer(match.node, tuple(tensor.shape.numpy()))
    return layer if constant_tensor(value) is None and layer.rows <= MAX_ROWS else None


def _is_large(node: ir.Node, min_elements: int) -> bool:
    tensor = constant_tensor(node.inputs[0])
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT and tensor.size >= min_elements


def _shape(value: ir.Value | None) -> ir.Shape | None:
    return None if value is None else value.shape

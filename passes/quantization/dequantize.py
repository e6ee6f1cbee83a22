"""Turn a quantized model back into a floating-point one, so that it can be quantized again for another machine.

::

    DequantizeLinear(QuantizeLinear(x))                              ->  x, or ReLU(x) where the zero point clips it
    DequantizeLinear(Wq), Cast(Wq) * s                               ->  W = s (Wq - z)
    QLinearConv, QLinearMatMul, QGemm, QLinearAdd, ...               ->  Conv, MatMul, Gemm, Add, ...
    Cast(MatMulInteger(DynamicQuantizeLinear(x), Wq)) * (s sW)       ->  x @ W
    DynamicQuantizeMatMul, MatMulIntegerToFloat, ConvInteger         ->  MatMul, Conv

*Refuses*, node by node: weights or their scales that are not constant; integers that come from outside or from an
operator without a rule; integers that are read with another scale than they were written with; a scale for each row.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.compiler.rewriting.graph_edit import Names, drop_if_unused
from tamis.compiler.rewriting.node_pass import replace
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.passes.quantization.dequantization.float_operators import OPERATORS, Operands
from tamis.passes.quantization.dequantization.float_values import Floats, scale_of
from tamis.passes.quantization.dequantization.integer_products import INTEGER_PRODUCTS, read_scaled

MIN_OPSET = 10
STORED = frozenset({ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4})
WITHOUT_RULE = frozenset({"MatMulInteger", "ConvInteger", "MatMulNBits", "GatherBlockQuantized"})


class Options(PassOptions):
    """Options of ``dequantize``."""


class Dequantize(GraphPass[Options]):
    """Give a quantized model its floating-point form.

    *Match*: QuantizeLinear and DequantizeLinear, the operators with integer arithmetic of ONNX and of ONNX Runtime, and
    weights that are stored as integers, cast and scaled.

    *Rewrite*: operators read and give floats; data movement between two of them too; what was rounded for their sake no
    longer is. Quantizers drop a ReLU, or a clip to 0..6, whose work the zero point and the scale do: it is put back.
    Integers at the border of the graph stay integers.

    *Shapes*: unchanged.

    *Preserves*: names and types of graph inputs and outputs; values up to the rounding of activations, which is gone, and
    of clipping to their calibrated range, of which only 0 (and 6) is kept. The weights are those that the integers stand
    for: what rounding took from them does not come back.

    *References*: ONNX operators QuantizeLinear, QLinearConv and DynamicQuantizeLinear; ONNX Runtime,
    docs/ContribOperators.md; onnxruntime/python/tools/quantization/operators/activation.py for the dropped ReLU.
    """

    name = "dequantize"
    stage = Stage.QUANTIZE
    contract = Contract.LOSSY
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        if opset < MIN_OPSET:
            where = model.graph.name or "graph"
            return PassResult(model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", where),))
        sweep = Sweep(Builder(Names(model), opset), {key[:2] for key in model.functions})
        for graph in model.graphs():
            for node in graph:
                sweep.visit(node)
        drop_if_unused(sweep.build.loose)
        left = [node for graph in model.graphs() for node in graph if node in sweep.reasons]
        skips = tuple(Skip(sweep.reasons[n], n.name or n.outputs[0].name or n.op_type) for n in left)
        return PassResult(model, modified=bool(sweep.counts), counts=dict(sweep.counts), skips=skips)


class Sweep:
    """One pass over the nodes, in order.

    Args:
        build: Makes nodes and constants.
        functions: Domains and names of operators that the model defines itself.

    Attributes:
        counts: What was replaced how often.
        reasons: Nodes that were left alone.
    """

    def __init__(self, build: Builder, functions: set[tuple[str, str]]) -> None:
        self.build = build
        self.counts: Counter[str] = Counter()
        self.reasons: dict[ir.Node, str] = {}
        self._floats = Floats(build)
        self._functions = functions

    def visit(self, node: ir.Node) -> None:
        """Replace ``node`` by its floating-point form if it has one."""
        key = (node.domain, node.op_type)
        if key in self._functions:
            return
        made: ir.Value | str | None = None
        if key in OPERATORS:
            self.build.before(node)
            made = OPERATORS[key](Operands(node, self.build, self._floats))
        elif node.op_type == "DequantizeLinear" and node.domain in ("", "com.microsoft"):
            made = self._dequantized(node)
        elif key == ("", "Mul"):
            made = self._product(node) or self._stored(node)
        elif node.op_type in WITHOUT_RULE or node.op_type.startswith(("QLinear", "DynamicQuantizeLSTM", "QAttention")):
            made = "no rule for this operator" if node.op_type not in INTEGER_PRODUCTS else "its scale is not known"
        if isinstance(made, str):
            self.reasons[node] = made
        elif made is not None:
            self.counts[f"{node.op_type} replaced"] += 1
            self.build.before(node)
            replace(node, made, self.build)

    def _dequantized(self, node: ir.Node) -> ir.Value | str:
        value = node.inputs[0]
        assert value is not None
        found = self._floats.find(value, scale_of(node), node)
        if isinstance(found, ir.Value) and found.dtype is not None and found.dtype != node.outputs[0].dtype:
            return found if node.outputs[0].dtype is None else "its integers stand for another type of floats"
        return found

    def _product(self, node: ir.Node) -> ir.Value | str | None:
        product = read_scaled(node)
        if product is None or isinstance(product, str):
            return product
        data = self._floats.find(product.data, product.scale, node)
        if isinstance(data, str):
            return data
        self.build.before(node)
        attributes: dict[str, Any] = {name: attribute.value for name, attribute in product.node.attributes.items()}
        op_type = INTEGER_PRODUCTS[product.node.op_type]
        return self.build.op(op_type, data, product.weight, like=node.outputs[0], **attributes)

    def _stored(self, node: ir.Node) -> ir.Value | None:
        """The weight that ``node`` scales, if both it and the scale are constant and it is stored as integers."""
        parts = [_numbers(value) for value in node.inputs]
        if parts[0] is None or parts[1] is None or not (parts[0][1] or parts[1][1]):
            return None
        self.build.before(node)
        return self.build.constant(parts[0][0] * parts[1][0])


def _numbers(value: ir.Value | None, depth: int = 2) -> tuple[np.ndarray[Any, Any], bool] | None:
    """Floats behind ``value`` if they are constant, and whether they are stored as integers."""
    array = constant_array(value)
    if array is not None:
        return (array, False) if array.dtype.kind == "f" else None
    node = None if value is None else value.producer()
    if node is None or node.domain != "" or not depth:
        return None
    if node.op_type == "Cast":
        tensor, dtype = constant_tensor(node.inputs[0]), ir.DataType(node.attributes.get_int("to", 1))
        integers = tensor is not None and tensor.dtype in STORED and dtype.is_floating_point()
        return (tensor.numpy().astype(dtype.numpy()), True) if tensor is not None and integers else None
    if node.op_type == "Sub":
        parts = [_numbers(v, depth - 1) for v in node.inputs]
        return (
            (parts[0][0] - parts[1][0], True) if parts[0] is not None and parts[1] is not None and parts[0][1] else None
        )
    return None

"""Write a matrix product in the form DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul (-> Add)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_value
from tamis.compiler.rewriting.graph_edit import Names, bypass
from tamis.passes.quantization.products.matrix_products import MatrixProduct
from tamis.passes.quantization.rounding.int8_weights import Int8Weight, quantize_int8, quantize_uint8


class DynamicMatMul:
    """Rewrites products of one model; remembers what they share.

    Args:
        names: Free names of the model.
        weights: ``int8`` or ``uint8``.
        per_channel: One scale an output channel.
        pair_safe: Keep int8 weights from saturating.
    """

    def __init__(self, names: Names, weights: str, *, per_channel: bool, pair_safe: bool) -> None:
        self._names = names
        self._weights = weights
        self._per_channel = per_channel
        self._pair_safe = pair_safe
        self._activations: dict[tuple[ir.Graph | ir.Function | None, ir.Value], ir.Node] = {}
        self._constants: dict[tuple[Any, ...], list[ir.Value]] = {}
        self.replaced: dict[ir.Value | None, None] = {}
        """Inputs of the nodes that are gone."""

    def rewrite(self, product: MatrixProduct) -> None:
        """Replace the node of ``product``."""
        node, graph = product.node, product.node.graph
        assert graph is not None
        self.replaced.update(dict.fromkeys(node.inputs))
        label = node.name or node.outputs[0].name or node.op_type
        quantized, scale, *zero_point = self._weight(product, label)
        xq, x_scale, x_zero = self._activation(node).outputs
        sums = self._insert(node, "MatMulInteger", [xq, quantized, x_zero, *zero_point], f"{label}_integer")
        floats = self._insert(node, "Cast", [sums], f"{label}_cast", to=int(ir.DataType.FLOAT))
        scales = self._insert(node, "Mul", [x_scale, scale], f"{label}_scale")
        result = self._insert(node, "Mul", [floats, scales], f"{label}_scaled")
        if product.bias is not None:
            result = self._insert(node, "Add", [result, self._bias(product, label)], f"{label}_biased")
        name, type_, shape = node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape
        bypass(node, result)
        result.name, result.type, result.shape = name, type_, shape

    def _insert(self, before: ir.Node, op_type: str, inputs: list[ir.Value], name: str, **attributes: int) -> ir.Value:
        graph = before.graph
        assert graph is not None
        name = self._names.fresh(name)
        node = ir.node(op_type, inputs, attributes, name=name)
        node.outputs[0].name = name
        graph.insert_before(before, node)
        return node.outputs[0]

    def _activation(self, node: ir.Node) -> ir.Node:
        """The DynamicQuantizeLinear of the first input of ``node``, one per value and graph."""
        value, graph = node.inputs[0], node.graph
        assert value is not None and graph is not None
        if (graph, value) not in self._activations:
            name = self._names.fresh(f"{value.name}_quantize")
            quantize = ir.node("DynamicQuantizeLinear", [value], num_outputs=3, name=name)
            for output, suffix in zip(quantize.outputs, ("quantized", "scale", "zero_point"), strict=True):
                output.name = self._names.fresh(f"{value.name}_{suffix}")
            graph.insert_before(node, quantize)
            self._activations[graph, value] = quantize
        return self._activations[graph, value]

    def _weight(self, product: MatrixProduct, label: str) -> list[ir.Value]:
        """Initializers of the quantized weight, its scale and, unless it is 0, its zero point; shared by equal uses."""
        node = product.node
        key = (node.graph, node.inputs[1], product.transposed, product.alpha)
        if key not in self._constants:
            found = self._quantize(product.weight())
            arrays = {"quantized": found.quantized, "scale": found.scale, "zero_point": found.zero_point}
            self._constants[key] = [
                self._constant(product, f"{label}_weight_{suffix}", array)
                for suffix, array in arrays.items()
                if array is not None
            ]
        return self._constants[key]

    def _quantize(self, weight: np.ndarray[Any, Any]) -> Int8Weight:
        if self._weights == "uint8":
            return quantize_uint8(weight, per_channel=self._per_channel)
        return quantize_int8(weight, per_channel=self._per_channel, pair_safe=self._pair_safe)

    def _bias(self, product: MatrixProduct, label: str) -> ir.Value:
        assert product.bias is not None
        array = constant_array(product.bias)
        if array is None or product.beta == 1.0:
            return product.bias
        return self._constant(product, f"{label}_bias", array * np.float32(product.beta))

    def _constant(self, product: MatrixProduct, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
        graph = product.node.graph
        assert isinstance(graph, ir.Graph)
        name = self._names.fresh(name)
        value = constant_value(name, ir.tensor(array, name=name))
        graph.register_initializer(value)
        return value

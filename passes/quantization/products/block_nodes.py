"""Write products and look-ups whose weights are stored in few bits, in the operators that a runtime has for them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_value
from tamis.compiler.rewriting.graph_edit import Names, bypass
from tamis.passes.quantization.products.matrix_products import MatrixProduct
from tamis.passes.quantization.rounding.block_rounding import BlockWeight

Array = np.ndarray[Any, np.dtype[Any]]
DOMAIN = "com.microsoft"
SIGNED = {4: ml_dtypes.int4, 8: np.dtype(np.int8)}
UNSIGNED = {4: ml_dtypes.uint4, 8: np.dtype(np.uint8)}
DEQUANTIZE_IR = 10
"""IR version from which a model may hold 4-bit tensors and DequantizeLinear may have blocks."""


class BlockNodes:
    """Rewrites nodes of one model; remembers the constants that they share.

    Args:
        model: Changed in place.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._names = Names(model)
        self._constants: dict[tuple[Any, ...], list[ir.Value]] = {}
        self._dequantized: dict[tuple[Any, ...], ir.Value] = {}

    def matmul_nbits(self, product: MatrixProduct, weight: BlockWeight, accuracy_level: int) -> None:
        """``MatMulNBits``, and an Add for the bias."""
        node = product.node
        rows, columns = weight.quantized.shape
        constants = self._shared(product.node.inputs[1], ("nbits", product.transposed, product.alpha), _nbits(weight))
        x = node.inputs[0]
        attributes = {
            "K": rows,
            "N": columns,
            "bits": weight.bits,
            "block_size": weight.block_size,
            "accuracy_level": accuracy_level,
        }
        label = node.name or node.outputs[0].name or node.op_type
        result = self._insert(node, "MatMulNBits", [x, *constants], attributes, label, DOMAIN)
        if product.bias is not None:
            bias, array = product.bias, constant_array(product.bias)
            if array is not None and product.beta != 1.0:
                scaled = {"scaled": array * np.float32(product.beta)}
                bias = self._shared(bias, ("bias", product.beta), scaled)[0]
            result = self._insert(node, "Add", [result, bias], {}, f"{label}_biased")
        self._replace(node, result)

    def gather(self, node: ir.Node, weight: BlockWeight) -> None:
        """``GatherBlockQuantized`` of the table whose transpose ``weight`` is."""
        constants = self._shared(node.inputs[0], ("table",), _table(weight))
        attributes = {"bits": weight.bits, "block_size": weight.block_size, "gather_axis": 0, "quantize_axis": 1}
        label = node.name or node.outputs[0].name or node.op_type
        inputs = [constants[0], node.inputs[1], *constants[1:]]
        self._replace(node, self._insert(node, "GatherBlockQuantized", inputs, attributes, label, DOMAIN))

    def dequantize(self, product: MatrixProduct, weight: BlockWeight) -> None:
        """``DequantizeLinear`` with blocks in front of the product, which stays."""
        node, old = product.node, product.node.inputs[1]
        key = (product.node.graph, old, product.transposed, product.alpha)
        if key not in self._dequantized:
            constants = self._shared(old, ("blocks", product.transposed, product.alpha), _blocks(weight))
            attributes = {"axis": 0, "block_size": weight.block_size}
            label = self._names.fresh(f"{old.name if old is not None else 'weight'}_dequantized")
            self._dequantized[key] = self._insert(node, "DequantizeLinear", list(constants), attributes, label)
            self._dequantized[key].type = ir.TensorType(ir.DataType.FLOAT)
            self._dequantized[key].shape = ir.Shape(weight.quantized.shape)
        node.replace_input_with(1, self._dequantized[key])
        if node.op_type == "Gemm":
            node.attributes.pop("transB", None)
            node.attributes.pop("alpha", None)
        self._model.ir_version = max(self._model.ir_version, DEQUANTIZE_IR)

    def _insert(
        self,
        before: ir.Node,
        op_type: str,
        inputs: list[ir.Value | None],
        attributes: dict[str, int],
        label: str,
        domain: str = "",
    ) -> ir.Value:
        graph = before.graph
        assert graph is not None
        name = self._names.fresh(f"{label}_{op_type}")
        node = ir.node(op_type, inputs, attributes, name=name, domain=domain)
        node.outputs[0].name = name
        graph.insert_before(before, node)
        if domain:
            self._model.graph.opset_imports.setdefault(domain, 1)
        return node.outputs[0]

    def _replace(self, node: ir.Node, result: ir.Value) -> None:
        name, type_, shape = node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape
        bypass(node, result)
        result.name, result.type, result.shape = name, type_, shape

    def _shared(self, old: ir.Value | None, use: tuple[Any, ...], arrays: dict[str, Array]) -> list[ir.Value]:
        """Initializers for ``arrays`` beside ``old``, which they stand for; one set a use."""
        assert old is not None
        if (old, *use) not in self._constants:
            producer = old.producer()
            graph = old.graph if producer is None else producer.graph
            self._constants[old, *use] = [
                self._constant(graph, f"{old.name}_{name}", array) for name, array in arrays.items()
            ]
        return self._constants[old, *use]

    def _constant(self, graph: ir.Graph | ir.Function | None, name: str, array: Array) -> ir.Value:
        assert isinstance(graph, ir.Graph)
        name = self._names.fresh(name)
        value = constant_value(name, ir.tensor(array, name=name))
        graph.register_initializer(value)
        return value


def _is_symmetric(weight: BlockWeight) -> bool:
    return bool(np.all(weight.zero_point == 2 ** (weight.bits - 1)))


def _pack(array: Array, bits: int) -> Array:
    """Integers below ``2**bits`` along the last axis in bytes, the first in the low bits."""
    if bits == 8:
        return np.ascontiguousarray(array)
    if array.shape[-1] % 2:
        array = np.concatenate([array, np.zeros_like(array[..., :1])], axis=-1)
    packed: Array = array[..., 0::2] | (array[..., 1::2] << 4)
    return packed


def _nbits(weight: BlockWeight) -> dict[str, Array]:
    """``(N, blocks, bytes)``, scales ``(N, blocks)`` and, unless it is the middle, zero points ``(N, bytes)``."""
    rows, columns = weight.quantized.shape
    blocks = len(weight.scale)
    padded = np.zeros((blocks * weight.block_size, columns), np.uint8)
    padded[:rows] = weight.quantized
    found = {
        f"int{weight.bits}": _pack(padded.T.reshape(columns, blocks, weight.block_size), weight.bits),
        "scale": np.ascontiguousarray(weight.scale.T),
    }
    if not _is_symmetric(weight):
        found["zero_point"] = _pack(np.ascontiguousarray(weight.zero_point.T), weight.bits)
    return found


def _table(weight: BlockWeight) -> dict[str, Array]:
    """``(rows, bytes)``, scales ``(rows, blocks)`` and, unless it is the middle, zero points ``(rows, bytes)``."""
    found = {
        f"int{weight.bits}": _pack(np.ascontiguousarray(weight.quantized.T), weight.bits),
        "scale": np.ascontiguousarray(weight.scale.T),
    }
    if not _is_symmetric(weight):
        found["zero_point"] = _pack(np.ascontiguousarray(weight.zero_point.T), weight.bits)
    return found


def _blocks(weight: BlockWeight) -> dict[str, Array]:
    """``(K, N)`` signed without zero points if they are the middle, else unsigned with them; scales ``(blocks, N)``."""
    if _is_symmetric(weight):
        signed = weight.quantized.astype(np.int16) - 2 ** (weight.bits - 1)
        return {f"int{weight.bits}": signed.astype(np.int8).astype(SIGNED[weight.bits]), "scale": weight.scale}
    unsigned = UNSIGNED[weight.bits]
    return {
        f"int{weight.bits}": weight.quantized.astype(unsigned),
        "scale": weight.scale,
        "zero_point": weight.zero_point.astype(unsigned),
    }

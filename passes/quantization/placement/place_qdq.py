"""Write islands with QuantizeLinear and DequantizeLinear around every value that becomes integer.

::

    Conv(x, W, b) -> Clip(., 0, 6)   ->   DQ(Q(x)) \\
                                          DQ(Wq)    Conv -> Q -> DQ     scale of the bias: that of x times that of W
                                          DQ(bq)  /

The Clip goes: the Q behind clips to the same bounds. HardSigmoid(x) = clip(a x + b, 0, 1) becomes an Add of b to the
integers of x, read at a times their scale, behind a Q that clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.int8_kernels import Int8Kernels
from tamis.compiler.rewriting.constants import constant_array, constant_value
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused
from tamis.passes.quantization.calibration.affine import Affine, affine_of_range
from tamis.passes.quantization.placement.islands import Islands, activations, end_of, slope
from tamis.passes.quantization.placement.units import Unit

Array = np.ndarray[Any, np.dtype[Any]]
BIAS_LIMIT = 2.0**30
"""Biases stay below this many steps, so that sums of 32 bits have room."""


def insert_qdq(
    model: ir.Model,
    kernels: Int8Kernels,
    islands: Islands,
    parameters: Mapping[ir.Value, Affine],
    weights: Mapping[Unit, Affine],
    integers: Mapping[Unit, Array],
) -> None:
    """Bracket ``islands``, in place.

    Args:
        model: With the islands' nodes.
        kernels: The table by which they were found.
        islands: What becomes integer.
        parameters: Of every quantized value; the same object on both sides of a moving node.
        weights: Of each unit, along the axis of its output channels.
        integers: The quantized weight of each unit, shaped like the weight.
    """
    _Placer(model, kernels, islands, parameters).place(weights, integers)


class _Placer:
    def __init__(
        self, model: ir.Model, kernels: Int8Kernels, islands: Islands, parameters: Mapping[ir.Value, Affine]
    ) -> None:
        self.graph = model.graph
        self.kernels = kernels
        self.islands = islands
        self.parameters = dict(parameters)
        self.names = Names(model)
        self.first = next(iter(model.graph))
        self.made: dict[int, tuple[ir.Value, ir.Value]] = {}
        self.loose: dict[ir.Value | None, None] = {}
        self.stored: dict[ir.Value, list[tuple[Affine, Array, list[ir.Value]]]] = {}

    def place(self, weights: Mapping[Unit, Affine], integers: Mapping[Unit, Array]) -> None:
        """Weights first, while the values they belong to can still be asked for; then values; last what is rewritten."""
        for unit in self.islands.units.values():
            self._weight(unit, weights[unit], integers[unit])
        for node in self.islands.joined:
            self._constants(node)
        owners = {value: node for node in self._integer() for value in end_of(node, self.islands).outputs}
        for value in self.islands.quantized:
            self._bracket(value, owners.get(value))
        self.islands.results.update((node, tuple(node.outputs)) for node in self.islands.units)
        self.islands.results.update((node, tuple(node.outputs)) for node in self.islands.joined)
        for node in self.islands.joined:
            if self.kernels.operators[node.op_type].written_as == "scaled-add":
                self._scaled_add(node)
        self._drop_loose()

    def _drop_loose(self) -> None:
        """Take out constants that nothing reads any more."""
        drop_if_unused(self.loose)
        for value in self.loose:
            producer = None if value is None else value.producer()
            if producer is not None and producer.op_type == "Constant" and not producer.outputs[0].uses():
                assert producer.graph is not None
                producer.graph.remove(producer, safe=True)

    def _integer(self) -> list[ir.Node]:
        return [*self.islands.units, *self.islands.joined]

    def _bracket(self, value: ir.Value, owner: ir.Node | None) -> None:
        affine = self.parameters[value]
        name = str(value.name)
        source = self._without_tail(value, owner)
        producer = source.producer()
        integer = {
            use for use in source.uses() if self.islands.integer(use.node) and self._is_activation(use.node, use.idx)
        }
        uses = list(source.uses()) if owner is not None else sorted(integer, key=lambda use: use.idx)
        was_output = owner is not None and source.is_graph_output()
        scale, zero = self._scale(affine, name)
        quantized = self._node("QuantizeLinear", [source, scale, zero], producer, f"{name}_quantized")
        result = self._node("DequantizeLinear", [quantized, scale, zero], quantized.producer(), f"{name}_dequantized")
        result.shape, result.type = source.shape, source.type
        for use in uses:
            use.node.replace_input_with(use.idx, result)
        if was_output:
            for i, output in enumerate(self.graph.outputs):
                if output is source:
                    self.graph.outputs[i] = result
            source.name, result.name = self.names.fresh(f"{name}_float"), name

    def _is_activation(self, reader: ir.Node, position: int) -> bool:
        positions = self.kernels.operators[reader.op_type].inputs
        return positions == "all" or position in positions

    def _without_tail(self, value: ir.Value, owner: ir.Node | None) -> ir.Value:
        """Take out the activations that end in ``value``; returns what they read, which takes over its name."""
        if owner is None:
            return value
        unit = self.islands.units.get(owner)
        core = unit.core if unit is not None else owner
        tail = unit.nodes[unit.nodes.index(core) + 1 :] if unit is not None else self.islands.joined[owner]
        for node in reversed(tail):
            before = node.inputs[0]
            assert before is not None
            self.loose.update(dict.fromkeys(node.inputs[1:]))
            bypass(node, before)
            value = before
        return value

    def _weight(self, unit: Unit, affine: Affine, integers: Array) -> None:
        node = unit.node
        position = unit.operator.weight
        assert position is not None
        bias_scale = None
        if unit.bias is not None:
            affine, bias_scale = self._bias_scales(unit, affine)
        self._dequantized(node, position, integers, affine, f"{unit.name}_weight")
        if bias_scale is not None:
            self._bias(unit, bias_scale)

    def _bias_scales(self, unit: Unit, affine: Affine) -> tuple[Affine, Array]:
        x = unit.node.inputs[0]
        assert x is not None
        return affine, np.asarray(self.parameters[x].scale * affine.scale, np.float32)

    def _bias(self, unit: Unit, scale: Array) -> None:
        wide = constant_array(unit.bias)
        assert wide is not None
        bias = np.broadcast_to(wide.astype(np.float64).reshape(-1), np.broadcast_shapes(scale.shape, (wide.size,)))
        steps = np.rint(bias / scale).astype(np.int32)
        reader = unit.core
        position = next(i for i, v in enumerate(reader.inputs) if v is unit.bias)
        axis = 0 if scale.ndim else None
        affine = Affine(scale, np.zeros(scale.shape, np.int32), axis)
        self._dequantized(reader, position, steps, affine, f"{unit.name}_bias")

    def _constants(self, node: ir.Node) -> None:
        """Constant activations of elementwise nodes, each with the range of its own."""
        for position, value in enumerate(node.inputs):
            if value is None or not any(value is v for v in activations(node, self.kernels)):
                continue
            array = constant_array(value)
            if array is not None:
                dtype = self.kernels.types.activations
                affine = affine_of_range(array.min(), array.max(), dtype, symmetric=False)
                self._dequantized(node, position, affine.quantize(array), affine, f"{value.name}_constant")

    def _scaled_add(self, node: ir.Node) -> None:
        alpha, beta = slope(node)
        read = node.inputs[0]
        dequantize = None if read is None else read.producer()
        assert dequantize is not None and dequantize.op_type == "DequantizeLinear"
        quantized, scale, zero = dequantize.inputs
        assert scale is not None and quantized is not None
        given = constant_array(scale)
        assert given is not None
        label = node.name or str(node.outputs[0].name)
        scaled = self._constant(np.asarray(given * np.float32(alpha), np.float32), f"{label}_scale")
        steps = self._node("DequantizeLinear", [quantized, scaled, zero], dequantize, f"{label}_slope")
        steps.shape, steps.type = node.outputs[0].shape, node.outputs[0].type
        affine = affine_of_range(0.0, beta, self.kernels.types.activations, symmetric=False)
        added = self._node("Add", [steps, steps], steps.producer(), f"{label}_add")
        producer = added.producer()
        assert producer is not None
        self._dequantized(producer, 1, affine.quantize(np.asarray(beta, np.float32)), affine, f"{label}_offset")
        added.shape, added.type = node.outputs[0].shape, node.outputs[0].type
        self.islands.results[node] = (added,)
        bypass(node, added)
        if not read.uses() and not read.is_graph_output():  # type: ignore[union-attr]
            self.graph.remove(dequantize, safe=True)

    def _dequantized(self, node: ir.Node, position: int, integers: Array, affine: Affine, label: str) -> None:
        """Let ``node`` read ``integers`` behind a DequantizeLinear at ``position``."""
        old = node.inputs[position]
        self.loose[old] = None
        stored, scale, zero = self._stored(old, integers, affine, label)
        name = self.names.fresh(f"{label}_dequantize")
        attributes = {} if affine.axis is None else {"axis": affine.axis}
        made = ir.node("DequantizeLinear", [stored, scale, zero], attributes, name=name)
        made.outputs[0].name = self.names.fresh(f"{label}_dequantized")
        made.outputs[0].shape, made.outputs[0].type = stored.shape, ir.TensorType(ir.DataType.FLOAT)
        self.graph.insert_before(node, made)
        node.replace_input_with(position, made.outputs[0])

    def _stored(self, old: ir.Value | None, integers: Array, affine: Affine, label: str) -> list[ir.Value]:
        """Initializers of the integers, scale and zero point; the same ones for readers of one constant who need the same."""
        for other, same, values in self.stored.get(old, ()) if old is not None else ():
            scales = affine.axis == other.axis and np.array_equal(affine.scale, other.scale)
            if scales and affine.dtype == other.dtype and np.array_equal(integers, same):
                return values
        arrays = {"quantized": integers, "scale": affine.scale, "zero_point": affine.zero_point}
        values = [self._constant(array, f"{label}_{what}") for what, array in arrays.items()]
        if old is not None:
            self.stored.setdefault(old, []).append((affine, integers, values))
        return values

    def _scale(self, affine: Affine, name: str) -> tuple[ir.Value, ir.Value]:
        if id(affine) not in self.made:
            self.made[id(affine)] = (
                self._constant(affine.scale, f"{name}_scale"),
                self._constant(affine.zero_point, f"{name}_zero_point"),
            )
        return self.made[id(affine)]

    def _node(self, op_type: str, inputs: list[ir.Value | None], after: ir.Node | None, name: str) -> ir.Value:
        node = ir.node(op_type, inputs, name=self.names.fresh(name))
        node.outputs[0].name = node.name
        if after is None:
            self.graph.insert_before(self.first, node)
        else:
            self.graph.insert_after(after, node)
        return node.outputs[0]

    def _constant(self, array: Array, name: str) -> ir.Value:
        name = self.names.fresh(name)
        value = constant_value(name, ir.tensor(array, name=name))
        self.graph.register_initializer(value)
        return value

"""A model of one layer, to time it by itself.

A convolution stands between two thin 1x1 convolutions, as it does in a net, so that no change of layout at the edges of
the model is charged to it. They take a few per cent of the time, on both sides of a comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor, constant_value
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.layer_inputs.layer_weight import LayerWeight
from tamis.passes.pruning.low_rank.factors import Factors
from tamis.passes.pruning.low_rank.replace_layer import replace_layer
from tamis.passes.pruning.low_rank.thin_layer import ThinLayer

Array = np.ndarray[Any, np.dtype[Any]]
LAYER = "layer"


def one_layer(
    layer: ThinLayer, multiple: int, opset_imports: dict[str, int], ir_version: int
) -> tuple[ir.Model, dict[str, Array]]:
    """The layer between neighbours, and what to feed it.

    Args:
        layer: Its weights are shared.
        multiple: Channels of the neighbours; none stands where the layer's own are no multiple.
        opset_imports: Of the model.
        ir_version: Of the model.
    """
    convolves = layer.weight.convolves
    shape = list(layer.inputs)
    around = [convolves and count % multiple == 0 for count in layer.weight.shape[1::-1]]
    if around[0]:
        shape[1] = multiple
    x = ir.Value(name="x", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
    constants: list[ir.Value] = []
    nodes: list[ir.Node] = []

    def add(node: ir.Node, sizes: tuple[int, ...]) -> ir.Value:
        nodes.append(node)
        value = node.outputs[0]
        value.name, value.type, value.shape = f"y{len(nodes)}", x.type, ir.Shape(sizes)
        return value

    def neighbour(source: ir.Value, channels: int, made: int, sizes: tuple[int, ...]) -> ir.Value:
        array = np.full((made, channels, *[1] * (len(shape) - 2)), 0.01, np.float32)
        constants.append(constant_value(f"w{len(nodes)}", ir.tensor(array, name=f"w{len(nodes)}")))
        return add(ir.node("Conv", [source, constants[-1]], name=f"neighbour{len(nodes)}"), sizes)

    value = neighbour(x, multiple, layer.inputs[1], layer.inputs) if around[0] else x
    inputs = [value]
    for index, given in enumerate(layer.node.inputs[1:], 1):
        tensor = constant_tensor(given)
        if tensor is not None:
            inputs.append(constant_value(f"c{index}", tensor))
    constants += inputs[1:]
    value = add(ir.node(layer.node.op_type, inputs, dict(layer.node.attributes), name=LAYER), layer.outputs)
    if around[1]:
        value = neighbour(value, layer.outputs[1], multiple, (layer.outputs[0], multiple, *layer.outputs[2:]))
    graph = ir.Graph([x], [value], nodes=nodes, initializers=constants, opset_imports=opset_imports, name="one_layer")
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    return ir.Model(graph, ir_version=ir_version), feeds


def factorized(model: ir.Model, factors: Factors) -> ir.Model:
    """A copy of a model of one layer with factors in place of the layer."""
    copy = model.clone()
    node = next(n for n in copy.graph if n.name == LAYER)
    weight = constant_tensor(node.inputs[1])
    assert weight is not None
    replace_layer(LayerWeight(node, tuple(weight.shape.numpy())), factors, Names(copy))
    return copy

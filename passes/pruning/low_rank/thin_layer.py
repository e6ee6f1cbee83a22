"""A layer that can be factorized: its weight, the sizes that it works on, and whether it can take a constant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from tamis.compiler.analysis.tensor_size import static_shape
from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.passes.layer_inputs.layer_weight import LayerWeight, read_weight
from tamis.passes.pruning.low_rank.factors import Positions

UNKNOWN_SIZE = 32
"""Of an axis whose size is not known before the model runs."""


@dataclass(frozen=True)
class ThinLayer:
    """A dense layer of the main graph.

    Args:
        weight: Of the node.
        inputs: Shape of what it reads.
        outputs: Shape of what it gives.
    """

    weight: LayerWeight
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def node(self) -> ir.Node:
        """The Conv, MatMul or Gemm."""
        return self.weight.node

    @property
    def name(self) -> str:
        """Of the node, or of its output if it has none."""
        return self.node.name or str(self.node.outputs[0].name)

    @property
    def kernel(self) -> int:
        """Positions of the kernel; 1 of a matrix product."""
        return math.prod(self.weight.shape[2:]) if self.weight.convolves else 1

    @property
    def positions(self) -> Positions:
        """Places of input and output."""
        if self.weight.convolves:
            return Positions(_places(self.inputs), _places(self.outputs))
        count = math.prod(self.outputs[:-1])
        return Positions(count, count)

    @property
    def macs(self) -> int:
        """Multiplications of one run."""
        return self.positions.after * math.prod(self.weight.shape)

    @property
    def takes_shift(self) -> bool:
        """Whether a constant can be added to its output without another node."""
        if self.node.op_type == "MatMul":
            return False
        bias = self.node.inputs[2] if len(self.node.inputs) > 2 else None
        scaled = self.node.attributes.get_float("beta", 1.0) if self.node.op_type == "Gemm" else 1.0
        return scaled != 0 and (bias is None or constant_tensor(bias) is not None)


def read_layer(node: ir.Node, min_elements: int, shapes: Mapping[str, tuple[int, ...]]) -> ThinLayer | str:
    """``node`` as a layer, or why it cannot be factorized.

    Args:
        node: A Conv, MatMul or Gemm.
        min_elements: Of its weight.
        shapes: Of values whose sizes the graph does not tell.
    """
    if node.op_type == "Conv" and node.attributes.get_int("group", 1) != 1:
        return "convolution in groups"
    if node.op_type == "Gemm" and bool(node.attributes.get_int("transA", 0)):
        return "first input of Gemm is transposed"
    weight = read_weight(node)
    if isinstance(weight, str):
        return weight
    if math.prod(weight.shape) < min_elements:
        return "weight has fewer elements than min_elements"
    if len(weight.value.uses()) > 1 or weight.value.is_graph_output():
        return "something else reads the weight"
    if constant_array(node.inputs[0]) is not None:
        return "input is constant"
    inputs, outputs = (_sizes(v, shapes) for v in (node.inputs[0], node.outputs[0]))
    if inputs is None or outputs is None or len(inputs) < 2:
        return "rank of the input is unknown, or it is a vector"
    return ThinLayer(weight, inputs, outputs)


def unknown_values(model: ir.Model) -> list[str]:
    """Inputs and outputs of dense layers whose sizes the graph does not tell."""
    found: dict[str, None] = {}
    for node in model.graph:
        if node.domain == "" and node.op_type in ("Conv", "MatMul", "Gemm"):
            for value in (node.inputs[0], node.outputs[0]):
                if value is not None and value.name and static_shape(value) is None and constant_tensor(value) is None:
                    found[value.name] = None
    return list(found)


def _sizes(value: ir.Value | None, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    if value is None:
        return None
    known = static_shape(value) or shapes.get(str(value.name))
    if known is not None or value.shape is None:
        return known
    return tuple(d if isinstance(d, int) else UNKNOWN_SIZE for d in value.shape)


def _places(shape: tuple[int, ...]) -> int:
    return math.prod((*shape[:1], *shape[2:]))

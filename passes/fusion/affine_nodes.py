"""Read a node as ``scale * x + shift`` per channel, or say why it is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.passes.fusion.affine import Affine, Array, batch_normalization, per_channel

OPERATORS = frozenset({"Add", "BatchNormalization", "Div", "Mul", "Sub"})


@dataclass(frozen=True)
class Channels:
    """Where the channels of a tensor are.

    Args:
        rank: Of the tensor.
        axis: Channel axis.
        count: Channels.
    """

    rank: int
    axis: int
    count: int


def is_candidate(node: ir.Node | None) -> bool:
    """True for an operator that may be affine."""
    return node is not None and node.domain == "" and node.op_type in OPERATORS


def data_input(node: ir.Node) -> ir.Value | None:
    """The operand of an affine candidate that is not constant; None if that is both or neither."""
    if node.op_type == "BatchNormalization":
        return node.inputs[0]
    operands = [v for v in node.inputs if constant_tensor(v) is None]
    return operands[0] if len(operands) == 1 else None


def read_affine(node: ir.Node, data: ir.Value, channels: Channels) -> Affine | str:
    """What ``node`` does to ``data``, or why that is not affine per channel."""
    if node.op_type == "BatchNormalization":
        return _read_batch_normalization(node, channels)
    if data_input(node) is not data:
        return "operand is not constant"
    position = 1 if node.inputs[0] is data else 0
    constant = constant_array(node.inputs[position])
    assert constant is not None
    problem = per_channel(constant.shape, channels.rank, channels.axis, channels.count)
    if problem is not None:
        return problem
    values = constant.astype(np.float64).reshape(-1) if constant.size != 1 else constant.astype(np.float64).reshape(())
    return _binary(node.op_type, values, constant_first=position == 0)


def _binary(op_type: str, constant: Array, *, constant_first: bool) -> Affine | str:
    one, zero = np.ones(()), np.zeros(())
    if op_type == "Add":
        return Affine(one, constant)
    if op_type == "Mul":
        return Affine(constant, zero)
    if op_type == "Sub":
        return Affine(-one, constant) if constant_first else Affine(one, -constant)
    if constant_first:
        return "divides by the activation"
    return "divides by zero" if not np.all(constant) else Affine(1.0 / constant, zero)


def _read_batch_normalization(node: ir.Node, channels: Channels) -> Affine | str:
    training = node.attributes.get("training_mode")
    if (training is not None and training.as_int()) or any(v.name for v in node.outputs[1:]):
        return "BatchNormalization in training mode"
    if channels.axis != 1:
        return "BatchNormalization over another axis"
    parameters = [constant_array(v) for v in node.inputs[1:5]]
    gamma, beta, mean, variance = (None if p is None else p.astype(np.float64) for p in parameters)
    if gamma is None or beta is None or mean is None or variance is None:
        return "operand is not constant"
    if gamma.shape != (channels.count,):
        return "BatchNormalization over another number of channels"
    epsilon = node.attributes.get("epsilon")
    return batch_normalization(gamma, beta, mean, variance, 1e-5 if epsilon is None else epsilon.as_float())

"""Which operators commute with Transpose, and what they become."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import onnx_ir as ir

from tamis.passes.layout import turned_axes as axes
from tamis.passes.layout import turned_sizes as sizes
from tamis.passes.layout.permutation import Perm, rank_of
from tamis.passes.layout.turned import Place, Rank, Turned, broadcast, channelwise, elementwise

OPERATORS: dict[str, Callable[[Place], Turned | str]] = {
    **dict.fromkeys(
        [
            "Abs",
            "Acos",
            "Acosh",
            "Asin",
            "Asinh",
            "Atan",
            "Atanh",
            "BitwiseNot",
            "Cast",
            "Ceil",
            "Celu",
            "Clip",
            "Cos",
            "Cosh",
            "Elu",
            "Erf",
            "Exp",
            "Floor",
            "Gelu",
            "HardSigmoid",
            "HardSwish",
            "Identity",
            "IsInf",
            "IsNaN",
            "LeakyRelu",
            "Log",
            "Mish",
            "Neg",
            "Not",
            "Reciprocal",
            "Relu",
            "Round",
            "Selu",
            "Shrink",
            "Sigmoid",
            "Sign",
            "Sin",
            "Sinh",
            "Softplus",
            "Softsign",
            "Sqrt",
            "Tan",
            "Tanh",
            "ThresholdedRelu",
        ],
        elementwise,
    ),
    **dict.fromkeys(
        [
            "Add",
            "And",
            "BitShift",
            "BitwiseAnd",
            "BitwiseOr",
            "BitwiseXor",
            "Div",
            "Equal",
            "Greater",
            "GreaterOrEqual",
            "Less",
            "LessOrEqual",
            "Max",
            "Mean",
            "Min",
            "Mod",
            "Mul",
            "Or",
            "PRelu",
            "Pow",
            "Sub",
            "Sum",
            "Where",
            "Xor",
        ],
        broadcast,
    ),
    **dict.fromkeys(
        [
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "ReduceSumSquare",
        ],
        axes.reduction,
    ),
    **dict.fromkeys(
        ["BatchNormalization", "GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization"],
        channelwise,
    ),
    **dict.fromkeys(["Hardmax", "LogSoftmax", "Softmax"], axes.softmax),
    **dict.fromkeys(["LayerNormalization", "RMSNormalization"], axes.last_axis),
    **dict.fromkeys(["ArgMax", "ArgMin"], axes.arg_extreme),
    **dict.fromkeys(["DequantizeLinear", "QuantizeLinear"], axes.quantization),
    **dict.fromkeys(["Resize", "Upsample"], sizes.resize),
    "Concat": axes.concat,
    "Expand": sizes.expand,
    "Gather": axes.gather,
    "LpNormalization": partial(axes.along_axis, -1),
    "Pad": sizes.pad,
    "Reshape": sizes.reshape,
    "Slice": axes.slice_,
    "Split": partial(axes.along_axis, 0),
    "Squeeze": axes.squeeze,
    "Tile": sizes.tile,
    "Unsqueeze": axes.unsqueeze,
}
"""Operator of the standard domain -> how it is turned."""


def turn(node: ir.Node, index: int, perm: Perm, opset: int, rank: Rank = rank_of) -> Turned | str:
    """What ``node`` becomes if its input ``index`` is not transposed by ``perm`` any more, or why it cannot.

    Args:
        node: The node; not one of a function of the model.
        index: Of the input.
        perm: The order that leads from the new input to the old one.
        opset: Of the standard operators.
        rank: Number of axes of values.
    """
    rule = OPERATORS.get(node.op_type) if node.domain == "" else None
    if rule is None:
        return f"stops at {node.op_type}"
    if rank(node.inputs[index]) != len(perm):
        return f"{node.op_type}: an operand has an unknown number of axes"
    turned = rule(Place(node, perm, opset, rank))
    if isinstance(turned, str):
        return f"{node.op_type}: {turned}"
    return turned if turned.inputs[index] == perm else f"stops at {node.op_type}, which reads it as a parameter"

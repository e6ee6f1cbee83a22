"""Operators that compute each element by itself: axes of equal size go together, an axis of size 1 is free.

Whether the result is zero where the operands are decides whether products without a weight may be pruned.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis import Axis, Role, Slot, Tensor, operand
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule

# fmt: off
ZERO_PRESERVING = (
    "Abs", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "CastLike", "Ceil", "Celu", "Dropout", "Elu",
    "Erf", "Floor", "Gelu", "HardSwish", "Identity", "LeakyRelu", "Mish", "Neg", "Relu", "Round", "Selu", "Shrink",
    "Sign", "Sin", "Sinh", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)
SHIFTING = (
    "Acos", "Acosh", "Cos", "Cosh", "Exp", "HardSigmoid", "IsInf", "IsNaN", "Log", "Not", "Reciprocal", "Sigmoid",
    "Softplus",
)
SUMS = ("Add", "Sub", "Sum", "Mean")
PRODUCTS = ("Mul", "PRelu", "And")
OTHERS = (
    "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Max", "Min", "Mod", "Or", "Pow", "Where", "Xor",
)
# fmt: on
MICROSOFT = ("Gelu", "QuickGelu", "FastGelu", "BiasGelu")
"""Activations of com.microsoft, their second input a bias."""


def _couple(node: ir.Node, ties: Ties) -> None:
    """Broadcasting: axes are counted from the back."""
    y = node.outputs[0]
    shape = ties.shape(y)
    tensors = [t for t in (operand(node, i) for i in range(len(node.inputs))) if t is not None]
    if shape is None or any(ties.rank(t) is None for t in tensors):
        ties.freeze_node(node, "a tensor of unknown rank")
        return
    for extra in node.outputs[1:]:
        ties.freeze_tensor(extra, f"an extra output of {node.op_type}")
    adds = node.op_type in SUMS
    for tensor in tensors:
        sizes = ties.shape(tensor) or ()
        first = len(shape) - len(sizes)
        for i, size in enumerate(sizes):
            if size == 1 and shape[first + i] != 1:
                continue
            ties.tie(Axis(tensor, i), Axis(y, first + i))
            if isinstance(tensor, Slot):
                ties.role(Axis(tensor, i), Role.OFFSET if adds else Role.SCALE)
        if adds:  # what is broadcast along an axis is added to its channels whether they are zero or not
            broadcast = [i for i in range(len(shape)) if i < first or (sizes[i - first] == 1 and shape[i] != 1)]
            ties.shifted.update(Axis(y, i) for i in broadcast)
    if not (adds or _preserves_zero(node)):
        ties.shift(y)
    ties.shifted.update(Axis(y, i) for i in range(len(shape)) if not _is_computed(i - len(shape), tensors, shape, ties))


def _is_computed(axis: int, tensors: Sequence[Tensor], shape: Sequence[int | None], ties: Ties) -> bool:
    """Whether a value, and not constants alone, has as many positions as the result along an axis counted from the back."""
    found = (ties.shape(t) or () for t in tensors if not isinstance(t, Slot))
    return any(len(sizes) >= -axis and (sizes[axis] != 1 or shape[axis] == 1) for sizes in found)


def _preserves_zero(node: ir.Node) -> bool:
    if node.op_type == "Clip":
        low, high = (constant_array(node.inputs[i]) if i < len(node.inputs) else None for i in (1, 2))
        if node.attributes.keys() & {"min", "max"}:
            return node.attributes.get_float("min", -1.0) <= 0 <= node.attributes.get_float("max", 1.0)
        computed = any(v is not None and constant_array(v) is None for v in node.inputs[1:])
        return not computed and (low is None or float(low.max()) <= 0) and (high is None or float(high.min()) >= 0)
    if node.op_type == "Div":
        return isinstance(operand(node, 1), Slot)
    return node.op_type in ZERO_PRESERVING or node.op_type in PRODUCTS


def _couple_with_bias(node: ir.Node, ties: Ties) -> None:
    """An activation of com.microsoft."""
    _couple(node, ties)
    bias = operand(node, 1)
    if isinstance(bias, Slot):
        ties.role(Axis(bias, 0), Role.OFFSET)


RULES = {name: Rule(_couple) for name in (*ZERO_PRESERVING, *SHIFTING, *SUMS, *PRODUCTS, *OTHERS, "Clip")}
RULES |= {f"com.microsoft::{name}": Rule(_couple_with_bias) for name in MICROSOFT}

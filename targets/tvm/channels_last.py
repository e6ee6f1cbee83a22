"""Make ready for channels-last convolutions, so that TVM's layout conversion finds nothing in its way.

TVM carries a layout through element-wise operators only if both operands have the rank of the image. Around any other
operator it puts two transpositions, which cost more than the convolution gains. Runs in the compiler process.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tamis.targets.tvm.fold_with_numpy import fold_with_numpy, rewritten

RANK = 4
ELEMENTWISE = frozenset(
    f"relax.{name}" for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power")
)
COMMUTATIVE = frozenset(f"relax.{name}" for name in ("add", "multiply", "maximum", "minimum"))
"""TVM takes the layout of the first operand, which therefore must not be a constant."""
LAYOUTS = {
    "relax.nn.conv2d": ["NHWC", "HWIO"],
    "relax.nn.conv2d_transpose": ["NCHW", "IOHW"],
}
"""Transposed convolutions stay as they are: TVM cannot lower them with channels last."""


COMPARISONS = {"T_maximum": relax.op.maximum, "T_minimum": relax.op.minimum}
"""Operators by the name of the block that TVM's operator library computes them in."""


@mutator
class _Raise(PyExprMutator):  # type: ignore[misc]
    """Constants get the rank of the image that they are combined with, and a clip becomes two comparisons."""

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        name = getattr(call.op, "name", "")
        if name in ELEMENTWISE:
            first, second = call.args
            if name in COMMUTATIVE and self._is_constant(first):
                first, second = second, first
            return relax.Call(call.op, [self._raised(first, second), self._raised(second, first)], call.attrs)
        if name == "relax.call_tir":
            return self._compared(call)
        if name == "relax.clip" and _rank(call.args[0]) == RANK:
            return self._clip(*call.args)
        return call

    def _compared(self, call: relax.Call) -> relax.Expr:
        """A bound of a clip, which the importer made a kernel of at once, as the operator that it computes."""
        callee, operands = call.args[:2]
        if len(operands) != 2 or _rank(operands[0]) != RANK:
            return call
        comparison = COMPARISONS.get(_only_block(self.builder_.get()[callee]) or "")
        return call if comparison is None else comparison(operands[0], self._raised(operands[1], operands[0]))

    def _raised(self, value: relax.Expr, other: relax.Expr) -> relax.Expr:
        """``value``, with leading dimensions of 1 if it is a constant of lower rank than the image ``other``."""
        if not self._is_constant(value) or _rank(other) != RANK or _rank(value) >= RANK:
            return value
        array = self._definition(value).value.numpy()
        return relax.const(array.reshape((1,) * (RANK - array.ndim) + array.shape), str(array.dtype))

    def _is_constant(self, value: relax.Expr) -> bool:
        return isinstance(self._definition(value), tvm.ir.GenericConst)

    def _definition(self, value: relax.Expr) -> Any:
        return self.lookup_binding(value) if isinstance(value, relax.Var) else value

    def _clip(self, image: relax.Expr, low: Any, high: Any) -> relax.Expr:
        dtype = str(image.ty.dtype)
        bounds = [float(_number(b)) for b in (low, high)]
        raised = image
        if math.isfinite(bounds[0]):
            raised = self.builder_.emit(relax.op.maximum(raised, _constant(bounds[0], dtype)))
        if math.isfinite(bounds[1]):
            raised = self.builder_.emit(relax.op.minimum(raised, _constant(bounds[1], dtype)))
        return raised


def channels_last(module: tvm.IRModule) -> tvm.IRModule:
    """Convolutions with channels last; transpositions only where the layout really changes."""
    module = relax.transform.CanonicalizeBindings()(rewritten(_Raise(module), module))
    module = relax.transform.ConvertLayout(LAYOUTS)(module)
    return fold_with_numpy(module)


ChannelsLast = tvm.transform.module_pass(
    lambda module, context: channels_last(module), opt_level=0, name="ChannelsLast"
)


def _only_block(function: tvm.tirx.PrimFunc) -> str | None:
    """The name of a kernel's block, if it has only one."""
    names: list[str] = []
    tvm_ffi.structural_walk(function.body, (tvm.s_tir.SBlock, lambda b: names.append(str(b.name_hint))))
    inner = [n for n in names if n != "root"]
    return inner[0] if len(inner) == 1 else None


def _rank(value: relax.Expr) -> int:
    return int(getattr(value.ty, "ndim", -1))


def _constant(value: float, dtype: str) -> relax.Expr:
    return relax.const(np.full((1,) * RANK, value, dtype), dtype)


def _number(value: Any) -> float:
    inner = getattr(value, "value", value)
    return float(getattr(inner, "value", inner))

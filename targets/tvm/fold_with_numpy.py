"""Fold simple operators on constants with NumPy: TVM's own folding compiles a kernel for each. In the compiler process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

Array = np.ndarray[Any, np.dtype[Any]]


def _reshape(call: relax.Call, array: Array) -> Array | None:
    sizes = getattr(call.args[1], "values", None)
    if sizes is None or not all(isinstance(n, tvm.tirx.IntImm) for n in sizes):
        return None
    return array.reshape([int(n) for n in sizes])


def _permute(call: relax.Call, array: Array) -> Array:
    axes = call.attrs.axes
    return np.ascontiguousarray(array.transpose(None if axes is None else [int(a) for a in axes]))


FOLDED: dict[str, Callable[..., Array | None]] = {
    "relax.reshape": _reshape,
    "relax.permute_dims": _permute,
    "relax.isnan": lambda call, array: np.isnan(array),
    "relax.where": lambda call, condition, yes, no: np.asarray(np.where(condition, yes, no), yes.dtype),
}
"""Operator -> what makes its result of the call and its constant operands; None if it cannot."""


@mutator
class _Folder(PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        fold = FOLDED.get(getattr(call.op, "name", ""))
        if fold is None:
            return call
        operands = [constant_array(self, a) for a in call.args if not isinstance(a, relax.ShapeExpr)]
        if any(array is None for array in operands):
            return call
        result = fold(call, *operands)
        return call if result is None else relax.const(result, str(result.dtype))


def constant_array(rewriter: PyExprMutator, value: relax.Expr) -> Array | None:
    """The elements behind a value that ``rewriter`` meets; None if it is not constant."""
    bound = rewriter.lookup_binding(value) if isinstance(value, relax.Var) else value
    if not isinstance(bound, tvm.ir.GenericConst):
        return None
    array: Array = bound.value.numpy()
    return array


def rewritten(rewriter: PyExprMutator, module: tvm.IRModule) -> tvm.IRModule:
    """The module with all its Relax functions seen by ``rewriter``, which was made for it, and without dead code."""
    for variable, function in module.functions_items():
        if isinstance(function, relax.Function):
            rewriter.builder_.update_func(variable, rewriter.visit_expr(function))
    return relax.transform.DeadCodeElimination()(rewriter.builder_.get())


def fold_with_numpy(module: tvm.IRModule) -> tvm.IRModule:
    """The module with ``FOLDED`` operators on constants computed."""
    return rewritten(_Folder(module), module)


FoldWithNumpy = tvm.transform.module_pass(
    lambda module, context: fold_with_numpy(module), opt_level=0, name="FoldWithNumpy"
)

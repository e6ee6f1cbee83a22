"""Weights with columns of zeros, so that the columns of a product fill vector registers up. In the compiler process.

A convolution to 24 channels computes with half of a register of 16 lanes, or with one of 8. With 32 columns, a quarter of
the work is for nothing and the rest is done at full width. One to a single channel has no vector at all if channels are
last. The columns beyond are summed and never stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, topi
from tvm.relax.expr_functor import PyExprMutator, mutator

from tamis.targets.tvm.fold_with_numpy import constant_array, rewritten
from tamis.targets.tvm.tuning.vector_unit import VectorUnit, vector_unit

NARROWEST = 4
"""Lanes of the smallest vector that is filled up."""


@mutator
class _Filler(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule, unit: VectorUnit) -> None:
        super().__init__(module)
        self._unit = unit

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        name = getattr(call.op, "name", "")
        if name not in ("relax.nn.conv2d", "relax.matmul"):
            return call
        sizes = sizes_of(call.args[1])
        product = None if sizes is None or sizes_of(call.args[0]) is None else _product_of(name, call.attrs, sizes)
        if sizes is None or product is None or str(call.args[1].ty.dtype) != "float32":
            return call
        real = sizes[-1]
        columns = filled_up(real, self._unit.lanes("float32"))
        if columns == real or (weights := constant_array(self, call.args[1])) is None:
            return call
        wide = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, columns - real)])

        def compute(x: te.Tensor, w: te.Tensor) -> te.Tensor:
            total = product(x, w)
            return te.compute((*total.shape[:-1], real), lambda *index: total[index], "real_columns")

        hint = name.rpartition(".")[2]
        return self.builder_.call_te(compute, call.args[0], relax.const(wide), primfunc_name_hint=hint)


def filled_up(columns: int, lanes: int) -> int:
    """As many columns as fill vectors of ``lanes`` up, or one vector of fewer lanes."""
    if columns > lanes:
        return math.ceil(columns / lanes) * lanes
    return min(lanes, max(NARROWEST, 1 << (columns - 1).bit_length()))


def sizes_of(value: relax.Expr) -> tuple[int, ...] | None:
    """The shape of a tensor; None if it is not known."""
    sizes = getattr(getattr(value.ty, "shape", None), "values", (None,))
    return tuple(map(int, sizes)) if all(isinstance(n, tvm.tirx.IntImm) for n in sizes) else None


def _product_of(name: str, attrs: Any, weights: tuple[int, ...]) -> Callable[..., te.Tensor] | None:
    """What computes such a product; None if it has no columns of its own: a matrix times a vector, groups, channels first."""
    if name == "relax.matmul":
        return _product if len(weights) == 2 and weights[1] > 1 else None
    last = str(attrs.data_layout) == "NHWC" and str(attrs.kernel_layout) == "HWIO"
    return partial(_convolution, attrs=attrs) if last and int(attrs.groups) == 1 else None


def _product(x: te.Tensor, weights: te.Tensor) -> te.Tensor:
    step = te.reduce_axis((0, weights.shape[0]), "k")
    shape = (*x.shape[:-1], weights.shape[1])
    return te.compute(shape, lambda *i: te.sum(x[(*i[:-1], step)] * weights[step, i[-1]], step), "matmul")


def _convolution(x: te.Tensor, weights: te.Tensor, attrs: Any) -> te.Tensor:
    return topi.nn.conv(
        x,
        weights,
        stride=list(attrs.strides),
        padding=list(attrs.padding),
        dilation=list(attrs.dilation),
        groups=1,
        data_layout="NHWC",
        kernel_layout="HWIO",
        out_dtype="float32",
    )


def whole_vectors(module: tvm.IRModule) -> tvm.IRModule:
    """The module with products of constant weights computed in whole vectors of the current target, if that is a CPU."""
    target = tvm.target.Target.current()
    return rewritten(_Filler(module, vector_unit(target)), module) if str(target.kind.name) == "llvm" else module


WholeVectors = tvm.transform.module_pass(
    lambda module, context: whole_vectors(module), opt_level=0, name="WholeVectors"
)

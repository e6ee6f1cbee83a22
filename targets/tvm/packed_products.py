"""Products of centred 8-bit integers, written for the processor's dot-product instruction. In the compiler process.

::

    conv2d(int16(x) - x_zero, w)  ->  sum(x' * w') - x_zero' * sum(w)

``w'`` holds the weights in the order in which the instruction reads them: blocks of a vector's lanes, four products in each.
``x'`` is ``x``; or a copy with a border of zero points, with channels up to a multiple of four, or with the sign that the
instruction wants. All is known when the model is compiled but ``x``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, te
from tvm.relax.expr_functor import PyExprMutator, mutator

from tamis.targets.tvm.fold_with_numpy import Array, constant_array, rewritten
from tamis.targets.tvm.tuning.dot_unit import COPY, DEPTH, MARK, DotUnit, dot_unit
from tamis.targets.tvm.tuning.tasks import call_counts

FLIP = 128
"""Added to 8 bits, it turns a signed integer into an unsigned one that is larger by so much, and back."""


@mutator
class _Packer(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule, unit: DotUnit) -> None:
        super().__init__(module)
        self._unit = unit

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        name = getattr(call.op, "name", "")
        if name not in ("relax.nn.conv2d", "relax.matmul") or str(call.ty.dtype) != "int32":
            return call
        found = self._centred(call.args[0])
        weights = constant_array(self, call.args[1])
        if found is None or weights is None or str(weights.dtype) != "int16":
            return call
        x, zero = found
        if name == "relax.matmul":
            return _call(self.builder_, x, zero, weights[None, None], None, self._unit)
        if str(call.attrs.data_layout) != "NHWC" or str(call.attrs.kernel_layout) != "HWIO":
            return call
        return _call(self.builder_, x, zero, weights, call.attrs, self._unit)

    def _centred(self, value: relax.Expr) -> tuple[relax.Expr, int] | None:
        """The 8-bit integers of ``int16(x) - zero``, transposed or not, and the zero point."""
        axes: list[int] | None = None
        zero = 0
        while True:
            call = self.lookup_binding(value) if isinstance(value, relax.Var) else value
            name = getattr(getattr(call, "op", None), "name", "")
            if name == "relax.permute_dims" and axes is None:
                axes = [int(a) for a in call.attrs.axes]
            elif name == "relax.subtract" and (constant := constant_array(self, call.args[1])) is not None:
                zero += int(constant.reshape(-1)[0])
            elif name == "relax.astype":
                x = call.args[0]
                return (x if axes is None else self.builder_.emit(relax.op.permute_dims(x, axes))), zero
            else:
                return None
            value = call.args[0]


def packed_products(module: tvm.IRModule) -> tvm.IRModule:
    """The module with integer products as kernels for the current target's instruction, if it has one."""
    unit = dot_unit(tvm.target.Target.current())
    return module if unit is None else rewritten(_Packer(module, unit), module)


PackedProducts = tvm.transform.module_pass(
    lambda module, context: packed_products(module), opt_level=0, name="PackedProducts"
)


def count_products(module: tvm.IRModule) -> int:
    """How many calls of such kernels there are, once kernels are fused."""
    calls = call_counts(module)
    total = 0
    for variable, function in module.functions_items():
        if isinstance(function, tvm.tirx.PrimFunc):
            marks: list[bool] = []
            tvm_ffi.structural_walk(
                function.body, (tvm.s_tir.SBlock, lambda b, m=marks: m.append(MARK in b.annotations))
            )
            total += any(marks) * calls.get(str(variable.name_hint), 0)
    return total


def pack(weights: Array, lanes: int) -> Array:
    """Weights ``(kh, kw, I, O)`` as ``(O / lanes, kh, kw, I / 4, lanes, 4)`` of int8, with zeros for missing inputs."""
    height, width, inputs, outputs = weights.shape
    depth = math.ceil(inputs / DEPTH)
    full = np.pad(weights.astype(np.int8), ((0, 0), (0, 0), (0, depth * DEPTH - inputs), (0, 0)))
    blocks = full.reshape(height, width, depth, DEPTH, outputs // lanes, lanes)
    return np.ascontiguousarray(blocks.transpose(4, 0, 1, 2, 5, 3))


def _call(
    builder: relax.BlockBuilder, x: relax.Expr, zero: int, weights: Array, attrs: Any, unit: DotUnit
) -> relax.Expr:
    lanes = unit.width(weights.shape[-1])
    assert lanes is not None
    signs = {"int8": -FLIP, "uint8": FLIP}
    zero += 0 if str(x.ty.dtype) == unit.data else signs[unit.data]
    correction = -zero * weights.astype(np.int64).sum(axis=(0, 1, 2))

    def compute(data: te.Tensor, packed: te.Tensor, offset: te.Tensor) -> te.Tensor:
        return _product(data, packed, offset, zero, weights.shape[2], attrs, unit)

    return builder.call_te(
        compute,
        x,
        relax.const(pack(weights, lanes)),
        relax.const(correction.astype(np.int32)),
        primfunc_name_hint="integer_matmul" if attrs is None else "integer_conv2d",
    )


def _product(
    x: te.Tensor, packed: te.Tensor, offset: te.Tensor, zero: int, inputs: int, attrs: Any, unit: DotUnit
) -> te.Tensor:
    """The kernel; ``attrs`` are those of a convolution, None for a matrix product."""
    blocks, height, width, depth, lanes, _ = (int(n) for n in packed.shape)
    strides, dilation = ((1, 1), (1, 1)) if attrs is None else (_ints(attrs.strides), _ints(attrs.dilation))
    padding = (0, 0, 0, 0) if attrs is None else _ints(attrs.padding)
    x = _copy(x, padding, zero, depth * DEPTH, unit) if _needs_copy(x, padding, inputs, unit) else x
    window = [te.reduce_axis((0, n), name) for n, name in ((height, "kh"), (width, "kw"))]
    deep, inner = te.reduce_axis((0, depth), "k"), te.reduce_axis((0, DEPTH), "i")
    *lead, _ = (int(n) for n in x.shape)
    if attrs is not None:
        sizes = [(lead[1 + a] - dilation[a] * (n - 1) - 1) // strides[a] + 1 for a, n in enumerate((height, width))]
        lead = [lead[0], *sizes]

    def terms(*index: Any) -> Any:
        *place, column = index
        if attrs is not None:
            place[1:] = [p * s + k * d for p, s, k, d in zip(place[1:], strides, window, dilation, strict=True)]
        weight = packed[column // lanes, window[0], window[1], deep, column % lanes, inner]
        product = x[(*place, deep * DEPTH + inner)].astype("int32") * weight.astype("int32")
        return te.sum(product, [*window, deep, inner])

    shape = (*lead, blocks * lanes)
    total = te.compute(shape, terms, "dot", attrs={MARK: unit.prefix})
    return te.compute(shape, lambda *index: total[index] + offset[index[-1]], "corrected")


def _needs_copy(x: te.Tensor, padding: Sequence[int], inputs: int, unit: DotUnit) -> bool:
    return any(padding) or inputs % DEPTH != 0 or str(x.dtype) != unit.data


def _copy(x: te.Tensor, padding: Sequence[int], zero: int, channels: int, unit: DotUnit) -> te.Tensor:
    """``x`` as the instruction wants it: its element type, bordered, with channels up to a multiple of four."""
    *lead, inputs = (int(n) for n in x.shape)
    top, left, bottom, right = padding
    border = [(0, 0)] * (len(lead) - 2) + [(top, bottom), (left, right)] if any(padding) else [(0, 0)] * len(lead)

    def element(*index: Any) -> Any:
        inside = [index[a] >= low for a, (low, _) in enumerate(border) if low]
        inside += [index[a] < low + lead[a] for a, (low, high) in enumerate(border) if high]
        inside += [index[-1] < inputs] if channels > inputs else []
        source = x[(*(i - low for i, (low, _) in zip(index[:-1], border, strict=True)), index[-1])]
        if str(x.dtype) != unit.data:
            source = (source.astype("uint8") + tvm.tirx.const(FLIP, "uint8")).astype(unit.data)
        if not inside:
            return source
        return tvm.tirx.if_then_else(tvm.tirx.all(*inside), source, tvm.tirx.const(zero, unit.data))

    shape = (*(n + low + high for n, (low, high) in zip(lead, border, strict=True)), channels)
    return te.compute(shape, element, "copied", attrs={COPY: 1})


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in values)

"""Compute quantized products in integers, where the processor has an instruction for them. In the compiler process.

::

    conv2d(dequantize(x), dequantize(w))  ->  conv2d(int16(x) - x_zero, int16(w) - w_zero) * (x_scale * w_scale)
    matmul(dequantize(x), dequantize(w))  ->  the same
    dequantize(x)                         ->  (float(x) - x_zero) * x_scale
    quantize(x)                           ->  clip(round(x / x_scale) + x_zero)

The product of 16-bit integers is exact, whatever the target makes of it; ``packed_products`` computes it from 8-bit ones
once the layout of images is settled. The other forms are those that a layout passes through.

*Refuses*: weights that are not constant, or not 8-bit integers once centred; grouped convolutions; sizes that are not
known; channels that fill no vector; images of fewer than ``MIN_CHANNELS`` channels; zero points or scales of activations for
each channel. All of these are computed in float, as TVM does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tamis.targets.tvm.fold_with_numpy import rewritten
from tamis.targets.tvm.tuning.dot_unit import DotUnit, dot_unit

Array = np.ndarray[Any, np.dtype[Any]]

BYTES = ("int8", "uint8")
MIN_CHANNELS = 3
"""Fewer leave most of the instruction's four products idle."""
MAX_TERMS = 1 << 15
"""So many products of a uint8 and an int8 fit 32 bits, together with the correction for a zero point."""


@dataclass(frozen=True)
class Quantized:
    """A value and what its integers stand for.

    Args:
        value: The integers.
        scale: One, or one for each index along ``axis``.
        zero: Alike.
        axis: Of the scales.
    """

    value: relax.Expr
    scale: Array
    zero: Array
    axis: int


@mutator
class _Integers(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule, unit: DotUnit | None, images: bool) -> None:
        super().__init__(module)
        self._unit, self._images = unit, images
        self._bound: Mapping[Any, Any] = {}

    def visit_function_(self, function: relax.Function) -> relax.Expr:
        self._bound = relax.analysis.get_var2val(function)
        return super().visit_function_(function)

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        name = getattr(call.op, "name", "")
        made: relax.Expr | None = None
        if name == "relax.nn.conv2d" and self._unit is not None and self._images:
            made = self._conv(call, self._unit)
        elif name == "relax.matmul" and self._unit is not None:
            made = self._matmul(call, self._unit)
        elif name == "relax.dequantize" and (given := self._quantized(call)) is not None and given.scale.ndim == 0:
            made = None if self._array(given.value) is not None else self._to_float(given)
        elif name == "relax.quantize" and (given := self._quantized(call)) is not None and given.scale.ndim == 0:
            made = self._to_integers(given, str(call.ty.dtype))
        return self.visit_expr_post_order(call) if made is None else made

    def _conv(self, call: relax.Call, unit: DotUnit) -> relax.Expr | None:
        x, found = self._dequantized(call.args[0]), self._weights(call.args[1])
        if x is None or found is None or x.scale.ndim:
            return None
        (w, scale, axis), attrs = found, call.attrs
        channels, terms = w.shape[1], int(np.prod(w.shape[1:]))
        if int(attrs.groups) != 1 or str(attrs.data_layout) != "NCHW" or str(attrs.kernel_layout) != "OIHW":
            return None
        if (scale.ndim and axis != 0) or not _fits(x, call, terms, w.shape[0], unit) or channels < MIN_CHANNELS:
            return None
        total = self.builder_.emit(
            relax.op.nn.conv2d(
                self._centred(x), relax.const(w), attrs.strides, attrs.padding, attrs.dilation, out_dtype="int32"
            )
        )
        return self._scaled(total, (x.scale * scale).reshape(1, -1, 1, 1))

    def _matmul(self, call: relax.Call, unit: DotUnit) -> relax.Expr | None:
        x, found = self._dequantized(call.args[0]), self._weights(call.args[1])
        if x is None or found is None or x.scale.ndim:
            return None
        w, scale, axis = found
        if (
            w.ndim != 2
            or len(call.ty.shape) < 2
            or (scale.ndim and axis != 1)
            or not _fits(x, call, w.shape[0], w.shape[1], unit)
        ):
            return None
        total = self.builder_.emit(relax.op.matmul(self._centred(x), relax.const(w), out_dtype="int32"))
        return self._scaled(total, x.scale * scale)

    def _dequantized(self, value: relax.Expr) -> Quantized | None:
        """What ``value`` is dequantized from, in the function as it is given."""
        call = self._definition(value)
        if not isinstance(call, relax.Call) or getattr(call.op, "name", "") != "relax.dequantize":
            return None
        return self._quantized(call)

    def _definition(self, value: relax.Expr) -> Any:
        return self._bound.get(value, value) if isinstance(value, relax.Var) else value

    def _quantized(self, call: relax.Call) -> Quantized | None:
        """The operands of a (de)quantization between 8-bit integers and float32."""
        value, scale, zero = call.args[0], self._array(call.args[1]), self._array(call.args[2])
        if scale is None or zero is None or sorted(_dtypes(call)) not in (["float32", name] for name in BYTES):
            return None
        if scale.size == 1:
            scale, zero = scale.reshape(()), zero.reshape(())
        return Quantized(value, scale, zero, int(call.attrs.axis))

    def _weights(self, value: relax.Expr) -> tuple[Array, Array, int] | None:
        """Centred weights as int16, their scales, and the axis of these."""
        call = self._definition(value)
        axes: list[int] | None = None
        if isinstance(call, relax.Call) and getattr(call.op, "name", "") == "relax.permute_dims":
            axes = None if call.attrs.axes is None else [int(a) for a in call.attrs.axes]
            axes = axes or list(range(int(call.ty.ndim)))[::-1]
            call = self._definition(call.args[0])
        given = self._dequantized(call)
        array = None if given is None else self._array(given.value)
        if given is None or array is None:
            return None
        axis = given.axis % array.ndim
        zero = given.zero.reshape([-1 if a == axis and given.zero.ndim else 1 for a in range(array.ndim)])
        centred = array.astype(np.int16) - zero.astype(np.int16)
        if centred.min(initial=0) < -128 or centred.max(initial=0) > 127:
            return None
        if axes is not None:
            centred, axis = centred.transpose(axes), axes.index(axis)
        return np.ascontiguousarray(centred), given.scale, axis

    def _array(self, value: relax.Expr) -> Array | None:
        bound = self._definition(value)
        if not isinstance(bound, tvm.ir.GenericConst):
            return None
        array: Array = bound.value.numpy()
        return array

    def _centred(self, x: Quantized) -> relax.Expr:
        wide = self.builder_.emit(relax.op.astype(self.visit_expr(x.value), "int16"))
        return self.builder_.emit(relax.op.subtract(wide, relax.const(x.zero.astype(np.int16))))

    def _scaled(self, total: relax.Expr, scale: Array) -> relax.Expr:
        floats = self.builder_.emit(relax.op.astype(total, "float32"))
        return relax.op.multiply(floats, relax.const(scale.astype(np.float32)))

    def _to_float(self, x: Quantized) -> relax.Expr:
        floats = self.builder_.emit(relax.op.astype(self.visit_expr(x.value), "float32"))
        centred = self.builder_.emit(relax.op.subtract(floats, relax.const(x.zero.astype(np.float32))))
        return relax.op.multiply(centred, relax.const(x.scale))

    def _to_integers(self, x: Quantized, dtype: str) -> relax.Expr:
        limits = np.iinfo(dtype)
        scaled = self.builder_.emit(relax.op.divide(self.visit_expr(x.value), relax.const(x.scale)))
        steps = self.builder_.emit(relax.op.round(scaled))
        shifted = self.builder_.emit(relax.op.add(steps, relax.const(x.zero.astype(np.float32))))
        clipped = self.builder_.emit(relax.op.clip(shifted, float(limits.min), float(limits.max)))
        return relax.op.astype(clipped, dtype)


def integer_products(module: tvm.IRModule, images: bool) -> tvm.IRModule:
    """The module with the products in integers that the current target is good at.

    Args:
        images: Whether convolutions will have channels last: then they, too, can use the instruction.
    """
    return rewritten(_Integers(module, dot_unit(tvm.target.Target.current()), images), module)


IntegerProducts = {
    images: tvm.transform.module_pass(
        lambda module, context, images=images: integer_products(module, images), opt_level=0, name="IntegerProducts"
    )
    for images in (False, True)
}


def _fits(x: Quantized, call: relax.Call, terms: int, columns: int, unit: DotUnit) -> bool:
    """Whether the sums fit 32 bits, the columns fill vectors, and all sizes are known."""
    known = all(isinstance(n, tvm.tirx.IntImm) for e in (x.value, call) for n in e.ty.shape.values)
    return known and terms <= MAX_TERMS and unit.width(columns) is not None


def _dtypes(call: relax.Call) -> list[str]:
    return [str(call.args[0].ty.dtype), str(call.ty.dtype)]

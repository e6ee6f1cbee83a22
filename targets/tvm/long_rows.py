"""Pointwise convolutions of small images as those of one long row. In the compiler process.

A register tile takes some pixels of a row at a time. Rows of 7 or 14 pixels have no tile that fills 16 registers well, 49 or
196 pixels in one row have:

    x: (1, 7, 7, C)  ->  Conv 1x1  ->  add, clip, ...
    x: (1, 7, 7, C)  ->  reshape (1, 1, 49, C)  ->  Conv 1x1  ->  add, clip, ...  ->  reshape (1, 7, 7, C)

What works element by element follows in the long row, so that it is still computed in the tile; a reshape is another view
of the same memory.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tamis.targets.tvm.fold_with_numpy import rewritten
from tamis.targets.tvm.tuning.register_tiles import tiles
from tamis.targets.tvm.tuning.vector_unit import VectorUnit, vector_unit
from tamis.targets.tvm.whole_vectors import filled_up, sizes_of

IMAGE = 4
"""Dimensions: images, rows, pixels, channels."""
GAIN = 1.02
"""What the better tile must gain, by estimate."""
BY_ELEMENT = frozenset(
    f"relax.{name}"
    for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "sigmoid", "tanh", "nn.relu", "nn.silu")
)


@mutator
class _Lengthener(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule, unit: VectorUnit) -> None:
        super().__init__(module)
        self._unit = unit

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.builder_.normalize(self.visit_expr_post_order(call))
        name = getattr(call.op, "name", "")
        if name == "relax.nn.conv2d" and self._gains(call):
            return self._lengthened(call, [self._long(call.args[0]), call.args[1]])
        if name in BY_ELEMENT and any(self._row_behind(a) is not None for a in call.args):
            shape = sizes_of(call)
            if shape is not None and all(sizes_of(a) == shape or _is_spread(sizes_of(a)) for a in call.args):
                return self._lengthened(call, [self._long(a) if sizes_of(a) == shape else a for a in call.args])
        return call

    def _gains(self, call: relax.Call) -> bool:
        """Whether a convolution is pointwise, with channels last, and has a better tile in one row."""
        attrs, image, weights = call.attrs, sizes_of(call.args[0]), sizes_of(call.args[1])
        if image is None or weights is None or str(attrs.data_layout) != "NHWC" or int(attrs.groups) != 1:
            return False
        if weights[:2] != (1, 1) or any(int(n) != 1 for n in attrs.strides) or any(int(n) for n in attrs.padding):
            return False
        _, height, width, _ = image
        if str(call.ty.dtype) != "float32" or 1 in (height, width):
            return False
        short, long = (self._cycles(rows, weights[-1]) for rows in ((height, width), (height * width,)))
        return short > GAIN * long

    def _cycles(self, rows: tuple[int, ...], channels: int) -> float:
        lanes = self._unit.lanes("float32")
        found = tiles(rows, filled_up(channels, lanes), lanes, self._unit.bits, self._unit.registers, shared=True)
        return next(found).cost

    def _lengthened(self, call: relax.Call, operands: list[relax.Expr]) -> relax.Expr:
        row = self.builder_.emit(relax.Call(call.op, operands, call.attrs, call.ty_args))
        shape = sizes_of(call)
        assert shape is not None
        return relax.op.reshape(row, shape)

    def _long(self, image: relax.Expr) -> relax.Expr:
        row = self._row_behind(image)
        shape = sizes_of(image)
        assert shape is not None
        return self.builder_.emit(relax.op.reshape(image, _long_shape(shape))) if row is None else row

    def _row_behind(self, image: Any) -> relax.Expr | None:
        """The long row that an image was made of; None if it was not."""
        bound: Any = self.lookup_binding(image) if isinstance(image, relax.Var) else None
        shape = sizes_of(image)
        if getattr(getattr(bound, "op", None), "name", "") != "relax.reshape" or shape is None or len(shape) != IMAGE:
            return None
        row: relax.Expr = bound.args[0]
        return row if sizes_of(row) == _long_shape(shape) != shape else None


def _long_shape(image: tuple[int, ...]) -> tuple[int, ...]:
    count, height, width, channels = image
    return (count, 1, height * width, channels)


def _is_spread(shape: tuple[int, ...] | None) -> bool:
    """Whether an operand is the same for all pixels."""
    return shape is not None and (len(shape) < 2 or (len(shape) == IMAGE and shape[1:3] == (1, 1)))


def long_rows(module: tvm.IRModule) -> tvm.IRModule:
    """The module with small images in long rows where that makes better tiles, if the current target is a CPU."""
    if not _for_cpu():
        return module
    return rewritten(_Lengthener(module, vector_unit(tvm.target.Target.current())), module)


def views(module: tvm.IRModule) -> tvm.IRModule:
    """The module with reshapes that are no kernels, which would be scheduled and searched, if the target is a CPU."""
    if not _for_cpu():
        return module
    return relax.transform.DeadCodeElimination()(relax.transform.RewriteDataflowReshape()(module))


def _for_cpu() -> bool:
    return str(tvm.target.Target.current().kind.name) == "llvm"


Views = tvm.transform.module_pass(lambda module, context: views(module), opt_level=0, name="Views")
LongRows = tvm.transform.module_pass(lambda module, context: long_rows(module), opt_level=0, name="LongRows")

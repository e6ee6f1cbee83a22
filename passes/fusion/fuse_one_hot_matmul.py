"""Take rows of a matrix instead of multiplying one-hot vectors with it.

::

    Cast(index == [0, 1, .., D - 1]) @ W     ->  Gather([W; 0], Clip(index, -1, D))
    OneHot(index, D, [0, 1]) @ W             ->  Gather([W; 0; W], Clip(index, -D - 1, D))

An index that is out of range has a vector of zeros: it takes the row of zeros. OneHot counts from the end where an
index is negative, and so does Gather, which finds there a second ``W``, or at -1 the row of zeros.

*Refuses*: a weight that is not a constant matrix of finite numbers; values to compare with other than 0, 1, .., D - 1;
indices that are not integers, or unsigned ones of 32 bits and more; an unknown rank; OneHot with other values than 0
and 1, or along another axis; a vector that something else reads.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.pattern import Const, Match, Op
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass

INDICES = frozenset({ir.DataType.INT32, ir.DataType.INT64})
SMALL_INDICES = frozenset({ir.DataType.INT8, ir.DataType.INT16, ir.DataType.UINT8, ir.DataType.UINT16})
"""Cast to 32 bits first."""
FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16})


class Options(PassOptions):
    """Options of ``fuse-one-hot-matmul``."""


class FuseOneHotMatmul(RewritePass[Options]):
    """Make a Gather of a product of one-hot vectors and a constant matrix.

    *Match*: ``MatMul(Cast(Equal(index, range)), W)`` or ``MatMul(OneHot(index, D, [0, 1]), W)``.

    *Rewrite*: one Clip and one Gather, instead of ``D`` comparisons and ``D M`` multiplications an index.

    *Shapes*: ``index: (.., 1)`` before Equal, ``(..)`` before OneHot; ``W: (D, M)``; the result is ``(.., M)``.

    *Preserves*: bits, except that -0 may become 0 or the other way; right for every index, in range or not.

    *References*: the identity is elementary: a one-hot vector times a matrix is a row of it.
    """

    name = "fuse-one-hot-matmul"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options
    min_opset = 13
    patterns = (
        Op("MatMul", Op("Cast", Op("Equal", "index", Const("range")), name="cast"), Const("weight")),
        Op("MatMul", Op("OneHot", "index", Const("depth"), Const("values"), name="one hot"), Const("weight")),
    )

    def check(self, found: Match, model: ir.Model) -> str | None:
        index, weight = found["index"], found.array("weight")
        if weight.ndim != 2 or found["weight"].dtype not in FLOATS or not np.isfinite(weight).all():
            return "the weight is not a matrix of finite numbers"
        if index.dtype not in INDICES | SMALL_INDICES:
            return "the index is not an integer, or its range is too wide"
        return self._check_one_hot(found) if "one hot" in found.named else self._check_range(found)

    def _check_range(self, found: Match) -> str | None:
        index, numbers, depth = found["index"], found.array("range"), len(found.array("weight"))
        if numbers.ndim == 0 or numbers.size != depth or numbers.shape[-1] != depth:
            return "it is not compared with one row of numbers"
        if not np.array_equal(numbers.ravel(), np.arange(depth)):
            return "it is not compared with 0, 1, 2, .."
        if index.shape is None or len(index.shape) < max(2, numbers.ndim) or index.shape[-1] != 1:
            return "the last axis of the index is not known to be 1"
        return None

    def _check_one_hot(self, found: Match) -> str | None:
        one_hot, rank = found.named["one hot"], found["index"].shape
        if rank is None or len(rank) == 0 or one_hot.attributes.get_int("axis", -1) not in (-1, len(rank)):
            return "not along the last axis"
        if found.scalar("depth") != len(found.array("weight")) or found.array("values").tolist() != [0, 1]:
            return "not vectors of 0 and 1"
        return None

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        index, weight = found["index"], found.array("weight")
        zeros, depth = np.zeros((1, weight.shape[1]), weight.dtype), len(weight)
        dtype, shape = index.dtype, index.shape
        assert dtype is not None and shape is not None
        if dtype in SMALL_INDICES:
            dtype = ir.DataType.INT32
            index = _typed(build.op("Cast", index, to=dtype), shape, dtype)
        low, rows = -1, [weight, zeros]
        if "one hot" in found.named:
            low, rows = -depth - 1, [weight, zeros, weight]
        else:
            index = _typed(build.op("Squeeze", index, np.array([-1])), ir.Shape(list(shape)[:-1]), dtype)
        bounds = (np.array(bound, dtype.numpy()) for bound in (low, depth))
        clipped = build.op("Clip", index, *bounds, like=index)
        return build.op("Gather", np.concatenate(rows), clipped, axis=0)


def _typed(value: ir.Value, shape: ir.Shape, dtype: ir.DataType) -> ir.Value:
    value.shape, value.type = shape, ir.TensorType(dtype)
    return value

"""Resize one axis after the other, with known indices or weights, where TVM's own Resize is not right.

::

    Resize<nearest>(x, scales = [1, 1, 1.5, 1.5])   ->  Gather<2>(x, rows) -> Gather<3>(., columns)
    Resize<linear>(x, scales = [1, 1, 0.3, 0.3])    ->  MatMul(W_h, x) -> MatMul(., W_w^T)

TVM takes the scales anew from sizes that were rounded, resizes the last axes only, and imports no Upsample and no Resize
before operator set 11.

*Refuses*: what TVM computes right; sizes that are not known; crops; antialias; linear and cubic of element types other
than float32.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.node_pass import NodePass, replace
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.resize_form import ResizeForm, read_resize
from tamis.targets.tvm.legalize.resize_weights import Array, AxisMap, cubic, linear, nearest


class Options(PassOptions):
    """Options of ``resize-by-axes``."""


class ResizeByAxes(NodePass[Options]):
    """Write Resize and Upsample as Gathers or as MatMuls with constant weights.

    *Match*: a Resize or an Upsample with constant scales or sizes, over a tensor of known sizes, whose scales give sizes
    that are rounded, or of a form that TVM does not import.

    *Rewrite*: nearest reads one element for each: a Gather for each axis that changes. Linear and cubic weigh elements of
    one axis at a time: a MatMul for each, between Transposes where it is not one of the last two.

    *Preserves*: bits for nearest, the function up to rounding otherwise.

    *References*: the ONNX operator Resize; onnxruntime/core/providers/cpu/tensor/upsamplebase.h for coordinates, which
    are computed in float32.
    """

    name = "resize-by-axes"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    options_type = Options
    op_types = frozenset({"Resize", "Upsample"})

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        form = read_resize(node, build.opset)
        if isinstance(form, str):
            return form
        x = node.inputs[0]
        assert x is not None and x.shape is not None
        if form.imported:
            return False
        if form.antialias:
            return "antialias"
        if form.mode != "nearest" and x.dtype != ir.DataType.FLOAT:
            return "linear and cubic of element types other than float32"
        value, rank = x, len(x.shape)
        for index, axis in form.axes:
            weights = _weights(form, axis)
            if weights is None:
                build.undo()
                return "an unknown transformation of coordinates"
            if form.mode == "nearest":
                value = build.op("Gather", value, weights, axis=index)
            else:
                value = _weigh(value, weights.astype(np.float32), index, rank, build)
        replace(node, build.op("Identity", x) if value is x else value, build)
        return True


def _weights(form: ResizeForm, axis: AxisMap) -> Array | None:
    if form.mode == "nearest":
        return nearest(axis, form.rounding)
    if form.mode == "linear":
        return linear(axis)
    return cubic(axis, form.cubic_a, exclude_outside=form.exclude_outside)


def _weigh(value: ir.Value, weights: Array, axis: int, rank: int, build: Builder) -> ir.Value:
    """``value`` times ``weights: (resized, size)`` along ``axis``."""
    if axis == rank - 1:
        return build.op("MatMul", value, np.ascontiguousarray(weights.T))
    if axis == rank - 2:
        return build.op("MatMul", weights, value)
    order = [i for i in range(rank) if i != axis]
    last = build.op("Transpose", value, perm=(*order, axis))
    product = build.op("MatMul", last, np.ascontiguousarray(weights.T))
    return build.op("Transpose", product, perm=tuple(np.argsort([*order, axis]).tolist()))

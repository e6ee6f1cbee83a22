"""Write what picks elements by a rule as a choice by indices.

::

    OneHot(i, depth, [off, on])            ->  Where(Unsqueeze(i) == [0, 1, ..., depth - 1], on, off)
    Slice<starts, ends, axes>(x)           ->  Gather(x, [start, ..., end - 1])        before operator set 10
    ReverseSequence(x, lengths)            ->  GatherElements(x, Where(t < length, length - 1 - t, t))

TVM's OneHot gives float64 for float32, its Slice wants inputs where older models have attributes, and it imports no
ReverseSequence.

*Refuses*: a depth that is not constant; values of types that Where has no kernel for; sizes that are not known.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.node_pass import NodePass, replace
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.inline_if import DTYPES
from tamis.targets.tvm.legalize.versioned_nodes import SLICE_INPUTS_SINCE, unsqueeze

INT64 = ir.DataType.INT64.value


class Options(PassOptions):
    """Options of ``index-explicitly``."""


class IndexExplicitly(NodePass[Options]):
    """Write OneHot, ReverseSequence and the Slice of older models by explicit indices.

    *Match*: OneHot of a constant depth; ReverseSequence over a tensor of known sizes; a Slice whose bounds are attributes,
    along axes of known size.

    *Rewrite*: comparisons with, or reads at, indices that are constant or computed.

    *Preserves*: the elements; not the sign of a zero among the values of a OneHot.

    *References*: the ONNX operators OneHot, ReverseSequence and Slice.
    """

    name = "index-explicitly"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    options_type = Options
    op_types = frozenset({"OneHot", "ReverseSequence", "Slice"})

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        if node.op_type == "Slice" and build.opset >= SLICE_INPUTS_SINCE:
            return False
        rewrite = {"OneHot": _one_hot, "ReverseSequence": _reverse, "Slice": _slice}[node.op_type]
        made = rewrite(node, build)
        if isinstance(made, str):
            build.undo()
            return made
        replace(node, made, build)
        return True


def _one_hot(node: ir.Node, build: Builder) -> ir.Value | str:
    indices, depth, values = node.inputs
    assert indices is not None and values is not None
    known, pair = constant_array(depth), constant_array(values)
    if known is None or known.size != 1:
        return "the depth is not constant"
    if values.dtype not in DTYPES:
        return "values of a type that Where has no kernel for"
    if indices.shape is None:
        return "the rank of the indices is not known"
    count, rank = int(known.flat[0]), len(indices.shape)
    axis = node.attributes.get_int("axis", -1) % (rank + 1)
    at = indices if indices.dtype == ir.DataType.INT64 else build.op("Cast", indices, to=INT64)
    negative = build.op("Less", at, np.array(0))
    at = build.op("Where", negative, build.op("Add", at, np.array(count)), at)
    at = unsqueeze(build, at, axis)
    hit = build.op("Equal", at, np.arange(count).reshape(count, *(1,) * (rank - axis)))
    on: ir.Value | np.ndarray[tuple[int, ...], np.dtype[np.generic]]
    off: ir.Value | np.ndarray[tuple[int, ...], np.dtype[np.generic]]
    if pair is None:
        off, on = (build.op("Gather", values, np.array(i), axis=0) for i in (0, 1))
    else:
        off, on = np.asarray(pair[0]), np.asarray(pair[1])
    return build.op("Where", hit, on, off)


def _slice(node: ir.Node, build: Builder) -> ir.Value | str:
    value = node.inputs[0]
    if value is None or value.shape is None:
        return "sizes that are not known"
    starts, ends = node.attributes["starts"].as_ints(), node.attributes["ends"].as_ints()
    axes = node.attributes.get_ints("axes", tuple(range(len(starts))))
    picked = []
    for start, end, axis in zip(starts, ends, axes, strict=True):
        size = value.shape[axis]
        if not isinstance(size, int):
            return "sizes that are not known"
        indices = range(size)[start:end]
        if not indices:
            return "an empty result"
        if len(indices) < size:
            picked.append((axis % len(value.shape), np.array(indices)))
    if not picked:
        return build.op("Identity", value)
    for axis, indices_of_axis in picked:
        value = build.op("Gather", value, indices_of_axis, axis=axis)
    return value


def _reverse(node: ir.Node, build: Builder) -> ir.Value | str:
    x, lengths = node.inputs
    if x is None or x.shape is None or not x.shape.is_static():
        return "sizes that are not known"
    shape = x.shape.numpy()
    time, batch = node.attributes.get_int("time_axis", 0), node.attributes.get_int("batch_axis", 1)
    behind = (1,) * (len(shape) - 2)
    along = [1, 1]
    along[time] = shape[time]
    steps = np.arange(shape[time]).reshape(*along, *behind)
    along = [1, 1]
    along[batch] = shape[batch]
    ends = build.op("Reshape", lengths, np.array([*along, *behind]))
    turned = build.op("Sub", build.op("Sub", ends, np.array(1)), steps)
    at = build.op("Where", build.op("Less", build.constant(steps), ends), turned, steps)
    return build.op("GatherElements", x, build.op("Expand", at, np.array(shape)), axis=time)

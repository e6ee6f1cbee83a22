"""The whole of a normalization that is spelled out: with its scale and bias, and casts around it; and its plain spelling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.compiler.rewriting.pattern import Const, Match, Op, Pattern, match
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.passes.fusion.inner_nodes import nodes_between
from tamis.passes.fusion.normalization import other, step

HALF = ir.DataType.FLOAT16
REDUCE_MEAN_AXES_INPUT = 18
"""From this opset on the axes of ReduceMean are an input."""


@dataclass(frozen=True)
class Normalization(Match):
    """A match of a whole normalization: ``x``, and ``scale`` and ``bias`` if there are any.

    Args:
        dims: Sizes of the normalized dimensions, the last ones.
        epsilon: Added to the variance or mean square.
    """

    dims: tuple[int, ...] = ()
    epsilon: float = 0.0

    def parameter(self, name: str, otherwise: float) -> ir.Value | np.ndarray[Any, Any]:
        """Scale or bias with exactly the shape ``dims``; the value that is there already where that fits."""
        value = self.values.get(name)
        array = constant_array(value)
        if value is not None and (array is None or array.shape == self.dims):
            return value
        if array is not None:
            return np.broadcast_to(array.reshape(array.shape[max(0, array.ndim - len(self.dims)) :]), self.dims).copy()
        dtype = self["x"].dtype
        assert dtype is not None
        return np.full(self.dims, otherwise, dtype.numpy())


def complete(
    root: ir.Node, values: Mapping[str, ir.Value], dims: tuple[int, ...], epsilon: float, *, bias: bool, operator: bool
) -> Normalization:
    """What ends with ``root``, or with the nodes that scale and shift its result.

    Args:
        root: The last node that is known.
        values: ``x``, and what ``root`` includes of ``scale`` and ``bias``.
        dims: Sizes of the normalized dimensions.
        epsilon: Added to the variance or mean square.
        bias: Whether there can be one.
        operator: Whether it becomes one operator, which takes computed scales, and float16 where float32 is computed.
    """
    if operator and len(values) == 1 and (cast := _half_cast(values["x"], root)) is not None:
        whole = _extended(cast[1], {"x": cast[0]}, dims, epsilon, bias, operator)
        if all(use.node in whole.nodes for use in values["x"].uses()) and not values["x"].is_graph_output():
            return whole
    return _extended(root, dict(values), dims, epsilon, bias, operator)


def _half_cast(x: ir.Value, root: ir.Node) -> tuple[ir.Value, ir.Node] | None:
    """The float16 value behind ``x`` and the cast back to float16 behind ``root``, if float32 is computed between."""
    before, after = x.producer(), step(root.outputs[0], "Cast")
    if before is None or after is None or before.op_type != "Cast" or before.domain or before.graph is not root.graph:
        return None
    source, to = before.inputs[0], after.attributes["to"]
    if source is None or source.dtype != HALF or x.dtype != ir.DataType.FLOAT or to.is_ref() or to.as_int() != HALF:
        return None
    return source, after


def _extended(
    root: ir.Node, values: dict[str, ir.Value], dims: tuple[int, ...], epsilon: float, bias: bool, operator: bool
) -> Normalization:
    rank = len(values["x"].shape or ())
    for name, op_type in (("scale", "Mul"), ("bias", "Add"))[: 1 + bias]:
        user = step(root.outputs[0], op_type)
        found = None if user is None else other(user, root.outputs[0])
        if user is None or found is None or name in values or "bias" in values:
            continue
        if fits(found, dims, rank) and (operator or constant_tensor(found) is not None):
            values[name], root = found, user
    return Normalization(root, nodes_between(root, values.values()), values, {}, dims, epsilon)


def fits(value: ir.Value, dims: tuple[int, ...], rank: int) -> bool:
    """Whether ``value`` is a scale or bias of the last dimensions ``dims`` of ``rank``, and does not enlarge them."""
    tensor = constant_tensor(value)
    if tensor is None:
        return value.shape is not None and tuple(value.shape) == dims
    shape = tuple(tensor.shape.numpy())
    before = max(0, len(shape) - len(dims))
    last = shape[before:]
    aligned = zip(last, dims[len(dims) - len(last) :], strict=True)
    return len(shape) <= rank and all(s == 1 for s in shape[:before]) and all(s in (1, d) for s, d in aligned)


def quotient_pattern(data: Pattern) -> Op:
    """``data / sqrt(mean(data ** 2) + epsilon)``, as runtimes know it."""
    mean = Op("ReduceMean", Op("Pow", data, Const("two")), more=True)
    return Op("Div", data, Op("Sqrt", Op("Add", mean, Const("epsilon"))))


def is_spelling(pattern: Op, result: ir.Node | None, *names: str) -> bool:
    """Whether ``result``, and what scales and shifts it, is spelled as ``pattern`` with constants that runtimes accept.

    Args:
        pattern: The spelling.
        result: The node behind which scale and bias follow; None if there is none.
        names: ``scale``, and ``bias`` if the pattern has one: of one dimension.
    """
    root = result
    for _, op_type in zip(names, ("Mul", "Add"), strict=False):
        root = None if root is None else step(root.outputs[0], op_type)
    spelled = None if root is None else match(pattern, root)
    if spelled is None or result not in spelled.nodes:
        return False
    arrays = {name: spelled.array(name) for name in spelled.values if name != "x"}
    plain = all(array.ndim <= 1 and array.dtype == np.float32 for array in arrays.values())
    return plain and all(arrays[name].ndim == 1 for name in names)


def mean(build: Builder, data: ir.Value) -> ir.Value:
    """The mean over the last axis of ``data``, which stays with the size 1."""
    assert data.shape is not None
    axis = len(data.shape) - 1
    if build.opset < REDUCE_MEAN_AXES_INPUT:
        value = build.op("ReduceMean", data, axes=[axis])
    else:
        value = build.op("ReduceMean", data, np.array([axis]))
    value.shape, value.type = ir.Shape([*data.shape[:-1], 1]), data.type
    return value


def quotient(build: Builder, data: ir.Value, epsilon: float) -> ir.Value:
    """What ``quotient_pattern`` matches, in float32."""
    square = mean(build, build.op("Pow", data, np.array(2, np.float32), like=data))
    shifted = build.op("Add", square, np.array(epsilon, np.float32), like=square)
    return build.op("Div", data, build.op("Sqrt", shifted, like=square), like=data)

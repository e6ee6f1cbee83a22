"""Write normalizations that TVM computes wrong, or not at all, as plain arithmetic.

::

    MeanVarianceNormalization(x)   ->  d / (Sqrt(Mean(d * d)) + 1e-9),  d = x - Mean(x)
    y, m, s = LayerNormalization(x, scale, bias), m or s read   ->  s = 1 / Sqrt(Mean(d * d) + epsilon), y = d * s * scale + bias
    LpNormalization(x)             ->  x / n, n = ReduceL2(x), or 1 where that is 0

TVM takes the variance as a difference of large numbers, gives zeros for the mean and the deviation of a
LayerNormalization, takes a scale of lower rank for the axes to normalize, and has no LpNormalization.

*Refuses*: element types other than float32; ranks that are not known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.node_pass import NodePass, replace
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.node_outputs import is_read, replace_outputs
from tamis.targets.tvm.legalize.quantized_values import input_at
from tamis.targets.tvm.legalize.versioned_nodes import reduce

TINY = 1e-9
"""What ONNX's definition of MeanVarianceNormalization adds to the deviation."""


class Options(PassOptions):
    """Options of ``spell-out-norms``."""


class SpellOutNorms(NodePass[Options]):
    """Write MeanVarianceNormalization, LpNormalization and some LayerNormalizations as plain arithmetic.

    *Match*: the first two; a LayerNormalization whose mean or deviation is read, or whose scale has fewer dimensions
    than are normalized. Outputs of a LayerNormalization that nothing reads go.

    *Rewrite*: mean, difference, mean of its square, and so on, in the order of ONNX Runtime.

    *Preserves*: the function up to rounding.

    *References*: the definitions of the operators in ONNX; tvm.relax.frontend.onnx, version 0.27.
    """

    name = "spell-out-norms"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    options_type = Options
    op_types = frozenset({"LayerNormalization", "LpNormalization", "MeanVarianceNormalization"})
    min_opset = 9

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        x = node.inputs[0]
        assert x is not None
        if node.op_type == "LayerNormalization" and (done := _trim(node)) is not None:
            return done
        if x.dtype != ir.DataType.FLOAT:
            return "element types other than float32"
        if x.shape is None:
            return "the rank is not known"
        if node.op_type == "LayerNormalization":
            replace_outputs(node, _layer(node, x, len(x.shape), build), build)
        else:
            replace(node, (_lp if node.op_type == "LpNormalization" else _mean_variance)(node, x, build), build)
        return True


def _trim(node: ir.Node) -> bool | None:
    """Drop outputs that nothing reads; None if the node has to be spelled out."""
    if any(is_read(output) for output in node.outputs[1:]) or _is_lower(node):
        return None
    if len(node.outputs) > 1:
        node.resize_outputs(1)
        return True
    return False


def _is_lower(node: ir.Node) -> bool:
    """Whether the scale has fewer dimensions than are normalized."""
    x, scale, axis = node.inputs[0], node.inputs[1], node.attributes.get_int("axis", -1)
    if x is None or x.shape is None or scale is None or scale.shape is None:
        return False
    return len(scale.shape) < len(x.shape) - axis % len(x.shape)


def _layer(node: ir.Node, x: ir.Value, rank: int, build: Builder) -> list[ir.Value]:
    axes = range(node.attributes.get_int("axis", -1) % rank, rank)
    mean, difference, variance = _moments(x, axes, build)
    epsilon = np.array(node.attributes.get_float("epsilon", 1e-5), np.float32)
    inverse = build.op("Reciprocal", build.op("Sqrt", build.op("Add", variance, epsilon)))
    y = build.op("Mul", build.op("Mul", difference, inverse), node.inputs[1])
    if (bias := input_at(node, 2)) is not None:
        y = build.op("Add", y, bias)
    return [y, mean, inverse][: len(node.outputs)]


def _mean_variance(node: ir.Node, x: ir.Value, build: Builder) -> ir.Value:
    _, difference, variance = _moments(x, node.attributes.get_ints("axes", (0, 2, 3)), build)
    deviation = build.op("Add", build.op("Sqrt", variance), np.array(TINY, np.float32))
    return build.op("Div", difference, deviation)


def _moments(x: ir.Value, axes: Sequence[int], build: Builder) -> tuple[ir.Value, ir.Value, ir.Value]:
    """The mean over ``axes``, the differences from it, and the mean of their squares."""
    mean = reduce(build, "ReduceMean", x, axes)
    difference = build.op("Sub", x, mean)
    return mean, difference, reduce(build, "ReduceMean", build.op("Mul", difference, difference), axes)


def _lp(node: ir.Node, x: ir.Value, build: Builder) -> ir.Value:
    norm = reduce(build, f"ReduceL{node.attributes.get_int('p', 2)}", x, [node.attributes.get_int("axis", -1)])
    zero, one = np.zeros((), np.float32), np.ones((), np.float32)
    positive = build.op("Greater", norm, zero)
    return build.op("Div", x, build.op("Where", positive, norm, one))

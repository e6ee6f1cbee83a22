"""Keep infinities where TVM loses them and something compares the result.

::

    Equal(ReduceMax(x), -inf)      ->  m = Where(ReduceMin(x == -inf), -inf, ReduceMax(x)); Equal(m, -inf)
    IsInf<detect_negative = 0>(x)  ->  x == inf

TVM begins a maximum at the smallest finite number, so that the maximum of a row that is masked everywhere is that, and
the guard behind it fails. Of IsInf it reads no attributes.

*Refuses*: floats other than of 16, 32 and 64 bits; operator sets below 11, which compare no floats.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.node_pass import NodePass, replace
from tamis.compiler.rewriting.rewrite_pass import Builder

COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "IsInf", "Less", "LessOrEqual"})
FORWARDERS = frozenset({"Cast", "CastLike", "Expand", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators whose result holds the elements of their first input."""
NEUTRAL = {"ReduceMax": -np.inf, "ReduceMin": np.inf}
DTYPES = frozenset({ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE})


class Options(PassOptions):
    """Options of ``guard-infinities``."""


class GuardInfinities(NodePass[Options]):
    """Give the maximum and minimum of infinite elements as an infinity, and tell the signs of infinities apart.

    *Match*: a ReduceMax or ReduceMin that a comparison reads, directly or behind operators that pass it on; an IsInf that
    detects one sign.

    *Rewrite*: a second reduction finds whether all elements are infinite; Equal takes the place of IsInf.

    *Preserves*: the values, but not the sign of zero: ONNX Runtime's Where adds a zero to what it chooses.

    *References*: tvm.relax.frontend.onnx and topi.max, version 0.27.
    """

    name = "guard-infinities"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    options_type = Options
    op_types = frozenset({"IsInf", *NEUTRAL})
    min_opset = 11

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        x = node.inputs[0]
        assert x is not None
        limit = _limit(node)
        if limit is None:
            return False
        if x.dtype not in DTYPES:
            return False if x.dtype is not None and x.dtype.is_integer() else "floats other than of 16, 32 and 64 bits"
        infinity = np.array(limit, x.dtype.numpy())
        if node.op_type == "IsInf":
            replace(node, build.op("Equal", x, infinity), build)
        else:
            _guard(node, x, infinity, build)
        return True


def _limit(node: ir.Node) -> float | None:
    """The infinity that the node must tell apart; None if TVM's form of the node will do."""
    if node.op_type != "IsInf":
        return NEUTRAL[node.op_type] if _is_compared(node) else None
    positive = node.attributes.get_int("detect_positive", 1) == 1
    negative = node.attributes.get_int("detect_negative", 1) == 1
    return None if positive == negative else np.inf if positive else -np.inf


def _is_compared(node: ir.Node) -> bool:
    pending = [node.outputs[0]]
    while pending:
        for reader, index in pending.pop().uses():
            if reader.domain == "" and reader.op_type in COMPARISONS:
                return True
            if reader.domain == "" and reader.op_type in FORWARDERS and index == 0:
                pending.append(reader.outputs[0])
    return False


def _guard(node: ir.Node, x: ir.Value, infinity: np.ndarray[tuple[()], np.dtype[np.floating]], build: Builder) -> None:
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    infinite = build.op("Cast", build.op("Equal", x, infinity), to=ir.DataType.FLOAT.value)
    everywhere = build.op("ReduceMin", infinite, *node.inputs[1:], **attributes)
    output = node.outputs[0]
    twin = build.op(node.op_type, *node.inputs, like=output, **attributes)
    chosen = build.op("Where", build.op("Cast", everywhere, to=ir.DataType.BOOL.value), infinity, twin, like=output)
    replace(node, chosen, build)

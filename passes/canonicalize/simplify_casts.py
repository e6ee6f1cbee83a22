"""Take out Casts that change no value, where what reads them can do without.

::

    Cast<float16>(Cast<float32>(x: float16))         ->  x
    Cast<float32>(Cast<int64>(x: int32))             ->  Cast<float32>(x)
    Gather(data, Cast<int64>(i: int32))              ->  Gather(data, i)        also GatherElements, ScatterElements
    Less(Cast<int64>(a: int32), Cast<int64>(b))      ->  Less(a, b)             other comparisons, constants too

*Refuses*: a first Cast to a type that does not hold every value of the one before it; float32 by way of double to
integers, where numbers out of range give what the machine gives; strings, 8-bit floating point and smaller types.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.node_pass import NodePass, producer_of, remove_unread_above, replace
from tamis.compiler.rewriting.rewrite_pass import Builder

T = ir.DataType
HALVES = frozenset({T.FLOAT16, T.BFLOAT16})
FLOATS = HALVES | {T.FLOAT, T.DOUBLE}
INTEGER_BITS = {
    T.INT8: 8,
    T.INT16: 16,
    T.INT32: 32,
    T.INT64: 64,
    T.UINT8: 8,
    T.UINT16: 16,
    T.UINT32: 32,
    T.UINT64: 64,
}
UNSIGNED = frozenset({T.UINT8, T.UINT16, T.UINT32, T.UINT64})
SIGNIFICAND_BITS = {T.FLOAT16: 11, T.BFLOAT16: 8, T.FLOAT: 24, T.DOUBLE: 53}
CASTS = frozenset({"Cast"})
INDEXED = frozenset({"Gather", "GatherElements", "ScatterElements"})
COMPARISONS = frozenset({"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"})
COMPARED = frozenset({T.INT32, T.INT64, T.FLOAT, T.DOUBLE})
"""Types for which runtimes have all comparisons."""
COMPARISONS_OPSET = 11
"""From here on, all comparisons take all numbers."""


class Options(PassOptions):
    """Options of ``simplify-casts``."""


class SimplifyCasts(NodePass[Options]):
    """Take out Casts that change no value, where what reads them can do without.

    *Match*: a Cast to a type that holds every value of its input's type (int32 to int64 or double, float16 to float32
    and so on), before another Cast, as indices of a Gather, or on both sides of a comparison.

    *Rewrite*: the reader takes the input of the Cast. A second Cast back to the first type disappears as well. A
    constant on one side of a comparison is written in the narrow type, if that holds it.

    *Preserves*: bits; a NaN stays a NaN, whatever its payload.

    *References*: the ONNX operator Cast; IEEE 754-2019, section 5.4.2, for conversions between formats.
    """

    name = "simplify-casts"
    stage = Stage.CANONICALIZE
    contract = Contract.EXACT
    options_type = Options
    op_types = CASTS | INDEXED | COMPARISONS

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        if node.op_type in CASTS:
            return _simplify_cast(node, build)
        if node.op_type in INDEXED:
            return _simplify_indices(node, build)
        return build.opset >= COMPARISONS_OPSET and _simplify_comparison(node, build)


def holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    """True if ``wide`` is another type than ``narrow`` and has all of its values."""
    if wide == narrow:
        return False
    if narrow == T.BOOL:
        return wide in INTEGER_BITS or wide in FLOATS
    if narrow in INTEGER_BITS:
        signed = narrow not in UNSIGNED
        if wide in FLOATS:
            return INTEGER_BITS[narrow] - signed <= SIGNIFICAND_BITS[wide]
        sign_fits = not signed if wide in UNSIGNED else True
        return wide in INTEGER_BITS and sign_fits and INTEGER_BITS[wide] > INTEGER_BITS[narrow]
    return (narrow in HALVES and wide in (T.FLOAT, T.DOUBLE)) or (narrow, wide) == (T.FLOAT, T.DOUBLE)


def _widened(value: ir.Value | None, reader: ir.Node) -> ir.Value | None:
    """What ``value`` is the Cast of, if the Cast changes no value; None otherwise."""
    cast = producer_of(value, reader, CASTS)
    source = None if cast is None else cast.inputs[0]
    if cast is None or source is None or source.dtype is None:
        return None
    return source if holds(ir.DataType(cast.attributes["to"].as_int()), source.dtype) else None


def _simplify_cast(node: ir.Node, build: Builder) -> bool | str:
    first = producer_of(node.inputs[0], node, CASTS)
    if first is None:
        return False
    source = _widened(node.inputs[0], node)
    if source is None:
        return "the first Cast does not keep every value"
    assert source.dtype is not None
    via, to = (ir.DataType(cast.attributes["to"].as_int()) for cast in (first, node))
    if to not in FLOATS and to not in INTEGER_BITS and to != T.BOOL:
        return "not to a common type of numbers"
    if to in INTEGER_BITS and source.dtype in FLOATS and via != T.FLOAT:
        return "by way of double to integers"
    result = source if to == source.dtype else build.op("Cast", source, like=node.outputs[0], to=to)
    replace(node, result, build)
    return True


def _simplify_indices(node: ir.Node, build: Builder) -> bool | str:
    source = _widened(node.inputs[1], node)
    if source is None or source.dtype != T.INT32:
        return False
    _read(node, 1, source, build)
    return True


def _simplify_comparison(node: ir.Node, build: Builder) -> bool | str:
    """Both sides from one type, or one of them a constant that is the same in the type of the other."""
    sources = [_widened(value, node) for value in node.inputs]
    types = {s.dtype for s in sources if s is not None}
    if not types or not types <= COMPARED:
        return False
    if len(types) > 1:
        return "the two sides have different types"
    narrow = types.pop()
    assert narrow is not None
    for i, source in enumerate(sources):
        if source is None:
            array = _narrowed(node.inputs[i], narrow)
            if array is None:
                return "one side has the wider type"
            sources[i] = build.constant(array)
    for i, source in enumerate(sources):
        assert source is not None
        _read(node, i, source, build)
    return True


def _narrowed(value: ir.Value | None, narrow: ir.DataType) -> np.ndarray[Any, Any] | None:
    array = constant_array(value)
    if array is None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(narrow.numpy())
        return converted if np.array_equal(converted.astype(array.dtype), array, equal_nan=True) else None


def _read(node: ir.Node, index: int, value: ir.Value, build: Builder) -> None:
    """Let ``node`` read ``value`` at input ``index``; what it has read goes, if nothing else reads it."""
    old = node.inputs[index]
    node.replace_input_with(index, value)
    assert node.graph is not None
    remove_unread_above([old], node.graph, build)

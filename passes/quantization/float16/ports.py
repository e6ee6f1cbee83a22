"""Which inputs and outputs of an operator may be float16, from the ONNX schemas."""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx_ir as ir

KEPT_FLOAT32 = {
    **dict.fromkeys(
        ("CumSum", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum"),
        "sums lose precision in float16",
    ),
    **dict.fromkeys(("Exp", "Pow", "ReduceSumSquare"), "powers leave the range of float16"),
    **dict.fromkeys(("GridSample", "NonMaxSuppression", "Range", "RoiAlign"), "coordinates lose precision in float16"),
    **dict.fromkeys(
        ("DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"), "quantization scales stay float32"
    ),
}
"""Operator -> why it stays in float32."""

Ports = tuple[tuple[str | None, ...], tuple[str | None, ...]]


@cache
def _schema_ports(op_type: str, opset: int) -> tuple[Ports, tuple[bool, bool]] | None:
    """Type variable of each input and output that allows float16 (None otherwise), and whether the last repeats."""
    import onnx

    if not onnx.defs.has(op_type, max_inclusive_version=opset):
        return None
    schema = onnx.defs.get_schema(op_type, opset)
    halves = {c.type_param_str for c in schema.type_constraints if "tensor(float16)" in c.allowed_type_strs}

    def variables(formals: Any) -> tuple[str | None, ...]:
        return tuple(f.type_str if f.type_str in halves else None for f in formals)

    def repeats(formals: Any) -> bool:
        return bool(formals) and formals[-1].option == onnx.defs.OpSchema.FormalParameterOption.Variadic

    ports = variables(schema.inputs), variables(schema.outputs)
    return ports, (repeats(schema.inputs), repeats(schema.outputs))


def half_ports(node: ir.Node, opset: int) -> Ports | None:
    """For each input and output of ``node`` the type variable that may be float16, or None; None if unknown operator."""
    if node.domain != "":
        return None
    found = _schema_ports(node.op_type, opset)
    if found is None:
        return None
    (inputs, outputs), (repeat_inputs, repeat_outputs) = found
    return _extend(inputs, len(node.inputs), repeat_inputs), _extend(outputs, len(node.outputs), repeat_outputs)


def _extend(ports: tuple[str | None, ...], count: int, repeats: bool) -> tuple[str | None, ...]:
    filler = ports[-1] if repeats else None
    return (*ports[:count], *(filler,) * (count - len(ports)))

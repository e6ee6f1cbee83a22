"""Decide which nodes of a graph compute in float16."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.operators import has_subgraph
from tamis.passes.quantization.float16.arrays import round_float16
from tamis.passes.quantization.float16.ports import KEPT_FLOAT32, Ports, half_ports

FLOAT = ir.DataType.FLOAT


def float_ports(node: ir.Node, opset: int) -> Ports:
    """Ports of ``node`` that hold float32 and may hold float16: type variable, else None."""
    ports = half_ports(node, opset)
    if ports is None:
        return (None,) * len(node.inputs), (None,) * len(node.outputs)
    inputs = tuple(p if _is_float(v) else None for p, v in zip(ports[0], node.inputs, strict=True))
    return inputs, tuple(p if _is_float(v) else None for p, v in zip(ports[1], node.outputs, strict=True))


def has_float(node: ir.Node) -> bool:
    """True if ``node`` reads or writes float32."""
    return any(_is_float(v) for v in (*node.inputs, *node.outputs))


def refusal(node: ir.Node, opset: int, keep: Iterable[str]) -> str | None:
    """Why a node with float32 values cannot compute in float16; None if it can."""
    if node.op_type in keep:
        return "operator is in keep_float32"
    if node.op_type in KEPT_FLOAT32:
        return KEPT_FLOAT32[node.op_type]
    if has_subgraph(node) or half_ports(node, opset) is None:
        return "operator has subgraphs or is not a standard one"
    if _is_quantized(node):
        return "computes on quantized values"
    if any(v is not None and v.name and v.dtype is None for v in (*node.inputs, *node.outputs)):
        return "element type is not known"
    match node.op_type:
        case "Cast":
            return _refuse_cast(node)
        case "Constant":
            return "constant was not lifted"
        case "ConstantOfShape":
            return _refuse_fill(node)
    return _refuse_ports(node, opset) or _refuse_constants(node, opset)


def _is_quantized(node: ir.Node) -> bool:
    """Quantizes, dequantizes, or stands between the two, where runtimes look for it to take an integer kernel."""
    if node.op_type in ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"):
        return True
    producers = (v.producer() for v in node.inputs if v is not None)
    readers = (use.node for v in node.outputs for use in v.uses())
    return any(n is not None and n.op_type == "DequantizeLinear" for n in producers) or any(
        n.op_type == "QuantizeLinear" for n in readers
    )


def _refuse_ports(node: ir.Node, opset: int) -> str | None:
    inputs, outputs = float_ports(node, opset)
    if not any((*inputs, *outputs)):
        return "operator has no float16 form"
    free = [p for p, v in zip(outputs, node.outputs, strict=True) if _is_float(v) and p not in inputs]
    return "type of the output does not follow an input" if free else None


def _refuse_cast(node: ir.Node) -> str | None:
    """A Cast to float32 may as well go to float16, unless it comes from there or from integers."""
    source = node.inputs[0]
    if source is None or not _is_float(node.outputs[0]):
        return "Cast to another type"
    if source.dtype == ir.DataType.FLOAT16:
        return "Cast from float16"
    exact = source.dtype in (ir.DataType.BOOL, FLOAT)
    return None if exact else "integers lose precision in float16"


def _refuse_fill(node: ir.Node) -> str | None:
    value = node.attributes.get("value")
    return None if value is None else round_float16(value.as_tensor().numpy()).refusal


def _refuse_constants(node: ir.Node, opset: int) -> str | None:
    for port, value in zip(float_ports(node, opset)[0], node.inputs, strict=True):
        array = constant_array(value) if port else None
        problem = None if array is None else round_float16(array).refusal
        if problem:
            return problem
    return None


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == FLOAT

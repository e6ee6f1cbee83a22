"""What an already quantized model holds: scales, types, the kernels that are executed, saturated pairs, float leftovers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.finding import Bars, Finding
from tamis.compiler.graph_pass import PassContext
from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.quantization.placement.integer_check import float_products
from tamis.passes.quantization.rounding.saturation import Saturation, saturated_pairs

COLUMNS = ("node", "op", "activation", "scale", "zero point", "weight", "weight scales", "saturated", "note")
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
INTEGER_PRODUCTS: Mapping[str, tuple[int, int, int | None, int | None]] = {
    "QLinearConv": (0, 3, 1, 4),
    "QLinearMatMul": (0, 3, 1, 4),
    "QGemm": (0, 3, 1, 4),
    "ConvInteger": (0, 1, None, None),
    "MatMulInteger": (0, 1, None, None),
    "MatMulIntegerToFloat": (0, 1, 2, 3),
    "DynamicQuantizeMatMul": (0, 1, None, 2),
}
"""Operator -> inputs with the activation, the weight, and their scales."""
INTEGER_NAMES = (
    "QLinear",
    "QGemm",
    "QAttention",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
)
"""What operators that compute on 8-bit integers are called, or begin with."""
SHOWN = 5


def is_quantized(model: ir.Model) -> bool:
    """Whether some value is converted to integers, or some operator computes on them."""
    return any(node.op_type in CONVERSIONS or node.op_type in INTEGER_PRODUCTS for node in model.graph.all_nodes())


def analyse_integers(model: ir.Model, context: PassContext) -> Finding:
    """Read ``model`` as it is."""
    assert context.target is not None and context.samples is not None
    runtime = context.target.runtime
    counts = saturated_pairs(model, context.samples)
    rows = [
        _layer(node, counts) for node in model.graph if node.op_type in PRODUCTS or node.op_type in INTEGER_PRODUCTS
    ]
    optimized, operators = runtime.optimized_model(model), runtime.optimized_operators(model)
    summary = {"layers": f"{sum(r['quantized'] for r in rows)} of {len(rows)} products have 8-bit inputs and weights"}
    kernel_counts: dict[str, int] | None = None
    leftovers: list[str] = []
    if operators is not None and optimized is not None:
        kernel_counts, leftovers = _kernels(operators), float_products(optimized)
        summary["kernels"] = ", ".join(f"{n} {name}" for name, n in kernel_counts.items()) or "none works on integers"
        text = ", ".join(leftovers[:SHOWN]) + (", ..." if len(leftovers) > SHOWN else "")
        summary["float leftovers"] = (
            f"{len(leftovers)} products with 8-bit weights run in floats: {text}" if leftovers else "none"
        )
    clipped = sum(bool(c.saturated) for c in counts.values())
    summary["saturation"] = f"{clipped} layers clip pairs of products on a machine whose 8-bit products saturate"
    data = {"quantized": True, "layers": rows, "kernels": kernel_counts, "float_leftovers": leftovers}
    rates = {str(r["node"]): 100 * r["saturated"] for r in rows if r["saturated"] is not None}
    bars = Bars("saturated pairs of products, %", rates, {str(r["node"]): str(r["op"]) for r in rows})
    return Finding(summary, COLUMNS, tuple(_cells(row) for row in rows), data, bars)


def _kernels(operators: Mapping[str, int]) -> dict[str, int]:
    """The operators of the executed graph that compute on integers, and how often each is there."""
    return {name: n for name, n in sorted(operators.items()) if name.rpartition("::")[2].startswith(INTEGER_NAMES)}


def _layer(node: ir.Node, counts: Mapping[str, Saturation]) -> dict[str, Any]:
    activation, weight = _sides(node)
    saturation = counts.get(node.name or "")
    integer = activation["type"] is not None and weight["type"] is not None
    return {
        "node": node.name or str(node.outputs[0].name),
        "op": node.op_type,
        "quantized": integer,
        "activation": activation,
        "weight": weight,
        "unsafe_columns": None if saturation is None else saturation.unsafe_columns,
        "saturated": None if saturation is None else saturation.rate,
    }


def _sides(node: ir.Node) -> tuple[dict[str, Any], dict[str, Any]]:
    """Activation and weight: element type, scale and zero point as far as they are constant."""
    if node.op_type in PRODUCTS:
        first, second = (_dequantized(node.inputs[i]) if i < len(node.inputs) else _side() for i in (0, 1))
        return first, second
    places = INTEGER_PRODUCTS[node.op_type]
    values = [None if i is None or i >= len(node.inputs) else node.inputs[i] for i in places]
    dynamic = node.op_type == "DynamicQuantizeMatMul"
    first = _side(values[0], values[2], _zero_point(node, 0))
    return (first | {"type": "uint8"} if dynamic else first), _side(values[1], values[3], _zero_point(node, 1))


def _zero_point(node: ir.Node, side: int) -> ir.Value | None:
    places = {
        "QLinearConv": (2, 5),
        "QLinearMatMul": (2, 5),
        "QGemm": (2, 5),
        "MatMulIntegerToFloat": (4, 5),
        "DynamicQuantizeMatMul": (None, 3),
    }.get(node.op_type, (2, 3))
    index = places[side]
    return None if index is None or index >= len(node.inputs) else node.inputs[index]


def _dequantized(value: ir.Value | None) -> dict[str, Any]:
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return _side()
    inputs = [*producer.inputs, None]
    return _side(inputs[0], inputs[1], inputs[2])


def _side(
    value: ir.Value | None = None, scale: ir.Value | None = None, zero_point: ir.Value | None = None
) -> dict[str, Any]:
    scales, zeros = constant_array(scale), constant_array(zero_point)
    dtype = _element_type(value) or (None if value is None else _element_type(zero_point))
    return {
        "type": dtype,
        "scale": None if scales is None or not scales.size else [float(scales.min()), float(scales.max())],
        "scales": None if scales is None else int(scales.size),
        "zero_point": None if zeros is None or not zeros.size else sorted({int(z) for z in np.unique(zeros)})[:SHOWN],
    }


def _element_type(value: ir.Value | None) -> str | None:
    if value is None:
        return None
    if value.dtype is None:
        producer = value.producer()
        return "uint8" if producer is not None and producer.op_type in CONVERSIONS else None
    return value.dtype.name.lower() if value.dtype.is_integer() else None


def _cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    activation, weight = row["activation"], row["weight"]
    note = "" if row["quantized"] else "float" if weight["type"] is None else "float activations"
    return (
        row["node"],
        row["op"],
        activation["type"],
        _scales(activation),
        None if activation["zero_point"] is None else ", ".join(map(str, activation["zero_point"])),
        weight["type"],
        _scales(weight),
        None if row["saturated"] is None else f"{100 * row['saturated']:.3g} %",
        note,
    )


def _scales(side: Mapping[str, Any]) -> str | None:
    if side["scale"] is None:
        return None if side["type"] is None else "at run time"
    low, high = side["scale"]
    return f"{low:.3g}" if side["scales"] == 1 else f"{side['scales']}: {low:.3g} to {high:.3g}"

"""Whether what was planned to be integer is integer in the graph that the runtime executes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import onnx_ir as ir

from tamis.compiler.int8_kernels import Int8Kernels


def fired(operators: Mapping[str, int], kernels: Int8Kernels) -> dict[str, int]:
    """How often each integer kernel of the table is among the operators that are executed."""
    names = {name for row in kernels.operators.values() for name in row.kernels if "Q" in name or "Integer" in name}
    return {name: count for name, count in sorted(operators.items()) if name in names}


def float_products(optimized: ir.Model) -> list[str]:
    """Values that a product computes in floats although its weight is stored in integers.

    Its weight comes from a DequantizeLinear that is executed at every run.
    """
    found = []
    for node in optimized.graph:
        if any(_is_stored(value) for value in node.inputs[1:2]) and _is_product(node):
            found.append(str(node.outputs[0].name))
    return found


def missing(planned: Iterable[ir.Node], operators: Mapping[str, int], kernels: Int8Kernels) -> list[str]:
    """Operators with fewer integer kernels than planned, a line each."""
    wanted: Counter[tuple[str, ...]] = Counter(kernels.operators[node.op_type].kernels for node in planned)
    available = Counter(operators)
    lines = []
    for names, count in sorted(wanted.items(), key=lambda item: len(item[0])):
        found = 0
        for name in names:
            taken = min(count - found, available[name])
            available[name] -= taken
            found += taken
        if found < count:
            lines.append(f"{count} of {' or '.join(names)} were planned, {found} are executed")
    return lines


def _is_product(node: ir.Node) -> bool:
    return node.op_type.startswith(("Conv", "FusedConv", "NhwcFusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm"))


def _is_stored(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return False
    source = producer.inputs[0]
    return source is not None and source.is_initializer()

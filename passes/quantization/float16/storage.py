"""Store weights as float16 and compute in float32."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from tamis.compiler.graph_pass import Skip
from tamis.compiler.rewriting.constants import constant_value
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.quantization.float16.arrays import round_float16


def store_float16(model: ir.Model, min_elements: int, counts: Counter[str]) -> list[Skip]:
    """Replace each float32 initializer of every graph by a float16 one and a Cast.

    Args:
        model: Changed in place.
        min_elements: Smaller initializers stay.
        counts: Gets what was done.

    Returns:
        Initializers left alone although large enough.
    """
    names, skips = Names(model), []
    for graph in model.graphs():
        for value in tuple(graph.initializers.values()):
            tensor = value.const_value
            if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size < min_elements:
                continue
            problem = (
                "initializer is a graph input or output" if value.is_graph_input() or value.is_graph_output() else None
            )
            rounded = None if problem else round_float16(tensor.numpy())
            problem = problem or (rounded.refusal if rounded else None)
            if problem or rounded is None:
                skips.append(Skip(problem or "", value.name or ""))
                continue
            _store(graph, value, ir.tensor(rounded.array), names)
            counts["weights stored"] += 1
            counts["elements vanished"] += rounded.vanished
    return skips


def _store(graph: ir.Graph, value: ir.Value, tensor: ir.TensorProtocol, names: Names) -> None:
    name = names.fresh(f"{value.name}_float16")
    stored = constant_value(name, tensor)
    graph.register_initializer(stored)
    cast = ir.node("Cast", [stored], {"to": int(ir.DataType.FLOAT)}, name=names.fresh(f"{value.name}_cast"))
    graph.insert_before(graph[0], cast)
    wide = cast.outputs[0]
    wide.type, wide.shape = value.type, value.shape
    value.replace_all_uses_with(wide)
    graph.initializers.pop(value.name or "")
    wide.name = value.name

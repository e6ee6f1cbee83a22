"""Fix the shapes of graph inputs to those of the recipe."""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.input_spec import InputSpec, TensorSpec


def conflict(value: ir.Value, spec: TensorSpec) -> str | None:
    """Why ``spec`` cannot be the shape of graph input ``value``; None if it can."""
    if value.shape is None:
        return None
    if len(value.shape) != len(spec.shape):
        return f"rank {len(value.shape)}, not {len(spec.shape)}"
    for axis, (old, new) in enumerate(zip(value.shape, spec.shape, strict=True)):
        if isinstance(old, int) and old != new:
            return f"size {old} on axis {axis}, not {new}"
    return None


def specialize_inputs(graph: ir.Graph, inputs: InputSpec) -> int:
    """Give each graph input the sizes and the names of dynamic dimensions that ``inputs`` has for it.

    Returns:
        How many inputs got another shape.
    """
    specs = {tensor.name: tensor for tensor in inputs.tensors}
    changed = 0
    for value in graph.inputs:
        spec = specs.get(value.name or "")
        if spec is None:
            continue
        shape = ir.Shape(spec.shape)
        if value.shape != shape:
            value.shape = shape
            changed += 1
    return changed

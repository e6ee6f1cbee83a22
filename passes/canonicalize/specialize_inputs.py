"""Fix the graph inputs to those of the recipe, in shape and number; forget sizes that cannot be meant."""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.input_spec import InputSpec, TensorSpec

FREE_INITIALIZERS = 4
"""The IR version from which on an initializer need not be a graph input."""


def conflict(value: ir.Value, spec: TensorSpec) -> str | None:
    """Why ``spec`` cannot be the shape of graph input ``value``; None if it can."""
    if value.shape is None:
        return None
    if len(value.shape) != len(spec.shape):
        return f"rank {len(value.shape)}, not {len(spec.shape)}"
    for axis, (old, new) in enumerate(zip(value.shape, spec.shape, strict=True)):
        if isinstance(old, int) and 0 <= old != new:
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


def free_initializers(model: ir.Model) -> int:
    """Raise the IR version to the first that allows initializers that are no graph inputs, as all passes make them.

    Returns:
        1 if the model's was older, else 0.
    """
    if model.ir_version >= FREE_INITIALIZERS:
        return 0
    model.ir_version = FREE_INITIALIZERS
    return 1


def fix_defaulted_inputs(graph: ir.Graph, inputs: InputSpec) -> int:
    """Make graph inputs that have a default, and that ``inputs`` does not feed, the constants that they then are.

    Before IR version 4 every initializer had to be a graph input, and many files still have them all.

    Returns:
        How many inputs are gone.
    """
    fed = {tensor.name for tensor in inputs.tensors}
    fixed = [v for v in graph.inputs if v.is_initializer() and v.name not in fed and not v.is_graph_output()]
    for value in fixed:
        graph.inputs.remove(value)
    return len(fixed)


def forget_negative_sizes(model: ir.Model) -> int:
    """Make dimensions of negative size unknown: some exporters write -1 where a dimension is dynamic.

    Returns:
        How many values got another shape.
    """
    changed = 0
    for graph in model.graphs():
        for value in (*graph.inputs, *graph.outputs, *(v for node in graph for v in node.outputs)):
            if value.shape is not None and any(isinstance(d, int) and d < 0 for d in value.shape):
                value.shape = ir.Shape([None if isinstance(d, int) and d < 0 else d for d in value.shape])
                changed += 1
    return changed

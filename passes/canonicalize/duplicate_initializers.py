"""Store equal constants once."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

HEAD = 256
"""Elements compared first, so that of a large weight no more is read from its file than that."""
CHUNK = 1 << 22
"""Elements compared at once after that."""


def merge_duplicate_initializers(model: ir.Model) -> int:
    """In each graph, let the users of an initializer use an earlier one with the same type, shape and bits.

    Initializers that are graph inputs or outputs keep their names and are left alone.

    Returns:
        How many initializers are gone.
    """
    return sum(_merge_in(graph) for graph in model.graphs())


def _merge_in(graph: ir.Graph) -> int:
    alike: dict[tuple[Any, ...], list[ir.Value]] = {}
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and not value.is_graph_input() and not value.is_graph_output():
            alike.setdefault((tensor.dtype, tensor.shape.numpy()), []).append(value)
    return sum(_merge_alike(graph, values) for values in alike.values() if len(values) > 1)


def _merge_alike(graph: ir.Graph, values: list[ir.Value]) -> int:
    """Merge among initializers of one type and shape."""
    groups: dict[Any, list[tuple[ir.Value, ir.TensorProtocol]]] = {}
    merged = 0
    for value in values:
        tensor = value.const_value
        assert tensor is not None and value.name is not None
        candidates = groups.setdefault(_head(tensor), [])
        earlier = next((kept for kept, other in candidates if _equal(other, tensor)), None)
        if earlier is None:
            candidates.append((value, tensor))
            continue
        value.replace_all_uses_with(earlier)
        graph.initializers.pop(value.name)
        merged += 1
    return merged


def _flat(tensor: ir.TensorProtocol) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(tensor.numpy()).reshape(-1)


def _head(tensor: ir.TensorProtocol) -> Any:
    if isinstance(tensor, ir.StringTensor):
        return tuple(tensor.string_data())
    return _flat(tensor)[:HEAD].tobytes()


def _equal(a: ir.TensorProtocol, b: ir.TensorProtocol) -> bool:
    """Whether two tensors of one type, shape and head have the same bits."""
    if a.size <= HEAD or isinstance(a, ir.StringTensor):
        return True
    x, y = _flat(a), _flat(b)
    return all(x[i : i + CHUNK].tobytes() == y[i : i + CHUNK].tobytes() for i in range(0, x.size, CHUNK))

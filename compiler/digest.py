"""Digests of models and samples: by content, for keys that outlive the process; by structure, to see a change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.model_file import EXTERNAL_FROM, initializers, reference_to, swapped

CHUNK = 1 << 24
"""Weights are hashed in pieces of this many bytes."""


def model_digest(model: ir.Model) -> str:
    """SHA-256 (hex) of the structure and of every weight, wherever the weights are stored.

    Weights in external files are read through their mapping, which is dropped again afterwards.
    """
    digest = hashlib.sha256()

    def large(tensor: ir.TensorProtocol) -> ir.TensorProtocol | None:
        return reference_to("", tensor) if _is_large(tensor) else None

    with swapped(model, large):
        digest.update(ir.to_proto(model).SerializeToString(deterministic=True))
    for _, tensor in initializers(model):
        if _is_large(tensor):
            _update(digest, tensor)
    return digest.hexdigest()


def _is_large(tensor: ir.TensorProtocol) -> bool:
    return isinstance(tensor, ir.ExternalTensor) or tensor.nbytes >= EXTERNAL_FROM


def _update(digest: Any, tensor: ir.TensorProtocol) -> None:
    if tensor.dtype == ir.DataType.STRING:
        for text in tensor.numpy().flat:
            digest.update(repr(text).encode())
        return
    mapped = isinstance(tensor, ir.ExternalTensor)
    data = np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8)
    for start in range(0, len(data), CHUNK):
        digest.update(data[start : start + CHUNK].data)
    if mapped:
        del data
        tensor.release()  # type: ignore[attr-defined]


def samples_digest(samples: Iterable[Mapping[str, np.ndarray[Any, Any]]]) -> tuple[str, int]:
    """SHA-256 (hex) of all samples, names of inputs included, and how many there are."""
    digest = hashlib.sha256()
    count = 0
    for feeds in samples:
        count += 1
        for name in sorted(feeds):
            array = np.ascontiguousarray(feeds[name])
            digest.update(f"{name} {array.dtype} {array.shape} ".encode())
            if array.dtype.hasobject:
                digest.update("".join(map(repr, array.flat)).encode())
            elif array.size:
                digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest(), count


def structure_signature(model: ir.Model) -> int:
    """A number that changes with any change of the model, in this process only; weights count by identity.

    Linear in the number of nodes and free of weight reads, so that a pass that says ``modified=False`` can
    be checked on every compile.
    """
    names: dict[int, int] = {}
    parts: list[object] = [sorted(model.opset_imports.items()), sorted(model.metadata_props.items())]
    parts += [_graph(model.graph, names)]
    parts += [(str(key), _graph(f, names)) for key, f in sorted(model.functions.items(), key=lambda item: str(item[0]))]
    return hash(tuple(map(_freeze, parts)))


def _freeze(thing: object) -> object:
    return tuple(map(_freeze, thing)) if isinstance(thing, list | tuple) else thing


def _graph(graph: ir.Graph | ir.Function, names: dict[int, int]) -> list[object]:
    def number(value: ir.Value | None) -> object:
        return None if value is None else names.setdefault(id(value), len(names))

    def typed(value: ir.Value) -> object:
        return (value.name, number(value), str(value.type), str(value.shape))

    parts: list[object] = [[typed(v) for v in graph.inputs]]
    if isinstance(graph, ir.Graph):
        parts += [[(n, number(v), id(v.const_value)) for n, v in graph.initializers.items()]]
    for node in graph:
        attributes = [(a.name, _attribute(a, names)) for a in node.attributes.values()]
        parts.append(
            [node.op_type, node.domain, [number(v) for v in node.inputs], [number(v) for v in node.outputs], attributes]
        )
    parts.append([typed(v) for v in graph.outputs])
    return parts


def _attribute(attribute: ir.Attr, names: dict[int, int]) -> object:
    if attribute.type is ir.AttributeType.GRAPH:
        return _graph(attribute.as_graph(), names)
    if attribute.type is ir.AttributeType.GRAPHS:
        return [_graph(g, names) for g in attribute.as_graphs()]
    if attribute.type in (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS):
        tensor = attribute.value
        return id(tensor) if not isinstance(tensor, list | tuple) else [id(t) for t in tensor]
    return str(attribute.value)

"""Tiny models for tests, built from ONNX text, and what tests need to run and compare them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

Array = np.ndarray[Any, np.dtype[Any]]

ATOL = {np.dtype(np.float16): 2e-3, np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-13}
RTOL = {np.dtype(np.float16): 4e-3, np.dtype(np.float32): 5e-6, np.dtype(np.float64): 1e-13}
"""How far two orders of summation may differ, per element type of the outputs, for values near 1."""


def model(graph: str, opset: int = 17, /, **weights: Array) -> ir.Model:
    """A checked model.

    Args:
        graph: ONNX text, ``g (float[N] x) => (float[N] y) { y = Relu(x) }``.
        opset: Of the standard operators.
        weights: Initializers that the graph uses by their names.
    """
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{graph}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in weights.items())
    found = ir.from_proto(proto)
    check(found)
    return found


def check(found: ir.Model) -> None:
    """ONNX's own checker, with shape inference."""
    onnx.checker.check_model(ir.to_proto(found), full_check=True)


def run(found: ir.Model, feeds: Mapping[str, Array], *, optimize: bool = False) -> list[Array]:
    """Outputs in ONNX Runtime; with optimizations off also without repacking weights, so that equal nodes give equal bits."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = 1
    if not optimize:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.add_session_config_entry("session.disable_prepacking", "1")
    session = onnxruntime.InferenceSession(ir.to_proto(found).SerializeToString(), settings)
    outputs: list[Array] = session.run(None, dict(feeds))
    return outputs


def random(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    """Normally distributed numbers."""
    found: Array = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return found


def same_bits(a: list[Array], b: list[Array]) -> bool:
    """Whether two lists of outputs are equal bit for bit."""
    return len(a) == len(b) and all(
        x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True)
    )


def assert_close(wanted: list[Array], found: list[Array]) -> None:
    """Equal up to the order of summation, by the element type."""
    assert len(wanted) == len(found)
    for w, f in zip(wanted, found, strict=True):
        assert w.dtype == f.dtype
        scale = max(1.0, float(np.abs(w).max(initial=0)))
        np.testing.assert_allclose(f, w, rtol=RTOL[w.dtype], atol=ATOL[w.dtype] * scale)


def nodes(found: ir.Model) -> Iterator[ir.Node]:
    """Nodes of all graphs, function bodies apart."""
    yield from ir.traversal.RecursiveGraphIterator(found.graph)


def op_types(found: ir.Model) -> list[str]:
    """Operators of the main graph, in order."""
    return [node.op_type for node in found.graph]


def elements(found: ir.Model, name: str) -> Array:
    """Elements of an initializer of the main graph."""
    tensor = found.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()

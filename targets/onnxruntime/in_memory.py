"""Hand a model in memory to ONNX Runtime without copying its large weights.

Large initializers are taken out of the protobuf (which is limited to 2 GB) and given to the session as
values that point at the model's own arrays; an array behind an external file stays memory-mapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.model_file import in_memory, reference_to, swapped

if TYPE_CHECKING:
    import onnxruntime

LARGE = 1 << 20
"""Initializers of at least this many bytes are shared instead of copied."""
PLACE = "shared-with-tamis"
SHAREABLE = {
    ir.DataType.FLOAT,
    ir.DataType.DOUBLE,
    ir.DataType.FLOAT16,
    ir.DataType.INT8,
    ir.DataType.UINT8,
    ir.DataType.INT32,
    ir.DataType.INT64,
}
"""Element types that ONNX Runtime takes from NumPy as they are."""


def add_large_initializers(model: ir.Model, options: onnxruntime.SessionOptions) -> tuple[bytes, object]:
    """Serialize ``model`` without its large initializers and add those to ``options``.

    Returns:
        The serialized model, and what must be kept alive as long as the session.
    """
    import onnxruntime as ort

    large: dict[str, np.ndarray[Any, Any]] = {}

    def share(tensor: ir.TensorProtocol) -> ir.TensorProtocol | None:
        if tensor.nbytes < LARGE or tensor.dtype not in SHAREABLE or tensor.name not in model.graph.initializers:
            return in_memory(tensor)
        large[str(tensor.name)] = np.ascontiguousarray(tensor.numpy())
        return reference_to(PLACE, tensor)

    with swapped(model, share):
        data = ir.to_proto(model).SerializeToString(deterministic=True)
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in large.values()]
    if large:
        options.add_external_initializers(list(large), values)
    return data, (large, values)
